"""Typed configuration of a training run: `configs/<task>.yaml` holds a task's values, flags override them."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from lapo_tf.errors import UserError, unknown

Compile = Literal["xla", "graph", "eager"]
MAX_SEED = 2**31 - 1
Precision = Literal["float32", "bfloat16"]
DataChoice = Literal["auto", "official"]


@dataclass(frozen=True)
class TrainConfig:
    """What `python -m lapo_tf.train` needs to know."""

    task: str
    """What to learn, e.g. maze2d-umaze or kitchen-mixed; `--task list` names all."""
    agent: str = "lapo"
    """Algorithm."""
    dataset: str | None = None
    """A D4RL file (.hdf5) or a Minari data set's id; default: the task's own data set."""
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
    run_dir: Path | None = None
    """Folder to write to; default: runs/<task>/<agent>/seed<k>."""
    compile: Compile = "xla"
    """How the loop runs: one XLA program, a TensorFlow graph, or eagerly (slow; to debug)."""
    precision: Precision = "float32"
    """Arithmetic of the hidden layers' products; bfloat16 pays on the CPU with --compile graph, and on GPUs."""
    agent_config: Any = None
    """The algorithm's own hyper-parameters."""

    def folder(self) -> Path:
        """The run folder: `run_dir`, or its default."""
        return self.run_dir or Path("runs") / self.task / self.agent / f"seed{self.seed}"

    def resolved(self) -> TrainConfig:
        """This config with the values filled in that depend on the algorithm and the length of the run."""
        from lapo_tf.agents import AGENTS

        batch_size = AGENTS[self.agent].batch_size if self.batch_size is None else self.batch_size
        return dataclasses.replace(self, batch_size=batch_size, agent_config=self.agent_config.for_run(self.steps))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the algorithm's under its own name."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "agent_config"}
        values["run_dir"] = None if self.run_dir is None else str(self.run_dir)
        return values | {self.agent: _plain(dataclasses.asdict(self.agent_config))}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def config_dir() -> Path:
    """The folder of `<task>.yaml` files: inside the installed package, or `configs/` of a checkout."""
    installed = Path(__file__).parent / "configs"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "configs"


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, or a `UserError`."""
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"no such config file: {path}; expected a YAML file of training options") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML ({str(error).splitlines()[0]}); mend the file") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no options; expected lines like 'steps: 10000'")
    return values


def build_config(values: dict[str, Any], base: TrainConfig | None = None) -> TrainConfig:
    """A `TrainConfig` from plain values such as a YAML file's, on top of `base`.

    Raises:
        UserError: unknown agent or field (with the nearest name), or a value of the wrong type.
    """
    from lapo_tf.agents import AGENTS  # imports TensorFlow, which --help of other commands need not wait for

    agent = str(values.get("agent", base.agent if base else "lapo"))
    if agent not in AGENTS:
        raise unknown("agent", str(agent), AGENTS)
    known = [f.name for f in dataclasses.fields(TrainConfig) if f.name != "agent_config"]
    for name in values:
        if name not in known and name not in AGENTS:
            raise unknown("config field", str(name), [*known, agent])
    own = base.agent_config if base and base.agent == agent else None
    own = own or AGENTS[agent].Config()
    own = _replace(own, values.get(agent) or {}, f"{agent}.")
    top = {k: v for k, v in values.items() if k in known}
    if base is None and "task" not in top:
        raise UserError("no task given: expected --task NAME, e.g. --task maze2d-umaze (--task list names all)")
    config = _replace(base or TrainConfig(task=str(top["task"])), top, "")
    return check_config(dataclasses.replace(config, agent_config=own))


def check_config(config: TrainConfig) -> TrainConfig:
    """The config itself, or a `UserError` for a number out of range."""
    for name in ("steps", "batch_size", "eval_every", "eval_episodes"):
        if getattr(config, name) is not None and getattr(config, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(config, name)} is too small: expected at least 1")
    if not 0 <= config.observation_noise < float("inf"):
        raise UserError(f"--observation-noise {config.observation_noise} is out of range: expected 0 or more")
    if not 0 <= config.seed <= MAX_SEED:
        raise UserError(f"--seed {config.seed} is out of range: expected 0 to {MAX_SEED:,}")
    return config


def task_config(task: str, agent: str) -> dict[str, Any]:
    """The values of `configs/<task>.yaml` for one agent: the file's common values and that agent's section."""
    from lapo_tf.agents import AGENTS

    path = config_dir() / f"{task}.yaml"
    values = read_yaml(path) if path.exists() else {}
    return {k: v for k, v in values.items() if k not in AGENTS or k == agent}


def _replace(instance: Any, values: dict[str, Any], prefix: str) -> Any:
    """`dataclasses.replace` with checked names and types."""
    if not isinstance(values, dict):
        raise UserError(f"config field '{prefix.rstrip('.')}' is {values!r}: expected a mapping of options")
    hints = typing.get_type_hints(type(instance))
    checked = {}
    for name, value in values.items():
        if name not in hints:
            raise unknown("config field", prefix + str(name), [prefix + h for h in hints])
        checked[name] = _convert(value, hints[name], prefix + name)
    return dataclasses.replace(instance, **checked)


def _convert(value: Any, hint: Any, name: str) -> Any:
    """`value` as `hint` says; YAML's lists become tuples and its integers floats."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in options:
            return value
        raise UserError(f"{name} is {value!r}: expected one of {', '.join(map(str, options))}")
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in options:
            return None
        return _convert(value, next(o for o in options if o is not type(None)), name)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(v, options[0], name) for v in value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    if hint is Any:
        return value
    raise UserError(f"{name} is {value!r}: expected {getattr(hint, '__name__', hint)}")
