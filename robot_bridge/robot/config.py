"""Reads robot configs, `configs/robots/*.yaml`, whole: every mistake in one is told, each with its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field

from robot_bridge.bounds import between
from robot_bridge.errors import UserError, unknown
from robot_bridge.guards.guards import GUARDS
from robot_bridge.guards.limits import PRESETS, JointLimits
from robot_bridge.guards.settings import STRICT, GuardSettings, Workspace
from robot_bridge.paths import ANGLES, FRAMED
from robot_bridge.robot.cartesian import AXES, CARTESIAN, TWISTS
from robot_bridge.robot.interlocks import ControllerCheck, DeadMan, Interlock, Name, Start, told
from robot_bridge.robot.robot import GRIPPERS, JOINT_STATE, Input, Output, Robot
from robot_bridge.robot.units import QUANTITIES, Units
from robot_bridge.robot.yaml_files import near, read_yaml, short, validated

SLOWEST_STOP = 5.0  # s; limits by which a robot takes longer to stop are no robot's
PRESET_NAMES = ", ".join(PRESETS)


def config_dir() -> Path:
    """The folder of the configs that come along: inside the installed package, or `configs/robots` of a checkout."""
    here = Path(__file__).parents[1]
    for folder in (
        here / "configs",
        here.parent / "configs" / "robots",
        here.parent / "lapo_tf" / "configs" / "robots",
    ):
        if folder.is_dir():
            return folder
    return here / "configs"


def find(path: Path | str) -> Path:
    """The config file at `path`, or of that name among those that come along."""
    if Path(path).is_file():
        return Path(path)
    known = {p.stem: p for p in sorted(config_dir().glob("*.yaml"))}
    if str(path) in known:
        return known[str(path)]
    raise unknown("robot config", str(path), known)


def load_robot(path: Path | str) -> Robot:
    """Read a config: a path, or the name of one that comes with robot_bridge.

    Raises:
        UserError: there is none, or it has mistakes; all of them are named.
    """
    path = find(path)
    file, mistakes = validated(RobotFile, read_yaml(path))
    if file is not None:
        mistakes = list(file.contradictions(path.parent))
    if file is None or mistakes:
        raise UserError(f"{path} has {len(mistakes)} mistake(s): " + "; ".join(mistakes))
    return file.robot(path.parent)


def _joints(value: Any) -> Any:
    """A list of names stands for a mapping of each to itself."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        value = list(zip(value, value, strict=True))
    elif isinstance(value, dict):
        value = list(value.items())
    else:
        raise told(f"{short(value)}, expected a list of names, or a mapping of the policy's to the robot's")
    names = [robot for _, robot in value]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise told(f"'{twice}' is named twice")
    return dict(value)


def _some(value: Any) -> Any:
    if not isinstance(value, list) or not value:
        raise told(f"{short(value)}, expected a list of one or more")
    return value


def _pair(value: Any) -> tuple[float, float]:
    good = isinstance(value, list) and len(value) == 2
    if not good or not all(isinstance(v, int | float) and not isinstance(v, bool) and np.isfinite(v) for v in value):
        raise told(f"{short(value)}, expected 2 numbers")
    low, high = map(float, value)
    if low >= high:
        raise told(f"[{low}, {high}], expected low < high")
    return low, high


def _positive(value: Any) -> list[float]:
    good = isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    if not good or not np.isfinite(value).all():
        raise told(f"{short(value)}, expected numbers")
    if not value or min(value) <= 0:
        raise told(f"{short(value)}, expected numbers above 0")
    return [float(v) for v in value]


def _preset(name: Any) -> Any:
    if name not in PRESETS:
        raise told(f"{short(name)} is unknown, {near(name, PRESETS)}")
    return name


def _modes_off(value: Any) -> Any:
    """YAML reads a bare `off` as false."""
    if isinstance(value, dict) and isinstance(value.get("modes"), dict):
        modes = {name: "off" if mode is False else mode for name, mode in value["modes"].items()}
        return value | {"modes": modes}
    return value


Rates = Annotated[list[float], BeforeValidator(_positive)]


class GroupFile(BaseModel):
    """Limits of some joints: a preset, numbers of one's own, or a preset with some of its numbers replaced."""

    model_config = STRICT
    preset: Annotated[str, BeforeValidator(_preset)] | None = None
    position: Annotated[list[Annotated[tuple[float, float], BeforeValidator(_pair)]], Field(min_length=1)] | None = None
    velocity: Rates | None = None
    acceleration: Rates | None = None
    jerk: Rates | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """What is given, by `JointLimits`' names."""
        given = dict(vars(PRESETS[self.preset])) if self.preset else {}
        if self.position is not None:
            given["low"], given["high"] = np.array(self.position).T
        elif self.preset is None and self.velocity is not None:  # axes of a twist may do without
            given["low"], given["high"] = np.full((2, len(self.velocity)), np.inf) * [[-1.0], [1.0]]
        given |= {k: np.array(v) for k in ("velocity", "acceleration", "jerk") if (v := getattr(self, k)) is not None}
        return given

    def contradictions(self, place: str) -> Iterator[str]:
        given = self.arrays()
        names = {"position": "low", "velocity": "velocity", "acceleration": "acceleration", "jerk": "jerk"}
        if missing := [name for name, array in names.items() if array not in given]:
            yield f"{place}: {', '.join(missing)} missing: give them, or a preset ({PRESET_NAMES})"
        elif len(sizes := {key: len(array) for key, array in given.items()}) and len(set(sizes.values())) > 1:
            yield f"{place}: of different lengths: {sizes}"
        elif (slowest := float(JointLimits(**given).stopping_time.max())) > SLOWEST_STOP:
            yield f"{place}: a joint takes {slowest:.1f} s to stop from full speed, expected at most {SLOWEST_STOP:g}"


class LimitsFile(GroupFile):
    """The section `limits:`."""

    margin: Annotated[float, between(0.0, 1.0)] = 0.1
    share: Annotated[float, between(0.01, 1.0)] = 1.0
    groups: Annotated[list[GroupFile], Field(min_length=1)] | None = None

    def parts(self) -> dict[str, GroupFile]:
        """The groups by their place in the file."""
        if self.groups is None:
            return {"limits": self}
        return {f"limits.groups[{i}]": group for i, group in enumerate(self.groups)}

    def joined(self) -> JointLimits:
        """As the file says, not narrowed."""
        return JointLimits.join([JointLimits(**group.arrays()) for group in self.parts().values()])


class RobotFile(BaseModel):
    """A config file as it is written."""

    model_config = STRICT
    name: Name = "robot"
    joints: Annotated[dict[str, Name], BeforeValidator(_joints)]
    units: Units = Field(default_factory=dict)
    held: tuple[Name, ...] = ()
    rate: Annotated[float, between(1.0, 1000.0)] = 50.0
    inputs: Annotated[tuple[Input, ...], BeforeValidator(_some)]
    outputs: Annotated[tuple[Output, ...], BeforeValidator(_some)]
    limits: LimitsFile | None = None
    guards: Annotated[GuardSettings, BeforeValidator(_modes_off)] = Field(default_factory=GuardSettings)
    workspace: Workspace | None = None
    dead_man: DeadMan | None = None
    interlocks: tuple[Interlock, ...] = ()
    controllers: ControllerCheck | None = None
    start: Start = Field(default_factory=Start)

    def commanded(self, output: Output) -> tuple[str, ...]:
        """The joints of an output."""
        return output.joints or tuple(self.joints)

    def contradictions(self, folder: Path) -> Iterator[str]:
        """What does not fit together, with its place."""
        for i, source in enumerate(self.inputs):
            if source.type != JOINT_STATE and not source.fields:
                yield f"inputs[{i}].fields: missing: what does the observation take from a {source.type}?"
            if source.type == JOINT_STATE and source.fields:
                yield f"inputs[{i}].fields: given, but a JointState is read by its joints' names"
            if source.frame and source.type not in FRAMED:
                yield f"inputs[{i}].frame: given, but a {source.type} names none; poses that do: {', '.join(FRAMED)}"
            if source.transform and not source.frame:
                yield f"inputs[{i}].transform: into which frame? give inputs[{i}].frame"
            if source.type != JOINT_STATE and source.names:
                yield f"inputs[{i}].names: given, but a {source.type} is read by its fields"
        yield from self._output_contradictions()
        yield from self._limit_contradictions()
        yield from self._interlock_contradictions()
        for name in self.held:
            if name not in self.joints:
                yield f"held: '{name}' is not among the joints"
        if self.held and self.outputs[0].kind == "effort":
            yield "held: given, but an effort holds no joint"
        for name in self.units:
            joint = name.rpartition("/")[0] if name.endswith(tuple(f"/{q}" for q in QUANTITIES)) else name
            if joint not in self.joints:
                yield f"units.{name}: {near(joint, self.joints)}"
        for name, mode in self.guards.modes.items():
            if name not in GUARDS:
                yield f"guards.modes.{name}: unknown, {near(name, GUARDS)}"
            elif GUARDS[name].always_on and mode != "enforce":
                yield f"guards.modes.{name}: '{mode}', but this guard is always on"
        if self.guards.novelty.hold_above < self.guards.novelty.slow_above:
            yield "guards.novelty.hold_above: below slow_above, expected as much or more"
        if (box := self.workspace) is not None:
            if not (folder / box.model).is_file():
                yield f"workspace.model: no such file: {(folder / box.model).resolve()}"
            if any(output.kind in CARTESIAN for output in self.outputs):
                yield "workspace: given, but a Cartesian output's box is its limits.position"
            elif len(box.joints) != len(self.joints):
                yield f"workspace.joints: {len(box.joints)} names, but there are {len(self.joints)} joints"
            if not np.all(np.less(box.low, box.high)):
                yield f"workspace: low {list(box.low)} is not below high {list(box.high)}"

    def _output_contradictions(self) -> Iterator[str]:
        commanded = [name for output in self.outputs for name in self.commanded(output)]
        for i, output in enumerate(self.outputs):
            for name in self.commanded(output):
                if name not in self.joints:
                    yield f"outputs[{i}].joints: '{name}' is not among the joints"
            gripper = output.kind in GRIPPERS
            if not gripper and (output.scale, output.offset, output.max_effort) != (1.0, 0.0, 0.0):
                yield (
                    f"outputs[{i}]: scale, offset and max_effort are a gripper's, expected none for {output.kind}, "
                    "whose joints may have units"
                )
            if gripper and (output.units or output.names):
                yield f"outputs[{i}]: a gripper's goal is one number: expected scale and offset, no units, no names"
            for what, given in (("units", output.units), ("names", output.names)):
                for name in given:
                    joint, _, quantity = name.rpartition("/") if "/" in name else (name, "", "")
                    if joint not in self.commanded(output) or quantity not in ("", *QUANTITIES):
                        yield f"outputs[{i}].{what}.{name}: expected one of its joints"
            if output.kind in CARTESIAN:
                yield from self._axis_contradictions(i, output)
            elif output.frame:
                yield f"outputs[{i}].frame: given, but {output.kind} has none: {', '.join(CARTESIAN)} have"
            if output.scale == 0.0:
                yield f"outputs[{i}].scale: 0, expected another number"
            shortest = 1.5 / self.rate
            if output.horizon is not None and output.horizon < shortest:
                yield f"outputs[{i}].horizon: {output.horizon:g}, expected a number, {shortest:g} to 1"
        for name in self.joints:
            if commanded.count(name) != 1:
                how = "by no output" if name not in commanded else "by two outputs"
                yield f"outputs: joint '{name}' is commanded {how}, expected one"
        if len({output.kind == "effort" for output in self.outputs}) > 1:
            yield "outputs: effort and other kinds together, expected one or the other"

    def _interlock_contradictions(self) -> Iterator[str]:
        labels = [interlock.label for interlock in self.interlocks]
        for i, label in enumerate(labels):
            if label in labels[:i]:
                yield f"interlocks[{i}]: '{label}' is there twice, expected another name"
        types = {source.topic: source.type for source in self.inputs}
        listened: list[tuple[str, DeadMan | Interlock]] = [
            (f"interlocks[{i}]", interlock) for i, interlock in enumerate(self.interlocks)
        ]
        if self.dead_man is not None:
            listened.append(("dead_man", self.dead_man))
        for place, what in listened:
            if types.setdefault(what.topic, what.type) != what.type:
                yield f"{place}.type: {what.type}, but {what.topic} is {types[what.topic]} elsewhere in this file"

    def _axis_contradictions(self, i: int, output: Output) -> Iterator[str]:
        """Of a Cartesian output: its axes, its frame, and where their positions are measured."""
        axes = {name: output.names.get(name, self.joints.get(name, name)) for name in self.commanded(output)}
        for name, axis in axes.items():
            if axis not in AXES:
                yield f"outputs[{i}].joints: '{name}' is '{axis}' there, expected an axis: {', '.join(AXES)}"
        if len(set(axes.values())) < len(axes):
            yield f"outputs[{i}].joints: an axis is named twice"
        if output.kind == "pose" and (missing := [axis for axis in AXES if axis not in axes.values()]):
            yield f"outputs[{i}].joints: {', '.join(missing)} missing: held: names what the policy does not move"
        if output.kind != "twist" and not output.frame:
            yield f"outputs[{i}].frame: missing: in which frame is it said?"
        bounded = dict(zip(self.joints, self._limits().bounded, strict=False))
        for name, axis in axes.items():
            if output.kind == "pose" and not bounded.get(name):
                yield f"limits: the position of '{name}' is missing: it bounds where a pose may be"
            elif bounded.get(name) and output.kind in TWISTS and axis in ANGLES:
                yield f"limits: positions of '{name}' are given, but a twist's turns are no angles: none can be bounded"
            elif bounded.get(name):
                yield from self._measured(i, output, name)

    def _measured(self, i: int, output: Output, name: str) -> Iterator[str]:
        """Whether the position of an axis with limits is measured in the frame in which it is moved."""
        sources = [(k, source) for k, source in enumerate(self.inputs) if f"{name}/position" in source.fields]
        if not sources and all(source.type != JOINT_STATE for source in self.inputs):
            yield f"inputs: no field gives {name}/position, which has limits"
        for k, source in sources:
            if source.frame != output.frame:
                yield f"inputs[{k}].frame: '{source.frame}', but outputs[{i}] moves '{name}' in '{output.frame}'"

    def _limits(self) -> JointLimits:
        """As far as they are right: those of no joint otherwise."""
        if self.limits is None or any(t for p, g in self.limits.parts().items() for t in g.contradictions(p)):
            return JointLimits(*np.zeros((5, 0)))
        return self.limits.joined()

    def _limit_contradictions(self) -> Iterator[str]:
        effort = self.outputs[0].kind == "effort"
        if self.limits is None:
            if not effort:
                yield f"limits: missing: a preset ({PRESET_NAMES}), numbers, or a list of both"
            return
        if effort:
            yield "limits: given, but outputs of kind effort have none"
        wrong = [text for place, group in self.limits.parts().items() for text in group.contradictions(place)]
        yield from wrong
        if not wrong and (size := len(self.limits.joined().low)) != len(self.joints):
            yield f"limits: of {size} joints, but there are {len(self.joints)} joints"
        free = {name for output in self.outputs if output.kind in CARTESIAN for name in self.commanded(output)}
        for name, bounded in zip(self.joints, self._limits().bounded, strict=False):
            if not bounded and name not in free:
                yield f"limits: the position of '{name}' is missing: only axes of a twist do without"

    def robot(self, folder: Path) -> Robot:
        """What it describes; paths in it are relative to `folder`."""
        limits, guards, box = None, self.guards, self.workspace
        if self.limits is not None:
            limits = self.limits.joined().narrowed(self.limits.margin, self.limits.share)
            if guards.max_lead is None:
                guards = replace(guards, max_lead=max(0.1, self.limits.margin))
        if box is not None:
            box = replace(box, model=(folder / box.model).resolve())
        outputs = tuple(replace(output, joints=self.commanded(output)) for output in self.outputs)
        return Robot(
            self.name,
            self.joints,
            self.rate,
            self.inputs,
            outputs,
            limits,
            guards,
            box,
            dead_man=self.dead_man,
            interlocks=self.interlocks,
            controllers=self.controllers,
            start=self.start,
            units=self.units,
            held=self.held,
        )
