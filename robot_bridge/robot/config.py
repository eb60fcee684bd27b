"""Reads robot configs, `configs/robots/*.yaml`, whole: every mistake in one is told, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from robot_bridge.errors import UserError, unknown
from robot_bridge.node.guards import Mode
from robot_bridge.node.limits import PRESETS, JointLimits
from robot_bridge.robot.robot import (
    ALWAYS_ON,
    GUARDS,
    JOINT_STATE,
    OUTPUT_TYPES,
    DeadMan,
    Input,
    Output,
    Robot,
    Workspace,
)


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
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML ({' '.join(str(error).split())}); mend the file") from None
    reader = _Reader(path)
    robot = reader.robot(values)
    if reader.mistakes or robot is None:
        raise UserError(f"{path} has {len(reader.mistakes)} mistake(s): " + "; ".join(reader.mistakes))
    return robot


class _Reader:
    """Builds a `Robot` from plain values, collecting mistakes instead of ending at the first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mistakes: list[str] = []

    def wrong(self, place: str, text: str) -> None:
        self.mistakes.append(f"{place}: {text}")

    def mapping(self, value: Any, place: str, keys: Iterable[str]) -> dict[str, Any]:
        """`value` as a mapping whose keys are among `keys`; {} if it is none."""
        if not isinstance(value, dict):
            self.wrong(place or "file", f"{_short(value)}, expected a mapping")
            return {}
        keys = list(keys)
        for key in value:
            if key not in keys:
                near = get_close_matches(str(key), keys, n=1)
                hint = f", did you mean '{near[0]}'?" if near else f", known: {', '.join(keys)}"
                self.wrong(f"{place}.{key}".strip("."), f"unknown{hint}")
        return value

    def number(self, values: dict, key: str, place: str, default: float, low: float, high: float = np.inf) -> float:
        value, place = values.get(key, default), f"{place}.{key}".strip(".")
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            bounds = f"{low:g} or more" if np.isinf(high) else f"{low:g} to {high:g}"
            self.wrong(place, f"{_short(value)}, expected a number, {bounds}")
            return default
        return float(value)

    def text(self, values: dict, key: str, place: str, default: str = "") -> str:
        value, place = values.get(key, default), f"{place}.{key}".strip(".")
        if not isinstance(value, str) or not value:
            self.wrong(place, "missing" if key not in values else f"{_short(value)}, expected a text")
            return default
        return value

    def topic(self, values: dict, key: str, place: str) -> str:
        name = self.text(values, key, place)
        if name and not name.startswith("/"):
            self.wrong(f"{place}.{key}", f"'{name}', expected a full name like '/{name}'")
        return name

    def texts(self, value: Any, place: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value):
            self.wrong(place, f"{_short(value)}, expected a list of names")
            return ()
        for name in {v for v in value if value.count(v) > 1}:
            self.wrong(place, f"'{name}' is named twice")
        return tuple(value)

    def numbers(self, value: Any, place: str, n: int | None) -> list[float]:
        good = isinstance(value, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
        if not good or (n is not None and len(value) != n) or not np.isfinite(value).all():
            self.wrong(place, f"{_short(value)}, expected {'' if n is None else f'{n} '}numbers")
            return []
        return [float(v) for v in value]

    def items(self, values: dict, key: str) -> list[tuple[str, Any]]:
        value = values.get(key)
        if not isinstance(value, list) or not value:
            self.wrong(key, "missing" if value is None else f"{_short(value)}, expected a list of one or more")
            return []
        return [(f"{key}[{i}]", item) for i, item in enumerate(value)]

    def robot(self, values: Any) -> Robot | None:
        keys = ("name", "joints", "rate", "inputs", "outputs", "limits", "guards", "workspace", "dead_man")
        values = self.mapping(values, "", keys)
        name, rate = self.text(values, "name", "", "robot"), self.number(values, "rate", "", 50.0, 1.0, 1000.0)
        joints = self.joints(values.get("joints"))
        inputs = tuple(self.input(v, place) for place, v in self.items(values, "inputs"))
        outputs = tuple(self.output(v, place, joints, rate) for place, v in self.items(values, "outputs"))
        self.check_outputs(outputs, joints)
        effort = bool(outputs) and outputs[0].kind == "effort"
        guards = self.mapping(
            values.get("guards", {}), "guards", ("speed", "max_lead", "hold_timeout", "novelty", "modes")
        )
        limits, margin = (None, 0.0) if effort else self.limits(values.get("limits"), len(joints))
        if effort and "limits" in values:
            self.wrong("limits", "given, but outputs of kind effort have none")
        novelty_keys = ("slow_above", "hold_above", "slow_to", "patience")
        novelty = self.mapping(guards.get("novelty", {}), "guards.novelty", novelty_keys)
        novelty = {k: self.number(novelty, k, "guards.novelty", 0.0, 0.0) for k in novelty if k in novelty_keys}
        max_lead = self.number(guards, "max_lead", "guards", max(0.1, margin), 1e-6)
        workspace = values.get("workspace")
        dead_man = values.get("dead_man")
        built: dict[str, Any] = {
            "speed": self.number(guards, "speed", "guards", 1.0, 0.0, 1.0),
            "max_lead": max_lead,
            "hold_timeout": self.number(guards, "hold_timeout", "guards", 0.5, 0.0),
            "novelty": novelty,
            "modes": self.modes(guards.get("modes", {})),
            "workspace": None if workspace is None else self.workspace(workspace, len(joints)),
            "dead_man": None if dead_man is None else self.dead_man(dead_man),
        }
        if self.mistakes:
            return None
        return Robot(name, joints, rate, inputs, outputs, limits, **built)

    def joints(self, value: Any) -> dict[str, str]:
        if isinstance(value, dict):
            for key, joint in value.items():
                if not isinstance(joint, str) or not joint:
                    self.wrong(f"joints.{key}", f"{_short(joint)}, expected the robot's name of that joint")
            names = [str(v) for v in value.values()]
            for name in {n for n in names if names.count(n) > 1}:
                self.wrong("joints", f"'{name}' is named twice")
            return {str(k): str(v) for k, v in value.items()}
        return {name: name for name in self.texts(value, "joints")}

    def input(self, value: Any, place: str) -> Input:
        values = self.mapping(value, place, ("topic", "type", "max_age", "fields", "check_stamps"))
        kind = self.text(values, "type", place, JOINT_STATE)
        if kind.count("/") != 2 or "/msg/" not in kind:
            self.wrong(f"{place}.type", f"'{kind}', expected a message type like '{JOINT_STATE}'")
        fields = values.get("fields", {})
        if not isinstance(fields, dict) or not all(isinstance(v, str) for v in fields.values()):
            self.wrong(
                f"{place}.fields", f"{_short(fields)}, expected names and paths like 'x/position: pose.position.x'"
            )
            fields = {}
        if kind != JOINT_STATE and not fields:
            self.wrong(f"{place}.fields", f"missing: what does the observation take from a {kind}?")
        if kind == JOINT_STATE and fields:
            self.wrong(f"{place}.fields", "given, but a JointState is read by its joints' names")
        stamps = values.get("check_stamps", True)
        if not isinstance(stamps, bool):
            self.wrong(f"{place}.check_stamps", f"{_short(stamps)}, expected true or false")
        max_age = self.number(values, "max_age", place, 0.1, 1e-3, 10.0)
        return Input(
            self.topic(values, "topic", place), kind, max_age, {str(k): str(v) for k, v in fields.items()}, stamps
        )

    def output(self, value: Any, place: str, joints: dict[str, str], rate: float) -> Output:
        values = self.mapping(value, place, ("kind", "topic", "joints", "horizon"))
        kind: Any = self.text(values, "kind", place, "velocity")
        if kind not in OUTPUT_TYPES:
            near = get_close_matches(kind, OUTPUT_TYPES, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(OUTPUT_TYPES)}"
            self.wrong(f"{place}.kind", f"'{kind}' is unknown, {hint}")
        chosen = self.texts(values["joints"], f"{place}.joints") if "joints" in values else tuple(joints)
        for name in chosen:
            if name not in joints:
                self.wrong(f"{place}.joints", f"'{name}' is not among the joints")
        horizon = self.number(values, "horizon", place, max(0.1, 3.0 / rate), 1.5 / rate, 1.0)
        return Output(kind, self.topic(values, "topic", place), chosen, horizon)

    def check_outputs(self, outputs: Sequence[Output], joints: dict[str, str]) -> None:
        commanded = [name for output in outputs for name in output.joints]
        for name in joints:
            if outputs and commanded.count(name) != 1:
                how = "by no output" if name not in commanded else "by two outputs"
                self.wrong("outputs", f"joint '{name}' is commanded {how}, expected one")
        if len({output.kind == "effort" for output in outputs}) > 1:
            self.wrong("outputs", "effort and other kinds together, expected one or the other")

    def limits(self, value: Any, n: int) -> tuple[JointLimits | None, float]:
        if value is None:
            self.wrong("limits", f"missing: a preset ({', '.join(PRESETS)}), numbers, or a list of both")
            return None, 0.0
        keys = ("preset", "position", "velocity", "acceleration", "jerk", "margin", "share", "groups")
        values = self.mapping(value, "limits", keys)
        groups = values.get("groups", [values])
        if not isinstance(groups, list):
            self.wrong("limits.groups", f"{_short(groups)}, expected a list")
            return None, 0.0
        parts = [
            self.group(group, f"limits.groups[{i}]" if "groups" in values else "limits")
            for i, group in enumerate(groups)
        ]
        margin = self.number(values, "margin", "limits", 0.1, 0.0, 1.0)
        share = self.number(values, "share", "limits", 1.0, 0.01, 1.0)
        good = [part for part in parts if part is not None]
        if len(good) < len(parts):
            return None, margin
        joined = JointLimits.join(good)
        if len(joined.low) != n:
            self.wrong("limits", f"of {len(joined.low)} joints, but there are {n} joints")
            return None, margin
        return joined.narrowed(margin, share), margin

    def group(self, value: Any, place: str) -> JointLimits | None:
        before = len(self.mistakes)
        extra = ("margin", "share") if place == "limits" else ()
        values = self.mapping(value, place, ("preset", "position", "velocity", "acceleration", "jerk", *extra))
        if "preset" in values:
            name = self.text(values, "preset", place)
            if name not in PRESETS:
                near = get_close_matches(name, PRESETS, n=1)
                self.wrong(f"{place}.preset", f"'{name}' is unknown, known: {', '.join(near or PRESETS)}")
                return None
            base = vars(PRESETS[name])
        else:
            base = {}
        given = dict(base)
        if "position" in values:
            pairs = values["position"]
            if not isinstance(pairs, list) or not pairs:
                self.wrong(f"{place}.position", f"{_short(pairs)}, expected a list of [low, high]")
            else:
                read = [self.numbers(p, f"{place}.position[{i}]", 2) for i, p in enumerate(pairs)]
                for i, pair in enumerate(read):
                    if pair and pair[0] >= pair[1]:
                        self.wrong(f"{place}.position[{i}]", f"{pair}, expected low < high")
                if all(read):
                    given["low"], given["high"] = np.array(read).T
        for key in ("velocity", "acceleration", "jerk"):
            if key in values:
                given[key] = np.array(self.numbers(values[key], f"{place}.{key}", None))
                if len(given[key]) and given[key].min() <= 0:
                    self.wrong(f"{place}.{key}", f"{_short(values[key])}, expected numbers above 0")
        missing = [k for k in ("position", "velocity", "acceleration", "jerk") if k not in values and not base]
        if missing:
            self.wrong(place, f"{', '.join(missing)} missing: give them, or a preset ({', '.join(PRESETS)})")
        sizes = {key: len(array) for key, array in given.items()}
        if len(self.mistakes) == before and len(set(sizes.values())) > 1:
            self.wrong(place, f"of different lengths: {sizes}")
        return JointLimits(**given) if len(self.mistakes) == before else None

    def modes(self, value: Any) -> dict[str, Mode]:
        values = self.mapping(value, "guards.modes", GUARDS)
        for name, mode in values.items():
            if mode is False:  # YAML reads a bare `off` so
                values[name] = mode = "off"
            if mode not in ("enforce", "monitor", "off"):
                self.wrong(f"guards.modes.{name}", f"{_short(mode)}, expected enforce, monitor or off")
            elif name in ALWAYS_ON and mode != "enforce":
                self.wrong(f"guards.modes.{name}", f"'{mode}', but this guard is always on")
        return values

    def workspace(self, value: Any, n: int) -> Workspace:
        values = self.mapping(value, "workspace", ("model", "joints", "points", "low", "high"))
        model = (self.path.parent / self.text(values, "model", "workspace")).resolve()
        if "model" in values and not model.is_file():
            self.wrong("workspace.model", f"no such file: {model}")
        joints = self.texts(values.get("joints"), "workspace.joints")
        if joints and len(joints) != n:
            self.wrong("workspace.joints", f"{len(joints)} names, but there are {n} joints")
        low, high = (tuple(self.numbers(values.get(k), f"workspace.{k}", 3)) for k in ("low", "high"))
        if low and high and not np.all(np.less(low, high)):
            self.wrong("workspace", f"low {list(low)} is not below high {list(high)}")
        return Workspace(model, joints, self.texts(values.get("points"), "workspace.points"), low, high)

    def dead_man(self, value: Any) -> DeadMan:
        values = self.mapping(value, "dead_man", ("topic", "max_age"))
        return DeadMan(
            self.topic(values, "topic", "dead_man"), self.number(values, "max_age", "dead_man", 0.2, 0.01, 5.0)
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
