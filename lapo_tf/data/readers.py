"""Read recorded data: D4RL's HDF5 files and Minari data sets.

Readers yield `Episode`s, a block at a time: `load_dataset` gives them to `from_episodes`, other commands stream them.
Nothing here pairs observations with their successors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gymnasium.spaces import Space

from lapo_tf.data.d4rl import open_d4rl
from lapo_tf.data.dataset import OfflineDataset, check_spaces, from_episodes
from lapo_tf.data.layouts import Layout
from lapo_tf.data.minari_files import open_minari
from lapo_tf.data.recording import Recording


def load_dataset(
    spec: str | Path,
    *,
    observation_space: Space | int | None = None,
    action_space: Space | int | None = None,
    layout: Layout | None = None,
    max_episode_steps: int | None = None,
) -> OfflineDataset:
    """Load a data set and check it against the environment's spaces.

    Args:
        spec: a D4RL file (`….hdf5`, `….h5` or any existing file), else a Minari id such as `D4RL/kitchen/complete-v2`.
        observation_space, action_space: of the environment, or just their dimensions; `None` skips the check.
        layout: how dictionary observations are joined (see `lapo_tf.data.layouts`).
        max_episode_steps: where episodes of a D4RL file without `timeouts` are cut; the environment's time limit.

    Raises:
        UserError: whatever is wrong with the data, in one line.
    """
    with open_recording(spec, layout=layout, max_episode_steps=max_episode_steps) as recording:
        dataset = from_episodes(
            recording.episodes,
            recording.source,
            capacity=recording.steps + recording.count,
            warnings=recording.warnings,
        )
    return check_spaces(replace(dataset, metadata=recording.metadata), observation_space, action_space)


@contextmanager
def open_recording(
    spec: str | Path,
    *,
    layout: Layout | None = None,
    max_episode_steps: int | None = None,
    infos: bool = False,
) -> Iterator[Recording]:
    """Open a D4RL file or a Minari data set (downloaded on first use), to read it episode by episode.

    Args:
        spec, layout, max_episode_steps: see `load_dataset`; without `layout`, that of a published data set is known.
        infos: read all recorded infos that hold numbers per step, too.

    Raises:
        UserError: unknown, absent, damaged or unsupported data, no network, dictionary observations without a layout.
    """
    path = Path(spec).expanduser()
    if path.suffix.lower() in (".hdf5", ".h5") or path.is_file():
        with open_d4rl(path, layout, max_episode_steps, infos) as recording:
            yield recording
    else:
        with open_minari(str(spec), layout, infos) as recording:
            yield recording
