"""Offline data: recorded episodes -> aligned transitions."""

from lapo_tf.data.dataset import DatasetSummary, Episode, OfflineDataset, Source, check_spaces, from_episodes
from lapo_tf.data.readers import load_dataset, read_hdf5, read_minari

__all__ = [
    "DatasetSummary",
    "Episode",
    "OfflineDataset",
    "Source",
    "check_spaces",
    "from_episodes",
    "load_dataset",
    "read_hdf5",
    "read_minari",
]
