"""python -m lapo_tf.data: import, relabel, inspect and play data sets."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from lapo_tf.cli import parse
from lapo_tf.errors import command, unknown
from lapo_tf.tasks import TASKS, Task, load_task


@dataclass
class ImportBag:
    """Import rosbag2 (sqlite3, MCAP) and ROS 1 bags into a local Minari data set. No ROS is needed."""

    bags: tyro.conf.Positional[tuple[Path, ...]]
    """Bags: rosbag2 folders, .mcap, .db3 or .bag files, or folders that hold such."""
    layout: Path
    """What becomes observations, actions and rewards (YAML); explained below."""
    id: str
    """Minari id of the new data set, such as own/my-robot-v0."""
    force: bool = False
    """Replace a data set of that id."""


@dataclass
class ImportD4rl:
    """Import a file in D4RL's layout (HDF5) into a local Minari data set."""

    file: tyro.conf.Positional[Path]
    """The file."""
    id: str
    """Minari id of the new data set, such as own/my-data-v0."""
    task: str | None = None
    """The task it was recorded in; its environment is noted with the data."""
    max_episode_steps: int | None = None
    """Cut episodes after so many steps, where the file does not say where they end."""
    force: bool = False
    """Replace a data set of that id."""


@dataclass
class ImportLerobot:
    """Import a LeRobot data set (v2.0 to v3.0; the numbers, not the videos) into a local Minari data set."""

    folder: tyro.conf.Positional[Path]
    """Its folder, with meta/info.json and data/."""
    id: str
    """Minari id of the new data set, such as own/my-robot-v0."""
    observation: tuple[str, ...] = ()
    """Features to join into the observation. Default: all of observation.* that hold numbers."""
    action: str = "action"
    """The feature that is the action."""
    force: bool = False
    """Replace a data set of that id."""


@dataclass
class RelabelCommand:
    """Write a data set's episodes as a new one, with the rewards of another task."""

    data: tyro.conf.Positional[str]
    """A D4RL file (.hdf5) or a Minari data set's id."""
    id: str
    """Minari id of the new data set."""
    task: str | None = None
    """Rewards of this task, such as kitchen-mixed or maze2d-umaze."""
    reward: Path | None = None
    """Rewards of a rule in this YAML file; explained below."""
    function: str | None = None
    """Rewards of a Python function, MODULE:FUNCTION or FILE.py:FUNCTION."""
    force: bool = False
    """Replace a data set of that id."""


@dataclass
class InspectCommand:
    """Look at a data set: numbers, figures and what seems wrong, on one HTML page."""

    data: tyro.conf.Positional[str]
    """A D4RL file (.hdf5) or a Minari data set's id."""
    task: str | None = None
    """The task it is for, where the data set does not say so: gives names, bounds and maps."""
    out: Path = Path("inspection")
    """Folder for the page: <name>.html and <name>.png."""


@dataclass
class PlayCommand:
    """Film a recorded episode in its simulator."""

    data: tyro.conf.Positional[str]
    """A D4RL file (.hdf5) or a Minari data set's id."""
    episode: int = 0
    """Its number, from 0."""
    task: str | None = None
    """The task it is from, where the data set does not say so."""
    out: Path | None = None
    """The film. Default: <name>-episode<k>.mp4."""


def _task(name: str | None) -> Task | None:
    return None if name is None else load_task(name)


def import_bag(args: ImportBag) -> None:
    from lapo_tf.data.bags.importer import import_bags

    begun = time.perf_counter()
    done = import_bags(args.bags, args.layout, args.id, force=args.force)
    print(done)
    _say(done.written, begun)


def import_d4rl(args: ImportD4rl) -> None:
    from lapo_tf.data import importers

    begun = time.perf_counter()
    _say(
        importers.import_d4rl(
            args.file, args.id, task=_task(args.task), max_episode_steps=args.max_episode_steps, force=args.force
        ),
        begun,
    )


def import_lerobot(args: ImportLerobot) -> None:
    from lapo_tf.data import importers

    begun = time.perf_counter()
    done = importers.import_lerobot(
        args.folder, args.id, observation=args.observation, action=args.action, force=args.force
    )
    _say(done, begun)


def relabel(args: RelabelCommand) -> None:
    from lapo_tf.data.relabel import relabel_dataset

    begun = time.perf_counter()
    done = relabel_dataset(
        args.data, args.id, task=_task(args.task), rule=args.reward, function=args.function, force=args.force
    )
    print(done)
    _say(done.written, begun)


def _say(written: Any, begun: float) -> None:
    dropped = f", {written.dropped:,} steps dropped (no next observation)" if written.dropped else ""
    print(
        f"{written.dataset_id}: {written.steps:,} steps in {written.episodes:,} episodes{dropped}, "
        f"{time.perf_counter() - begun:.0f} s; look at it: python -m lapo_tf.data inspect {written.dataset_id}"
    )


def inspect(args: InspectCommand) -> None:
    from lapo_tf.data.inspect.measure import inspect_dataset
    from lapo_tf.data.inspect.page import write_page

    found = inspect_dataset(args.data, task=_task(args.task), known_tasks=TASKS.values())
    print(found)
    page, picture = write_page(found, args.out)
    print(f"page: {page}\npicture: {picture}")


def play(args: PlayCommand) -> None:
    from lapo_tf.data.play import play_episode

    task = _task(args.task)
    print(play_episode(args.data, args.episode, task=task, known_tasks=TASKS.values(), out=args.out, progress=True))


COMMANDS: dict[str, tuple[type, Any]] = {
    "import bag": (ImportBag, import_bag),
    "import d4rl": (ImportD4rl, import_d4rl),
    "import lerobot": (ImportLerobot, import_lerobot),
    "relabel": (RelabelCommand, relabel),
    "inspect": (InspectCommand, inspect),
    "play": (PlayCommand, play),
}


def _overview() -> str:
    lines = [f"  {name:<16} {kind.__doc__}" for name, (kind, _) in COMMANDS.items()]
    return "\n".join(["usage: python -m lapo_tf.data COMMAND --help", "", *lines])


def _help_beyond_options(name: str) -> str:
    if name == "import bag":
        from lapo_tf.data.bags.layout import DOCUMENTATION

        return DOCUMENTATION
    if name == "relabel":
        from lapo_tf.data import rewards

        return rewards.__doc__ or ""
    return ""


@command
def main() -> None:
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return
    size = 2 if words[0] == "import" else 1
    name = " ".join(words[:size])
    if name in ("import", "import -h", "import --help"):
        print(_overview())
        return
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    kind, run = COMMANDS[name]
    wants_help = any(word in ("-h", "--help") for word in words[size:])
    sys.argv = [f"data {name}", *words[size:]]  # `parse` takes the program's name from here
    try:
        args: Any = parse(kind, description=kind.__doc__ or "")
    except SystemExit:
        if wants_help and (more := _help_beyond_options(name)):
            print(f"\n{more}")
        raise
    run(args)


if __name__ == "__main__":
    main()
