"""What the numbers of a policy are: a YAML or JSON file that a user writes, or the layout of the recordings.

    task: pick up the cube             # default: the file's name
    rate: 20                           # required, here or by --rate: Hz at which the policy sees and acts
    observations:                      # in the order of the model's input
      - {joints: [shoulder, elbow], quantity: position, unit: rad, low: -3.1, high: [3.1, 2.0]}
      - {joints: [shoulder, elbow], quantity: velocity, unit: rad/s, low: -2, high: 2}
      - {name: cube_x/position, unit: m, low: 0.2, high: 0.8}
      - {name: goal/x, unit: m, constant: 0.5}     # no input of the robot
    actions:                           # in the order of the model's output
      - {joints: [shoulder, elbow], quantity: position, unit: rad, low: -3.1, high: 3.1}   # or velocity, effort
      - {joints: [wheel], quantity: effort, unit: N m, scale: 100, low: -1, high: 1}       # an action of 1 is 100 N m

Where they come from and go to on the robot may be said, too; robot_bridge.init writes a robot config of it:

      - {joints: [shoulder, elbow], quantity: position, unit: rad, topic: /joint_states}
      - {name: cube_x/position, unit: m, topic: /cube, type: geometry_msgs/msg/PoseStamped, path: pose.position.x}
      - {joints: [shoulder, elbow], quantity: velocity, unit: rad/s, topic: /arm/commands,     # an action
         type: std_msgs/msg/Float64MultiArray}

`low` and `high` are a number for all, or a list; they may be left out where data say them. An observation's range is
what the policy knows, an action's is what it may command, of the numbers that are multiplied by `scale`.

A layout of `python -m lapo_tf.data import bag` has `observation:` and `action:` instead. Of its fields `joints` or the
paths in `field` name the numbers, `unit`, `low` and `high` say the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from robot_bridge.bounds import between
from robot_bridge.errors import UserError
from robot_bridge.guards.settings import STRICT
from robot_bridge.robot.description import Finite, Positive, Recorded
from robot_bridge.robot.yaml_files import read_yaml, validated

FILE = (__doc__ or "").partition("\n\n")[2]
"""The file explained, for `--help`."""
QUANTITIES = ("position", "velocity", "effort")
JOINT_STATE = "sensor_msgs/msg/JointState"
MAX_AGE = 0.1  # s, of what comes by a topic that the file names; the robot's config can change it
Bound = Finite | list[Finite]


def told(text: str) -> PydanticCustomError:
    return PydanticCustomError("told", text.replace("{", "(").replace("}", ")"))


def _quantity(name: Any) -> Any:
    if name not in QUANTITIES:
        raise told(f"'{name}', expected {', '.join(QUANTITIES[:-1])} or {QUANTITIES[-1]}")
    return name


def _nth(bound: Any, i: int) -> float | None:
    return bound[i] if isinstance(bound, list) else bound


class Number(BaseModel):
    """One number: `<joint>/<quantity>`, or any other name, with its range as far as it is known."""

    name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    constant: float | None = None
    scale: float = 1.0
    recorded: Recorded | None = None


class Group(BaseModel):
    """An entry of the file: one number by `name`, or one for each of `joints`."""

    model_config = STRICT
    name: str | None = None
    joints: Annotated[list[str], Field(min_length=1)] | None = None
    quantity: Annotated[str, BeforeValidator(_quantity)] | None = None
    unit: str = ""
    low: Finite | list[Finite] | None = None
    high: Finite | list[Finite] | None = None
    constant: Finite | None = None
    scale: Positive = 1.0
    topic: str | None = None
    type: str | None = None
    path: str = ""

    @model_validator(mode="after")
    def _agrees(self) -> Group:
        if (self.name is None) == (self.joints is None):
            raise told("expected either a name, or joints with their quantity")
        if (self.joints is None) != (self.quantity is None):
            raise told(
                "quantity: expected one with joints, and none with a name, which ends in it, such as cube_x/position"
            )
        for what, bound in (("low", self.low), ("high", self.high)):
            if isinstance(bound, list) and len(bound) != len(self.joints or [""]):
                raise told(f"{what}: {len(bound)} numbers, expected 1 or {len(self.joints or [''])}")
        if self.topic is None and (self.type or self.path):
            raise told("topic: missing, but type or path is given")
        if self.topic is not None and self.joints is None and not (self.type and self.path):
            raise told("type and path: expected with the topic of a number that no joint has")
        return self

    def numbers(self) -> Iterator[Number]:
        names = [self.name or ""] if self.joints is None else [f"{joint}/{self.quantity}" for joint in self.joints]
        for i, name in enumerate(names):
            low, high = _nth(self.low, i), _nth(self.high, i)
            if self.constant is not None:
                low = high = self.constant
            yield Number(
                name=name,
                unit=self.unit,
                low=low,
                high=high,
                constant=self.constant,
                scale=self.scale,
                recorded=self._recorded(i),
            )

    def _recorded(self, i: int) -> Recorded | None:
        """Where the i-th number is on the robot, as far as the file says it."""
        if self.topic is None:
            return None
        kind, joint = self.type or JOINT_STATE, "" if self.joints is None else self.joints[i]
        usual = f"data.{i}" if kind.endswith("MultiArray") else self.quantity or ""
        return Recorded(self.topic, kind, self.path or usual, joint, MAX_AGE)


Groups = Annotated[list[Group], Field(min_length=1)]


class Numbers(BaseModel):
    """The file, checked."""

    model_config = STRICT
    task: str = ""
    rate: Annotated[float, between(0.01, 10_000.0)] | None = None
    observations: Groups
    actions: Groups

    def observed(self) -> list[Number]:
        """The numbers of an observation."""
        return [number for group in self.observations for number in group.numbers()]

    def commanded(self) -> list[Number]:
        """The numbers of an action."""
        return [number for group in self.actions for number in group.numbers()]


def read_numbers(path: Path) -> Numbers:
    """Read the file, or a layout.

    Raises:
        UserError: it is missing or has mistakes; all of them are named, with their places.
    """
    try:
        values = read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"no file {path}: write what the numbers of the model are, see --help") from None
    if isinstance(values, dict) and "observation" in values:
        values = _of_layout(path, values)
    numbers, mistakes = validated(Numbers, values)
    if numbers is None:
        raise UserError(f"{path} has {len(mistakes)} mistake(s): " + "; ".join(mistakes))
    for number in [*numbers.observed(), *numbers.commanded()]:
        if number.constant is None and not number.name.endswith(tuple(f"/{quantity}" for quantity in QUANTITIES)):
            raise UserError(
                f"{path}: '{number.name}' must end in /position, /velocity or /effort; a number of another kind is a "
                f"position: {number.name.replace('/', '_')}/position"
            )
    for group in numbers.actions:
        if group.topic and not group.type:
            raise UserError(
                f"{path}: an action's topic {group.topic} has no type, such as std_msgs/msg/Float64MultiArray"
            )
    for number in numbers.commanded():
        if number.constant is not None:
            raise UserError(f"{path}: the action '{number.name}' is constant: expected none of these")
    for number in numbers.observed():
        if number.scale != 1.0:
            raise UserError(f"{path}: the observation '{number.name}' has a scale: expected one of actions only")
    for what, names in (("observations", numbers.observed()), ("actions", numbers.commanded())):
        listed = [number.name for number in names]
        if twice := next((name for name in listed if listed.count(name) > 1), None):
            raise UserError(f"{path}: '{twice}' is given twice among the {what}")
    return numbers.model_copy(update={"task": numbers.task or path.stem})


def _of_layout(path: Path, layout: Mapping[str, Any]) -> dict[str, Any]:
    """A layout of recordings, as the file would say it."""
    values: dict[str, Any] = {"rate": layout.get("rate")}
    for section, into in (("observation", "observations"), ("action", "actions")):
        fields = layout.get(section)
        if not isinstance(fields, dict):
            raise UserError(f"{path} has '{section}', but no fields in it: expected a layout of recordings")
        values[into] = [group for name, f in fields.items() for group in _of_field(path, f"{section}.{name}", f or {})]
    return values


def _of_field(path: Path, place: str, entries: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    told_by = entries.get("field", "data")
    paths = told_by if isinstance(told_by, list) else [told_by]
    name = place.partition(".")[2]
    units = entries.get("unit", "")
    if (joints := entries.get("joints")) is not None:
        names = [f"{joint}/{_quantity_in(f'{paths[0]} {name}')}" for joint in joints]
    elif len(paths) == 1 and ("[" in paths[0] or isinstance(units, list)):
        raise UserError(
            f"{path}: {place} is an array without names: list its numbers in a file of your own, see --help"
        )
    else:
        names = [
            f"{name}.{one}/{_quantity_in(one)}" if len(paths) > 1 else f"{name}/{_quantity_in(f'{one} {name}')}"
            for one in paths
        ]
    for i, full in enumerate(names):
        bounds = {end: _nth(entries.get(end), i) for end in ("low", "high")}
        yield {"name": full, "unit": units[i] if isinstance(units, list) else units, **bounds}


def _quantity_in(text: str) -> str:
    """Position, velocity or effort, by a path or a name."""
    return next((quantity for quantity in ("velocity", "effort") if quantity in text.lower()), "position")
