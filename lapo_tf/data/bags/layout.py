"""What of a robot's bags becomes observations, actions and rewards: a layout, written in YAML.

Entries not shown as required have the defaults given here; times are in seconds.

    rate: 20                         # required: control rate in Hz; an episode has one step every 1/rate seconds
    time: header                     # stamps: of the message header, or `receive`: when it was recorded
    max_age: 0.5                     # values farther from a step than this are stale; episodes are cut there
    backwards: error                 # stamps that run back: refuse the bag, or `cut` episodes there
    distro: humble                   # message types, for bags that carry none
    definitions: [my_msgs]           # packages with further .msg files (my_msgs/msg/Name.msg), for such bags; folders
                                     # beside this file

    observation:                     # required: fields by name, joined in this order
      arm_position:
        topic: /joint_states         # required; a list where joints are spread over several topics
        field: position              # a path in the message, such as pose.position.x, data[0:3] or points[0].positions,
                                     # or a list of them; a message or an array stands for all its numbers;
                                     # default: data
        joints: [joint1, joint2]     # by name, whatever the order in the messages; default: the array as it is
        names: name                  # where the message has the joint names; default: name, or else joint_names
        resample: linear             # between samples; hold: the last value; slerp: of a quaternion of 4 numbers
        max_age: 0.1                 # null: never stale (for topics that speak only on change); default: as above
        default: 0.0                 # with hold: the value before the first message; default: no step before it
        shift: 0.0                   # added to the stamps
        scale: 1.0                   # factor, e.g. 0.0174533 for degrees
        time: receive                # default: as above
    action:                          # required: as observations, but `hold` by default
      arm_velocity:
        topic: /velocity_command
        low: -1.0                    # bounds of the action space: a number or a list; default: none
        high: 1.0
    signals:                         # recorded beside the observations, for rewards; `hold` by default
      success: {topic: /success, max_age: null, default: 0}

    episodes:                        # default: a bag is one episode; one of while, change and start/stop:
      while: {topic: /recording, field: data, equals: true}    # an episode lasts as long as it has this value
      change: {topic: /episode_number}                         # a new value begins a new episode
      start: {topic: /reset}         # a message (of this value, if `equals` is given) begins an episode, and
      stop: {service: /save}         # another ends it; a service needs service introspection (/save/_service_event)
      gap: 2.0                       # silence of all fields' topics that ends an episode
      min_steps: 2                   # shorter episodes are left out

    reward: {rule: success, field: success, ends: true}      # see lapo_tf.data.rewards; default: rewards are 0

An observation at t is the fields' values at t. The action at t is what was commanded in (t, t + 1/rate]: with `hold`,
the value in force at the end of that interval; with `mean`, the mean over it; with `linear`, the interpolation at its
end. A command that carries the very stamp of the observation it answers needs a small `shift`.

Steps begin at a stamp of the first observation field. An episode's infos hold the signals and `time`, the stamps.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lapo_tf.data.rewards import Fields, Relabel, reward_rule
from lapo_tf.data.schema import build, read_mapping
from lapo_tf.errors import UserError

DOCUMENTATION = __doc__ or ""
Resample = Literal["linear", "hold", "slerp", "mean"]
Clock = Literal["header", "receive"]
INHERIT = -1.0  # a field's max_age that was not given


@dataclass(frozen=True)
class BagField:
    """Where a field comes from; see the module's text."""

    topic: tuple[str, ...]
    field: tuple[str, ...] = ("data",)
    joints: tuple[str, ...] | None = None
    names: str | None = None
    resample: Resample | None = None
    max_age: float | None = INHERIT
    default: tuple[float, ...] | None = None
    shift: float = 0.0
    scale: float = 1.0
    time: Clock | None = None
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Condition:
    """Messages of a topic, or calls of a service."""

    topic: str | None = None
    service: str | None = None
    field: str = "data"
    equals: Any = None


@dataclass(frozen=True)
class Cuts:
    """Where episodes begin and end; see the module's text."""

    while_: Condition | None = None
    change: Condition | None = None
    start: Condition | None = None
    stop: Condition | None = None
    gap: float | None = None
    min_steps: int = 2


@dataclass(frozen=True)
class BagLayout:
    """A layout, checked; all fields are complete (nothing inherited is left open)."""

    rate: float
    observation: dict[str, BagField]
    action: dict[str, BagField]
    signals: dict[str, BagField] = field(default_factory=dict)
    time: Clock = "header"
    max_age: float = 0.5
    backwards: Literal["error", "cut"] = "error"
    distro: str = "humble"
    definitions: tuple[str, ...] = ()
    episodes: Cuts = field(default_factory=Cuts)
    reward: Any = None

    def fields(self) -> dict[str, BagField]:
        """All fields by their path, such as `observation.arm_position`."""
        sections = {"observation": self.observation, "action": self.action, "signals": self.signals}
        return {f"{section}.{name}": f for section, fields in sections.items() for name, f in fields.items()}

    def rule(self, path: str, names: Fields) -> Relabel | None:
        """The reward rule, given the channels of the observation fields."""
        return None if self.reward is None else reward_rule(self.reward, f"{path}: reward", names)


def read_layout(path: Path) -> tuple[BagLayout, dict[str, Any]]:
    """A layout file, checked as far as it can be without bags, and its plain values.

    Raises:
        UserError: whatever is wrong, with its path in the file.
    """
    values = read_mapping(path)
    layout = check_layout(values, path.name)
    folders = tuple(str(path.parent / Path(folder).expanduser()) for folder in layout.definitions)
    return replace(layout, definitions=folders), values


def check_layout(values: dict[str, Any], name: str) -> BagLayout:
    """A layout from plain values; `name` is the file's, for messages."""
    layout: BagLayout = build(BagLayout, values, f"{name}: layout")
    _require(layout.rate > 0, f"{name}: rate", layout.rate, "a number above 0, in Hz")
    _require(layout.max_age > 0, f"{name}: max_age", layout.max_age, "seconds above 0")
    for section in ("observation", "action"):
        _require(bool(getattr(layout, section)), f"{name}: {section}", "empty", "at least one field")
    both = set(layout.observation) & set(layout.signals)
    _require(not both, f"{name}: signals.{next(iter(both), '')}", "also an observation field", "another name")
    _require("time" not in layout.signals, f"{name}: signals.time", "the name of the stamps", "another name")
    layout = replace(
        layout,
        observation={n: _field(f, name, f"observation.{n}", layout) for n, f in layout.observation.items()},
        action={n: _field(f, name, f"action.{n}", layout) for n, f in layout.action.items()},
        signals={n: _field(f, name, f"signals.{n}", layout) for n, f in layout.signals.items()},
    )
    _check_cuts(layout.episodes, f"{name}: episodes")
    layout.rule(name, {})  # is it a rule?
    return layout


def _field(f: BagField, file: str, field: str, layout: BagLayout) -> BagField:
    """A field with everything it inherits, checked."""
    path, acted = f"{file}: {field}", field.startswith("action.")
    resample: Resample = f.resample or ("linear" if field.startswith("observation.") else "hold")
    max_age = layout.max_age if f.max_age == INHERIT else f.max_age
    _require(bool(f.topic), f"{path}.topic", "empty", "the name of a topic")
    _require(bool(f.field), f"{path}.field", "empty", "a path in the message")
    _require(max_age is None or max_age > 0, f"{path}.max_age", max_age, "seconds above 0, or null")
    _require(acted or resample != "mean", f"{path}.resample", resample, "linear, hold or slerp (mean is for actions)")
    _require(f.default is None or resample == "hold", f"{path}.default", f.default, "none, unless resample is hold")
    _require(acted or f.low is f.high is None, f"{path}.low/high", "given", "none: bounds are for actions")
    _require((f.low is None) == (f.high is None), f"{path}.low/high", "half given", "both or none")
    _require(bool(f.joints) or len(f.topic) == 1, f"{path}.topic", f.topic, "one topic, unless `joints` is given")
    if f.joints is not None:
        twice = {joint for joint in f.joints if f.joints.count(joint) > 1}
        _require(not twice, f"{path}.joints", f"listing {', '.join(sorted(twice))} twice", "every joint once")
        _require(len(f.field) == 1, f"{path}.field", f.field, "one path, to the array that goes with the joint names")
    return replace(f, resample=resample, max_age=max_age, time=f.time or layout.time)


def _check_cuts(cuts: Cuts, path: str) -> None:
    kinds = {"while": cuts.while_, "change": cuts.change, "start": cuts.start, "stop": cuts.stop}
    given = [name for name, condition in kinds.items() if condition is not None]
    _require(len(given) < 2 or set(given) == {"start", "stop"}, path, " and ".join(given), "one of them")
    for name in given:
        condition = kinds[name]
        assert condition is not None
        one = (condition.topic is None) != (condition.service is None)
        _require(one, f"{path}.{name}", condition, "either a topic or a service")
        if name == "while":
            _require(condition.topic is not None, f"{path}.while", condition, "a topic")
            _require(condition.equals is not None, f"{path}.while.equals", "missing", "a value, such as true")
        if name == "change":
            _require(condition.topic is not None, f"{path}.change", condition, "a topic")
    _require(cuts.gap is None or cuts.gap > 0, f"{path}.gap", cuts.gap, "seconds above 0")
    _require(cuts.min_steps > 0, f"{path}.min_steps", cuts.min_steps, "at least 1")


def _require(ok: bool, path: str, value: object, expected: str) -> None:
    if not ok:
        raise UserError(f"{path} is {value}: expected {expected}")
