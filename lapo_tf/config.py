"""Typed configuration of a training run: a task's own values (`Task.training_options`), which flags override."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from lapo_tf.errors import UserError, unknown
from lapo_tf.yaml_files import STRICT

Compile = Literal["xla", "graph", "eager"]
MAX_SEED = 2**31 - 1
Precision = Literal["float32", "bfloat16"]
DataChoice = Literal["auto", "official"]


@dataclass(frozen=True)
class TrainConfig:
    """What `python -m lapo_tf.train` needs to know."""

    __pydantic_config__: ClassVar = STRICT

    task: str
    """What to learn, e.g. maze2d-umaze or kitchen-mixed (`--task list` names all), or a YAML file that describes it;
    default: what --dataset is for."""
    agent: str = "lapo"
    """Algorithm."""
    dataset: str | None = None
    """A D4RL file (.hdf5) or a Minari data set's id; default: the task's own data set."""
    layout: tuple[str, ...] = ()
    """How dictionary observations of the data set become a vector: entries in order, or parts of them, such as
    observation[0:9] and desired_goal/kettle; numbers stand for themselves."""
    max_episode_steps: int | None = None
    """Where episodes of a D4RL file without `timeouts` are cut; default: the environment's time limit."""
    data: DataChoice = "auto"
    """Whether this project's own collection may stand in where the task's published data set cannot be downloaded."""
    steps: int = 1_000_000
    """Gradient steps to train in all (the paper's number by default)."""
    seed: int = 0
    """Fixes initial weights, batches, noise and evaluation episodes."""
    batch_size: int | None = None
    """Transitions in a batch; default: the algorithm's published size, e.g. 512 for LAPO."""
    observation_noise: float = 0.0
    """Gaussian noise on the observations of each batch, as a multiple of the sensor noise in the data (estimated from
    them); 0 in the paper. Few demonstrations teach their noise by heart unless it is drawn anew: try 1."""
    eval_every: int = 5_000
    """Steps from one evaluation (and checkpoint) to the next."""
    eval_episodes: int = 10
    """Episodes of each evaluation in the simulator."""
    offline: bool = False
    """Judge policies on held-out episodes instead of in the simulator, as where the task has none."""
    held_out: float = 0.1
    """Share of the data's episodes that are held out then; training does not see them."""
    checkpoint_minutes: float = 10.0
    """Minutes from one checkpoint to the next, where evaluations are farther apart."""
    keep_checkpoints: int = 3
    """Newest checkpoints that are kept, besides the best; `lapo_tf.select` chooses among those."""
    run_dir: Path | None = None
    """Folder to write to; default: runs/<task>/<agent>/seed<k>."""
    compile: Compile = "xla"
    """How the loop runs: one XLA program, a TensorFlow graph, or eagerly (slow; to debug)."""
    precision: Precision = "float32"
    """Arithmetic of the hidden layers' products; bfloat16 pays on the CPU with --compile graph, and on GPUs."""
    agent_config: Any = None
    """The algorithm's own hyper-parameters."""

    def __post_init__(self) -> None:
        """Raises `UserError` for a number out of range."""
        for name in ("steps", "batch_size", "eval_every", "eval_episodes", "max_episode_steps", "keep_checkpoints"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)} is too small: expected at least 1")
        if not 0 <= self.observation_noise < float("inf"):
            raise UserError(f"--observation-noise {self.observation_noise} is out of range: expected 0 or more")
        if not 0 < self.held_out < 1:
            raise UserError(f"--held-out {self.held_out} is out of range: expected a share between 0 and 1")
        if not self.checkpoint_minutes > 0:
            raise UserError(f"--checkpoint-minutes {self.checkpoint_minutes} is too small: expected more than 0")
        if not 0 <= self.seed <= MAX_SEED:
            raise UserError(f"--seed {self.seed} is out of range: expected 0 to {MAX_SEED:,}")

    def folder(self) -> Path:
        """The run folder: `run_dir`, or its default."""
        return (self.run_dir or Path("runs") / self.task / self.agent / f"seed{self.seed}").expanduser()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the algorithm's under its own name."""
        values = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name != "agent_config"}
        values["run_dir"] = None if self.run_dir is None else str(self.run_dir)
        return values | {self.agent: _plain(dataclasses.asdict(self.agent_config))}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def config_dir() -> Path:
    """The folder of YAML files that come along: inside the installed package, or `configs/` of a checkout."""
    installed = Path(__file__).parent / "configs"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "configs"


def options_file(name: str | Path) -> Path:
    """The YAML file of training options that is meant: a path, or the name of a preset that comes along, such as cpu.

    Raises:
        UserError: no preset has that name.
    """
    path = Path(name)
    if path.suffix or len(path.parts) != 1:
        return path
    presets = {file.stem: file for file in (config_dir() / "presets").glob("*.yaml")}
    if path.name not in presets:
        raise unknown("preset", path.name, presets)
    return presets[path.name]
