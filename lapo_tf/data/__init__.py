"""Offline data: recorded episodes -> aligned transitions.

from lapo_tf.data import bag_topics, import_bags, inspect_dataset, relabel_dataset
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lapo_tf.data.dataset import DatasetSummary, Episode, OfflineDataset, Source, check_spaces, from_episodes
from lapo_tf.data.readers import load_dataset, open_recording
from lapo_tf.data.recording import Recording

if TYPE_CHECKING:
    from lapo_tf.data.bags.importer import import_bags
    from lapo_tf.data.bags.overview import bag_topics, plot_bag
    from lapo_tf.data.collectors.maze2d_logs import record_maze_logs
    from lapo_tf.data.importers import import_d4rl, import_robomimic
    from lapo_tf.data.inspect.figures import plot_inspection
    from lapo_tf.data.inspect.measure import inspect_dataset
    from lapo_tf.data.inspect.page import write_page
    from lapo_tf.data.play import play_episode
    from lapo_tf.data.relabel import relabel_dataset
    from lapo_tf.data.store import write_dataset
    from lapo_tf.data.tables import import_lerobot, import_table

__all__ = [
    "DatasetSummary",
    "Episode",
    "OfflineDataset",
    "Recording",
    "Source",
    "bag_topics",
    "check_spaces",
    "from_episodes",
    "import_bags",
    "import_d4rl",
    "import_lerobot",
    "import_robomimic",
    "import_table",
    "inspect_dataset",
    "load_dataset",
    "open_recording",
    "play_episode",
    "plot_bag",
    "plot_inspection",
    "record_maze_logs",
    "relabel_dataset",
    "write_dataset",
    "write_page",
]

_HOMES = {
    "bag_topics": "bags.overview",
    "import_bags": "bags.importer",
    "import_d4rl": "importers",
    "import_lerobot": "tables",
    "import_robomimic": "importers",
    "import_table": "tables",
    "inspect_dataset": "inspect.measure",
    "play_episode": "play",
    "plot_bag": "bags.overview",
    "plot_inspection": "inspect.figures",
    "record_maze_logs": "collectors.maze2d_logs",
    "relabel_dataset": "relabel",
    "write_dataset": "store",
    "write_page": "inspect.page",
}


def __getattr__(name: str) -> Any:
    """The names that need a simulator, matplotlib, or an extra such as rosbags, on demand."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lapo_tf.data' has no attribute '{name}'")
    globals()[name] = getattr(import_module(f"lapo_tf.data.{_HOMES[name]}"), name)
    return globals()[name]
