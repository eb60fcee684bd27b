"""Robot configs: those that come along are right, and every mistake in one is told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml

from robot_bridge.errors import UserError
from robot_bridge.guards.limits import PRESETS
from robot_bridge.robot.config import config_dir, load_robot
from robot_bridge.robot.description import ActionEntry, Description, ObservationEntry
from robot_bridge.robot.interlocks import ControllerCheck, DeadMan, Start
from robot_bridge.robot.robot import Robot, simulated

NAMES = sorted(path.stem for path in config_dir().glob("*.yaml"))


def description(joints: list[str], quantity: str = "velocity", observed: Iterable[str] = ()) -> Description:
    return Description(
        task="t",
        control_rate=12.5,
        observations=tuple(
            ObservationEntry(name, "rad", -1, 1, ()) for name in observed or [f"{joint}/position" for joint in joints]
        ),
        actions=tuple(ActionEntry(j, quantity, "rad/s", 1.0, -1, 1) for j in joints),
        novelty=(),
        sha256={},
    )


PANDA = [f"panda_joint{i}" for i in range(1, 8)] + ["panda_finger_joint1", "panda_finger_joint2"]


def test_all_kinds_of_robots_are_there() -> None:
    assert {"sim-kitchen", "franka", "franka-velocity", "fr3", "generic-6axis", "moveit-servo", "mobile-base"} <= set(
        NAMES
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_configs_that_come_along_are_right(name: str) -> None:
    robot = load_robot(name)
    joints = list(robot.joints)
    if name == "sim-maze":
        assert robot.mistakes_with(description(joints, "effort")) == []
        return
    assert robot.limits is not None
    assert len(robot.limits.low) == len(robot.joints)
    fields = [name for source in robot.inputs for name in source.fields]
    assert robot.mistakes_with(description(joints, observed=fields)) == []
    if joints == PANDA:
        preset = PRESETS["fr3" if name == "fr3" else "panda"]
        assert (robot.limits.velocity[:7] <= preset.velocity).all()
        if name != "sim-kitchen":
            assert (robot.limits.low[:7] >= preset.low + 0.1 - 1e-9).all()
            assert (robot.limits.high[:7] <= preset.high - 0.1 + 1e-9).all()
            assert robot.dead_man is not None
            assert robot.guards.speed <= 0.2


def test_fr3_renames_joints() -> None:
    assert load_robot("fr3").joints["panda_joint3"] == "fr3_joint3"


@pytest.mark.parametrize("name", ["franka", "franka-velocity", "fr3"])
def test_a_hand_may_be_closed_and_open(name: str) -> None:
    """The margin, at most a tenth of the range, leaves the fingers all of theirs."""
    limits = load_robot(name).limits
    assert limits is not None
    np.testing.assert_allclose([limits.low[7:], limits.high[7:]], [[0.0, 0.0], [0.04, 0.04]], atol=1e-9)


GOOD = yaml.safe_load((config_dir() / "generic-6axis.yaml").read_text())


def load(tmp_path: Path, values: object) -> Robot:
    path = tmp_path / "robot.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return load_robot(path)


def changed(**changes) -> dict:
    """The good config with entries replaced; a `__` in a name goes down a level."""
    values = yaml.safe_load(yaml.safe_dump(GOOD))
    for name, value in changes.items():
        *path, last = [int(p) if p.isdigit() else p for p in name.split("__")]
        target = values
        for part in path:
            target = target[part]
        target[last] = value
    return values


BOX = {"model": "none.xml", "joints": list("abcdef"), "points": ["tip"], "low": [0, 0, 0], "high": [1, 1, 1]}

JOY = {"topic": "/joy", "type": "sensor_msgs/msg/Joy"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": "fast"}, "rate: 'fast', expected a number, 1 to 1000"),
        ({"rte": 50}, "rte: unknown, did you mean 'rate'?"),
        ({"joints": ["a", "a", "b"]}, "joints: 'a' is named twice"),
        ({"inputs": []}, "inputs: [], expected a list of one or more"),
        ({"inputs__0__topic": "joint_states"}, "inputs[0].topic: 'joint_states', expected a full name"),
        ({"inputs__0__type": "JointState"}, "inputs[0].type: 'JointState', expected a message type"),
        ({"inputs__0__type": "geometry_msgs/msg/Pose"}, "inputs[0].fields: missing"),
        ({"inputs__0__max_age": -1}, "inputs[0].max_age: -1, expected a number"),
        ({"outputs__0__kind": "velocty"}, "outputs[0].kind: 'velocty' is unknown, did you mean 'velocity'?"),
        ({"outputs__0__joints": ["joint_1", "elbow"]}, "outputs[0].joints: 'elbow' is not among the joints"),
        ({"outputs__0__joints": ["joint_1"]}, "outputs: joint 'joint_2' is commanded by no output"),
        ({"outputs__0__horizon": 0.01}, "outputs[0].horizon: 0.01, expected a number, 0.03 to 1"),
        ({"limits": None}, "limits: missing: a preset (panda, fer, fr3)"),
        ({"limits__position": [[1, -1]]}, "limits.position[0]: [1.0, -1.0], expected low < high"),
        ({"limits__velocity": [1.0, 2.0]}, "limits: of different lengths"),
        ({"limits__velocity": [0.0] * 6}, "limits.velocity: [0.0, 0.0, 0.0, 0.0, 0.0, 0.0], expected numbers above 0"),
        ({"limits": {"preset": "panda"}}, "limits: of 7 joints, but there are 6 joints"),
        ({"limits": {"preset": "fr2"}}, "limits.preset: 'fr2' is unknown, did you mean 'fr3'?"),
        ({"limits__share": 2}, "limits.share: 2, expected a number, 0.01 to 1"),
        ({"guards__speed": 5}, "guards.speed: 5, expected a number, 0 to 1"),
        ({"guards__modes": {"stale": "quiet"}}, "guards.modes.stale: 'quiet', expected enforce, monitor or off"),
        ({"guards__modes": {"finite": "off"}}, "guards.modes.finite: 'off', but this guard is always on"),
        ({"guards__novelty": {"slow": 1}}, "guards.novelty.slow: unknown"),
        ({"workspace": BOX}, "workspace.model: no such file"),
        ({"workspace": BOX | {"high": [0, 0]}}, "workspace.high"),
        ({"workspace": BOX | {"points": "tip"}}, "workspace.points: 'tip', expected a list"),
        ({"dead_man": {"topic": "x"}}, "dead_man.topic: 'x', expected a full name"),
        (
            {"dead_man": {"topic": "/d", "button": 1}},
            "dead_man: button, axis, above and below are a Joy's: expected none",
        ),
        ({"dead_man": JOY}, "dead_man: expected a button or an axis of the Joy"),
        (
            {"dead_man": JOY | {"button": 1, "axis": 2, "above": 0.5}},
            "dead_man: expected a button or an axis of the Joy",
        ),
        ({"dead_man": JOY | {"axis": 2}}, "dead_man: expected above or below beside axis"),
        ({"dead_man": JOY | {"button": 2, "above": 0.5}}, "dead_man: expected above or below beside axis"),
        ({"dead_man": JOY | {"button": -1}}, "dead_man.button: -1, expected"),
        (
            {"dead_man": {"topic": "/d", "type": "sensor_msgs/msg/Jo"}},
            "dead_man.type: 'sensor_msgs/msg/Jo', expected std_",
        ),
        ({"interlocks": {"topic": "/x"}}, "interlocks: {'topic': '/x'}, expected a list"),
        ({"interlocks": [{"topic": "x"}]}, "interlocks[0].topic: 'x', expected a full name"),
        (
            {"interlocks": [{"topic": "/x", "stop_at": [1], "allowed": [2]}]},
            "interlocks[0]: stop_at and allowed, expected",
        ),
        ({"interlocks": [{"topic": "/x", "allowed": []}]}, "interlocks[0].allowed"),
        ({"interlocks": [{"topic": "/x", "max_age": 0}]}, "interlocks[0].max_age: 0, expected a number, 0.01 to 60"),
        ({"interlocks": [{"topic": "/x"}, {"topic": "/x"}]}, "interlocks[1]: '/x' is there twice"),
        (
            {"interlocks": [{"topic": "/joint_states"}]},
            "interlocks[0].type: std_msgs/msg/Bool, but /joint_states is sensor_",
        ),
        ({"controllers": {"active": []}}, "controllers.active"),
        ({"controllers": {"active": ["a"], "max_age": 0.5}}, "controllers: max_age: 0.5, expected 1 or more: twice"),
        ({"controllers": {"active": ["a"], "manager": "cm"}}, "controllers.manager: 'cm', expected a full name"),
        ({"start": {"far": "warm"}}, "start.far: 'warm', expected warn, refuse or ignore"),
        ({"start": {"speed": 2}}, "start.speed: 2, expected a number, 0.01 to 1"),
        ({"guards__novelty": {"slow_to": 5}}, "guards.novelty.slow_to: 5, expected a number, 0 to 1"),
        ({"guards__novelty": {"hold_above": 0.5}}, "guards.novelty.hold_above: below slow_above"),
        ({"guards__hold_timeout": 3600}, "guards.hold_timeout: 3600, expected a number, 0 to 10"),
        ({"guards__modes": {"stael": "off"}}, "guards.modes.stael: unknown, did you mean 'stale'?"),
        ({"limits__acceleration": [0.01] * 6}, "limits: a joint takes 200.0 s to stop from full speed"),
        (
            {"outputs__0": {"kind": "velocity", "topic": "/c", "horizn": 1}},
            "outputs[0].horizn: unknown, did you mean 'horizon'?",
        ),
        ({"name": ["a"]}, "name: ['a'], expected a text"),
        ({"guards": "all"}, "guards: 'all', expected a mapping"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, changed(**changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_must_allow_motion_is_read_as_written(tmp_path: Path) -> None:
    text = (
        yaml.safe_dump(GOOD | {"dead_man": JOY | {"axis": 5, "below": -0.5, "max_age": 0.3}})
        + """
interlocks:
  - {topic: /external_stop}
  - {topic: /mode, type: ur_dashboard_msgs/msg/SafetyMode, field: mode, allowed: [1, 2], max_age: null, name: safety}
  - {topic: /cell, type: my_msgs/msg/Cell, field: door.state, stop_at: [open, unknown], required: false}
controllers: {active: [arm_controller], manager: /left/controller_manager}
start: {far: refuse, within: 0.1, speed: 0.2}
"""
    )
    robot = load(tmp_path, text)
    assert robot.dead_man == DeadMan("/joy", 0.3, "sensor_msgs/msg/Joy", axis=5, below=-0.5)
    assert [(i.label, i.values, i.max_age, i.required) for i in robot.interlocks] == [
        ("/external_stop", (True,), 1.0, True),
        ("safety", (1, 2), None, True),
        ("/cell door.state", ("open", "unknown"), 1.0, False),
    ]
    assert robot.controllers == ControllerCheck(("arm_controller",), "/left/controller_manager")
    assert robot.start == Start("refuse", 0.1, 0.2)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, changed(rate=0, guards__speed=-1, outputs__0__kind="spin", nonsense=1))
    assert "4 mistake(s)" in str(caught.value)
    for part in ("rate:", "guards.speed:", "outputs[0].kind:", "nonsense:"):
        assert part in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [("a: [", "not valid YAML"), ("- 1", "expected a mapping")])
def test_files_that_are_no_config(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, text)


TWICE = """
joints: [a]
inputs: [{topic: /joint_states}]
outputs: [{kind: velocity, topic: /c}]
limits: {position: [[-1, 1]], velocity: [1], acceleration: [1], jerk: [1e1]}
guards: {speed: 0.1, max_lead: 0.05}
"""


def test_what_is_given_twice_or_by_an_alias_is_refused(tmp_path: Path) -> None:
    assert load(tmp_path, TWICE).guards.speed == 0.1
    with pytest.raises(UserError, match="'guards' is given twice"):
        load(tmp_path, TWICE + "guards: {hold_timeout: 0.5}\n")
    with pytest.raises(UserError, match="'speed' is given twice"):
        load(tmp_path, TWICE.replace("speed: 0.1,", "speed: 0.1, speed: 1.0,"))
    bomb = "a: &a [1, 1]\nb: &b [*a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b]\n"
    with pytest.raises(UserError, match=r"alias \*a: write it out"):
        load(tmp_path, TWICE + bomb)


def test_unknown_config() -> None:
    with pytest.raises(UserError, match="unknown robot config 'frank': did you mean 'franka'"):
        load_robot("frank")


def test_robot_and_policy_must_fit() -> None:
    robot = load_robot("generic-6axis")
    joints = list(robot.joints)
    assert robot.mistakes_with(description([*joints[:5], "elbow"])) == [
        "the policy moves joint 'elbow', which the config does not name under joints",
        "joint 'joint_6' of the config is not moved by the policy",
    ]
    assert "commands effort" in robot.mistakes_with(description(joints, "effort"))[0]


def test_the_unlimited_simulation_fits_its_policy() -> None:
    for quantity in ("velocity", "effort"):
        policy = description(["x", "y"], quantity)
        robot = simulated(policy)
        assert robot.mistakes_with(policy) == []
        assert robot.limits is None
        assert robot.rate == policy.control_rate
