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
        unit: rad                    # of the scaled numbers, or a list: kept with the data; default: not known
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

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lapo_tf.data.rewards import Fields, Relabel, reward_rule
from lapo_tf.yaml_files import STRICT, Numbers, Texts, expect, read_yaml, validated

DOCUMENTATION = __doc__ or ""
Clock = Literal["header", "receive"]
Between = Literal["linear", "hold", "slerp"]
Resample = Between | Literal["mean"]
Positive = Annotated[float, Field(gt=0)]


class Entry(BaseModel):
    """A mapping in a layout."""

    model_config = ConfigDict(**STRICT, frozen=True, allow_inf_nan=False)


class BagField(Entry):
    """Where a field comes from; see the module's text. A signal is no more than this."""

    topic: Texts
    field: Texts = ("data",)
    joints: tuple[str, ...] | None = None
    names: str | None = None
    resample: Resample = "hold"
    max_age: Positive | None = None
    default: Numbers | None = None
    shift: float = 0.0
    scale: float = 1.0
    unit: Texts = ("",)
    time: Clock = "header"

    @model_validator(mode="after")
    def _agrees(self) -> BagField:
        expect(
            self.default is None or self.resample == "hold", "default", self.default, "none, unless resample is hold"
        )
        expect(bool(self.joints) or len(self.topic) == 1, "topic", self.topic, "one topic, unless `joints` is given")
        if self.joints is not None:
            twice = sorted({joint for joint in self.joints if self.joints.count(joint) > 1})
            expect(not twice, "joints", f"listing {', '.join(twice)} twice", "every joint once")
            expect(len(self.field) == 1, "field", self.field, "one path, to the array that goes with the joint names")
        return self


class Signal(BagField):
    """What is recorded beside the observations."""

    resample: Between = "hold"


class Observed(BagField):
    """A part of the observation."""

    resample: Between = "linear"


class Commanded(BagField):
    """A part of the action."""

    low: Numbers | None = None
    high: Numbers | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Commanded:
        expect((self.low is None) == (self.high is None), "low/high", "half given", "both or none")
        return self


class Condition(Entry):
    """Messages of a topic, or calls of a service."""

    topic: str | None = None
    service: str | None = None
    field: str = "data"
    equals: Any = None

    @model_validator(mode="after")
    def _one_source(self) -> Condition:
        given = self.model_dump(exclude_defaults=True)
        expect((self.topic is None) != (self.service is None), "", given, "either a topic or a service")
        return self


class Cuts(Entry):
    """Where episodes begin and end; see the module's text."""

    while_: Annotated[Condition | None, Field(alias="while")] = None
    change: Condition | None = None
    start: Condition | None = None
    stop: Condition | None = None
    gap: Positive | None = None
    min_steps: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="after")
    def _agrees(self) -> Cuts:
        given = [name for name, condition in self.conditions().items() if condition is not None]
        expect(len(given) < 2 or set(given) == {"start", "stop"}, "", " and ".join(given), "one of them")
        for name, condition in (("while", self.while_), ("change", self.change)):
            expect(condition is None or condition.topic is not None, name, condition, "a topic")
        if self.while_ is not None:
            expect(self.while_.equals is not None, "while.equals", "missing", "a value, such as true")
        return self

    def conditions(self) -> dict[str, Condition | None]:
        return {"while": self.while_, "change": self.change, "start": self.start, "stop": self.stop}


class BagLayout(Entry):
    """A layout, checked; all fields are complete (nothing inherited is left open)."""

    rate: Positive
    observation: Annotated[dict[str, Observed], Field(min_length=1)]
    action: Annotated[dict[str, Commanded], Field(min_length=1)]
    signals: dict[str, Signal] = {}
    time: Clock = "header"
    max_age: Positive = 0.5
    backwards: Literal["error", "cut"] = "error"
    distro: str = "humble"
    definitions: tuple[str, ...] = ()
    episodes: Cuts = Cuts()
    reward: Any = None

    @model_validator(mode="after")
    def _agrees(self) -> BagLayout:
        for name in self.signals:
            expect(name not in self.observation, f"signals.{name}", "also an observation field", "another name")
        expect("time" not in self.signals, "signals.time", "the name of the stamps", "another name")
        return self

    def fields(self) -> dict[str, BagField]:
        """All fields by their path, such as `observation.arm_position`."""
        return {f"{section}.{name}": f for section, fields in self.sections().items() for name, f in fields.items()}

    def sections(self) -> dict[str, Mapping[str, BagField]]:
        return {"observation": self.observation, "action": self.action, "signals": self.signals}

    def rule(self, file: str, names: Fields) -> Relabel | None:
        """The reward rule, given the channels of the observation fields."""
        return None if self.reward is None else reward_rule(self.reward, f"{file}: reward.", names)


def read_layout(path: Path) -> tuple[BagLayout, dict[str, Any]]:
    """A layout file, checked as far as it can be without bags, and its plain values.

    Raises:
        UserError: whatever is wrong, with its path in the file.
    """
    values = read_yaml(path)
    layout = check_layout(values, path.name)
    folders = tuple(str(path.parent / Path(folder).expanduser()) for folder in layout.definitions)
    return layout.model_copy(update={"definitions": folders}), values


def check_layout(values: dict[str, Any], name: str) -> BagLayout:
    """A layout from plain values; `name` is the file's, for messages."""
    layout = validated(BagLayout, values, f"{name}: ")
    layout.rule(name, {})  # is it a rule?

    def complete(fields: Mapping[str, BagField]) -> dict[str, BagField]:
        inherited = {"max_age": layout.max_age, "time": layout.time}
        return {
            name: f.model_copy(update={k: v for k, v in inherited.items() if k not in f.model_fields_set})
            for name, f in fields.items()
        }

    return layout.model_copy(update={name: complete(fields) for name, fields in layout.sections().items()})
