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


@dataclass(kw_only=True)
class New:
    """Options of commands that write a data set."""

    id: str
    """Minari id of the new data set, such as own/my-robot-v0."""
    force: bool = False
    """Replace a data set of that id."""


@dataclass(kw_only=True)
class Reading:
    """Options of commands that read one."""

    task: str | None = None
    """The task it is for, where the data set does not say so: gives names, bounds, maps and the time limit."""
    layout: tuple[str, ...] = ()
    """How dictionary observations become a vector: entries in order, or parts of them, such as observation[0:9] and
    desired_goal/kettle; numbers stand for themselves."""
    max_episode_steps: int | None = None
    """Where episodes of a D4RL file without `timeouts` are cut; default: the task's time limit."""

    def how(self) -> dict[str, Any]:
        """The options as the functions take them."""
        return {"task": _task(self.task), "layout": self.layout, "max_episode_steps": self.max_episode_steps}


@dataclass(kw_only=True)
class ImportBag(New):
    """Import rosbag2 (sqlite3, MCAP) and ROS 1 bags into a local Minari data set. No ROS is needed."""

    bags: tyro.conf.Positional[tuple[Path, ...]]
    """Bags: rosbag2 folders, .mcap, .db3 or .bag files, or folders that hold such."""
    layout: Path
    """What becomes observations, actions and rewards (YAML); explained below."""

    def run(self) -> None:
        from lapo_tf.data.bags.importer import import_bags

        begun = time.perf_counter()
        done = import_bags(self.bags, self.layout, self.id, force=self.force)
        print(done)
        _say(done.written, begun)

    @staticmethod
    def explained() -> str:
        from lapo_tf.data.bags.layout import DOCUMENTATION

        return DOCUMENTATION


@dataclass(kw_only=True)
class ImportD4rl(Reading, New):
    """Import a file in D4RL's layout (HDF5) into a local Minari data set."""

    file: tyro.conf.Positional[Path]
    """The file."""

    def run(self) -> None:
        from lapo_tf.data.importers import import_d4rl

        begun = time.perf_counter()
        _say(import_d4rl(self.file, self.id, **self.how(), force=self.force), begun)


@dataclass(kw_only=True)
class ImportLerobot(New):
    """Import a LeRobot data set (v2.0 to v3.0; the numbers, not the videos) into a local Minari data set."""

    folder: tyro.conf.Positional[Path]
    """Its folder, with meta/info.json and data/."""
    observation: tuple[str, ...] = ()
    """Features to join into the observation, or parts of them, such as observation.state[0:7]. Default: all of
    observation.* that hold numbers."""
    action: tuple[str, ...] = ("action",)
    """The features that are the action, likewise."""
    infos: tuple[str, ...] | None = None
    """Features to keep beside, for rewards. Default: all others that hold numbers."""

    def run(self) -> None:
        from lapo_tf.data.tables import import_lerobot

        begun = time.perf_counter()
        columns: Any = {"observation": self.observation, "action": self.action, "infos": self.infos}
        _say(import_lerobot(self.folder, self.id, **columns, force=self.force), begun)


@dataclass(kw_only=True)
class ImportRobomimic(New):
    """Import a robomimic file (HDF5; the numbers, not the images) into a local Minari data set."""

    file: tyro.conf.Positional[Path]
    """The file."""
    observation: tuple[str, ...] = ()
    """Entries of obs to join, or parts of them, such as object[0:3]. Default: all that are vectors."""
    mask: str | None = None
    """Take the demonstrations of this filter alone, such as train."""

    def run(self) -> None:
        from lapo_tf.data.importers import import_robomimic

        begun = time.perf_counter()
        done = import_robomimic(self.file, self.id, observation=self.observation, mask=self.mask, force=self.force)
        _say(done, begun)


@dataclass(kw_only=True)
class ImportTable(New):
    """Import CSV or Parquet files into a local Minari data set."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """.csv, .tsv or .parquet files."""
    layout: Path
    """What the columns are (YAML); explained below."""

    def run(self) -> None:
        from lapo_tf.data.tables import import_table

        begun = time.perf_counter()
        _say(import_table(self.files, self.layout, self.id, force=self.force), begun)

    @staticmethod
    def explained() -> str:
        from lapo_tf.data.tables import DOCUMENTATION

        return DOCUMENTATION


@dataclass(kw_only=True)
class Relabel(Reading, New):
    """Write a data set's episodes as a new one, with the rewards of another task."""

    data: tyro.conf.Positional[str]
    """A D4RL file (.hdf5) or a Minari data set's id."""
    task: str | None = None
    """Rewards of this task, such as kitchen-mixed or maze2d-umaze."""
    reward: Path | None = None
    """Rewards of a rule in this YAML file; explained below."""
    function: str | None = None
    """Rewards of a Python function, MODULE:FUNCTION or FILE.py:FUNCTION."""

    def run(self) -> None:
        from lapo_tf.data.relabel import relabel_dataset

        begun = time.perf_counter()
        done = relabel_dataset(
            self.data, self.id, **self.how(), rule=self.reward, function=self.function, force=self.force
        )
        print(done)
        _say(done.written, begun)

    @staticmethod
    def explained() -> str:
        from lapo_tf.data import rewards

        return rewards.__doc__ or ""


@dataclass(kw_only=True)
class Inspect(Reading):
    """Look at a data set: numbers, figures and what seems wrong, on one HTML page."""

    data: tyro.conf.Positional[str]
    """A D4RL file (.hdf5) or a Minari data set's id."""
    out: Path = Path("inspection")
    """Folder for the page: <name>.html and <name>.png."""

    def run(self) -> None:
        from lapo_tf.data.inspect.measure import inspect_dataset
        from lapo_tf.data.inspect.page import write_page

        found = inspect_dataset(self.data, **self.how(), known_tasks=TASKS.values())
        print(found)
        page, picture = write_page(found, self.out)
        print(f"page: {page}\npicture: {picture}")


@dataclass(kw_only=True)
class Play(Reading):
    """Film a recorded episode in its simulator."""

    data: tyro.conf.Positional[str]
    """A D4RL file (.hdf5) or a Minari data set's id."""
    episode: int = 0
    """Its number, from 0."""
    out: Path | None = None
    """The film. Default: <name>-episode<k>.mp4."""

    def run(self) -> None:
        from lapo_tf.data.play import play_episode

        how = self.how() | {"known_tasks": TASKS.values(), "out": self.out}
        print(play_episode(self.data, self.episode, **how, progress=True))


COMMANDS: dict[str, Any] = {
    "import bag": ImportBag,
    "import d4rl": ImportD4rl,
    "import lerobot": ImportLerobot,
    "import robomimic": ImportRobomimic,
    "import table": ImportTable,
    "relabel": Relabel,
    "inspect": Inspect,
    "play": Play,
}


def _task(name: str | None) -> Task | None:
    return None if name is None else load_task(name)


def _say(written: Any, begun: float) -> None:
    dropped = f", {written.dropped:,} steps dropped (no next observation)" if written.dropped else ""
    print(
        f"{written.dataset_id}: {written.steps:,} steps in {written.episodes:,} episodes{dropped}, "
        f"{time.perf_counter() - begun:.0f} s; look at it: python -m lapo_tf.data inspect {written.dataset_id}"
    )
    for warning in written.warnings:
        print(f"note: {warning}")


@command
def main() -> None:
    words = sys.argv[1:]
    size = 2 if words[:1] == ["import"] else 1
    name = " ".join(words[:size])
    if name in ("", "-h", "--help", "import", "import -h", "import --help"):
        lines = [f"  {name:<16} {kind.__doc__}" for name, kind in COMMANDS.items()]
        print("\n".join(["usage: python -m lapo_tf.data COMMAND --help", "", *lines]))
        return
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    kind = COMMANDS[name]
    try:
        options: Any = parse(kind, words[size:], description=kind.__doc__ or "", name=name)
    except SystemExit:  # --help
        if hasattr(kind, "explained"):
            print(f"\n{kind.explained()}")
        raise
    options.run()


if __name__ == "__main__":
    main()
