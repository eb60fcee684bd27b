"""Offline data: recorded episodes -> aligned transitions."""

from lapo_tf.data.dataset import DatasetSummary, Episode, OfflineDataset, Source, check_spaces, from_episodes
from lapo_tf.data.readers import Recording, load_dataset, open_recording

__all__ = [
    "DatasetSummary",
    "Episode",
    "OfflineDataset",
    "Recording",
    "Source",
    "check_spaces",
    "from_episodes",
    "load_dataset",
    "open_recording",
]
