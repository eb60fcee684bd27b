"""The trials of a sweep: which there are, where they run, and what their run folders say of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lapo_tf.config import TrainConfig
from lapo_tf.errors import UserError
from lapo_tf.tasks import Task, load_task
from lapo_tf.tasks.task import HELD_OUT, Criterion
from lapo_tf.yaml_files import parse_yaml

DONE, RESUME, NEW, FAILED = "done", "resume", "new", "failed"
"""What is left to do of a trial: nothing, to go on, to begin, to mend its cause."""


WITHOUT_EFFECT = ("run_dir", "seed", "checkpoint_minutes", "keep_checkpoints")
"""Options in which the runs of one setting may differ."""


@dataclass(frozen=True)
class Cluster:
    """Where trials run, and the share of one."""

    address: str = "local"
    """Ray: local starts it on this machine, auto joins a running cluster, or an address."""
    cpus_per_trial: int = 1
    """Cores of one trial. One is best for many trials: two trials on a core each beat one on two."""
    gpus_per_trial: float = 0.0
    """GPUs of one trial; 0.25 lets four share one."""


@dataclass(frozen=True)
class Trial:
    """One run of the grid."""

    config: TrainConfig
    task: Task
    label: str
    """The agent with its options, as in the run folder's path."""
    evaluate: int = 0
    """Episodes of an evaluation of its last policy, as `lapo_tf.evaluate` makes it; 0: none."""

    @property
    def name(self) -> str:
        """Such as maze2d-umaze/lapo/seed0."""
        return f"{self.config.task}/{self.label}/seed{self.config.seed}"

    @property
    def criterion(self) -> Criterion:
        """What its policies are judged by."""
        return HELD_OUT if self.config.offline else self.task.criterion

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return self.config.folder()


@dataclass(frozen=True)
class Setting:
    """A column of a comparison: an agent with options of its own, and its seeds."""

    label: str
    """Its folder's name."""
    agent: str
    options: dict[str, Any]
    seeds: list[int]


def parse_seeds(text: str) -> list[int]:
    """Seeds from text such as "0-4" or "0,3,7-9"."""
    seeds: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            seeds += range(int(first), int(last or first) + 1)
    except ValueError:
        seeds = []
    if not seeds:
        raise UserError(f"--seeds {text} is no list of seeds: expected e.g. 0-4 or 0,3,7")
    return list(dict.fromkeys(seeds))


def parse_agent(text: str) -> tuple[str, dict[str, Any], str]:
    """Agent, its options and its label from text such as "awac:policy=gmm"."""
    agent, *options = text.split(":")
    values: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise UserError(f"--agents {text}: expected options like agent:name=value, such as awac:policy=gmm")
        try:
            values[name.replace("-", "_")] = parse_yaml(value)
        except yaml.YAMLError:
            raise UserError(
                f"--agents {text}: '{value}' is no value: expected one as in YAML, such as [64,64]"
            ) from None
    return agent, values, "-".join([agent, *(option.replace("-", "_") for option in options)])


def grid(
    tasks: Iterable[str | Task],
    agents: Sequence[str],
    seeds: Iterable[int],
    run_dir: Path,
    flags: dict[str, Any] | None = None,
    file: dict[str, Any] | None = None,
    evaluate: int = 0,
) -> list[Trial]:
    """All trials of a sweep, seed by seed, so that a part of it is already a comparison.

    Args:
        tasks, seeds: of all trials; one task or agent may be given by itself.
        agents: names, their own options after colons, as in `awac:policy=gmm`.
        run_dir: where the run folders are.
        flags: training options of all trials; `file`: the same, with less priority, and agents' sections.
        evaluate: see `Trial`.

    Raises:
        UserError: an unknown task, agent or option, or a value that cannot work.
    """
    agents, seeds = [agents] if isinstance(agents, str) else agents, list(seeds)
    settings = []
    for text in agents:
        agent, own, label = parse_agent(text)
        settings.append(Setting(label, agent, own, seeds))
    return trials_of([tasks] if isinstance(tasks, str) else tasks, settings, run_dir, flags, file, evaluate)


def trials_of(
    tasks: Iterable[str | Task],
    settings: Sequence[Setting],
    run_dir: Path,
    flags: dict[str, Any] | None = None,
    file: dict[str, Any] | None = None,
    evaluate: int = 0,
) -> list[Trial]:
    """As `grid`, of agents with a name and seeds of their own."""
    from lapo_tf.training.start import run_config  # TensorFlow takes seconds, for which --help need not wait

    file, flags = file or {}, flags or {}
    known = [task if isinstance(task, Task) else load_task(task) for task in tasks]
    common = {k: v for k, v in file.items() if not isinstance(v, dict)}
    trials = []
    for seed in dict.fromkeys(seed for setting in settings for seed in setting.seeds):
        for task in known:
            for setting in (one for one in settings if seed in one.seeds):
                own = (file.get(setting.agent) or {}) | setting.options
                folder = run_dir / task.name / setting.label / f"seed{seed}"
                values = {"task": task, "agent": setting.agent, "seed": seed, "run_dir": folder, setting.agent: own}
                trials.append(Trial(run_config(common | flags | values), task, setting.label, evaluate))
    return trials


def state(trial: Trial) -> str:
    """What is left to do of a trial: DONE, RESUME, NEW or FAILED.

    Raises:
        UserError: its folder holds a run with other options.
    """
    from lapo_tf.training.options import resolved
    from lapo_tf.training.run_folder import RunFolder

    if (trial.folder / "error.txt").exists():
        return FAILED
    if not (trial.folder / "config.yaml").exists():
        return NEW
    folder = RunFolder.open(trial.folder)
    differs = differences(folder.config(), resolved(trial.config))
    if differs - {"steps"}:
        raise UserError(
            f"{trial.folder} holds a run with other options ({', '.join(sorted(differs))}): "
            "give another --run-dir, or the options it was made with"
        )
    return DONE if measured(trial.folder)[0] >= trial.config.steps and not to_evaluate(trial) else RESUME


def to_evaluate(trial: Trial) -> int:
    """For how many episodes its last policy is still to be run."""
    from lapo_tf.training.run_folder import RunFolder

    if trial.criterion == HELD_OUT:
        return 0  # there is nothing to run it in
    found = RunFolder(trial.folder).evaluation(trial.config.steps)
    return trial.evaluate if found is None or found["episodes"] < trial.evaluate else 0


def differences(one: TrainConfig, other: TrainConfig) -> set[str]:
    """Names of the options, `agent.option` for an agent's own, in which two runs differ; folders and seeds apart."""

    def flat(config: TrainConfig) -> dict[str, Any]:
        values = config.to_dict()
        own = {f"{config.agent}.{k}": v for k, v in values.pop(config.agent).items()}
        return {k: v for k, v in (values | own).items() if k not in WITHOUT_EFFECT}

    a, b = flat(one), flat(other)
    return {k for k in a.keys() | b.keys() if a.get(k) != b.get(k)}


def remaining(trial: Trial, all_trials: Iterable[Trial] = ()) -> float | None:
    """Seconds a trial still needs, from its own speed or that of others of its kind; None if none has run yet."""
    step, seconds = measured(trial.folder)
    if step and seconds:
        return max(trial.config.steps - step, 0) * seconds / step
    for same_task in (True, False):
        rates = []
        for other in all_trials:
            if other.label == trial.label and (not same_task or other.config.task == trial.config.task):
                done, spent = measured(other.folder)
                if done:
                    rates.append(spent / done)
        if rates:
            return trial.config.steps * sum(rates) / len(rates)
    return None


def measured(folder: Path) -> tuple[int, float]:
    """Steps and seconds of a run's last evaluation; zeros before its first."""
    from lapo_tf.training.run_folder import RunFolder

    if not (folder / "config.yaml").exists():
        return 0, 0.0
    rows = RunFolder.open(folder).metrics()
    return (int(rows[-1]["step"]), rows[-1]["time/seconds"]) if rows else (0, 0.0)
