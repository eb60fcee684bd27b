"""Units, signs, zeros and names that differ between a policy and the topics, each way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from node_bench import DT, Bench
from robot_fakes import arm_policy, arm_robot

from robot_bridge.errors import UserError
from robot_bridge.guards.limits import JointLimits
from robot_bridge.node.observation import Observer
from robot_bridge.robot.config import load_robot
from robot_bridge.robot.robot import Input, Output
from robot_bridge.robot.units import Unit
from robot_bridge.simulation.controller import Host, Reference
from robot_bridge.simulation.controllers import Controllers
from robot_bridge.simulation.simulation import Reported

LIMITS = JointLimits([-1, -1], [1, 1], [1, 1], [5, 5], [500, 500])
DEGREES = 180.0 / np.pi
UNITS = {"a": Unit(-1.0, 0.5), "b": Unit(DEGREES)}
"""Joint a is turned round and has another zero; joint b is told in degrees."""


def position_of(told: dict[str, Any], **options: Any) -> list[float]:
    observer = Observer(arm_policy(), arm_robot(inputs=(Input("/joint_states", **options),), units=UNITS))
    assert observer.receive(0, told, 1.0), observer.complaints
    return observer.snapshot(1.0).position.tolist()


def test_what_a_topic_says_is_understood() -> None:
    told = {"name": ["a", "b"], "position": [0.2, 90.0]}
    np.testing.assert_allclose(position_of(told), [0.3, np.pi / 2])


def test_a_topic_may_have_its_own_names_and_units() -> None:
    told = {"name": ["motor", "b"], "position": [1000.0, 0.25]}
    units = {"a": Unit(2000.0), "b": Unit()}
    np.testing.assert_allclose(position_of(told, names={"a": "motor"}, units=units), [0.5, 0.25])


def test_one_number_of_a_driver_may_be_two_joints() -> None:
    """The width of a gripper, in mm, is both of its fingers."""
    told = {"name": ["width"], "position": [60.0]}
    found = position_of(told, names={"a": "width", "b": "width"}, units={"a": Unit(2000.0), "b": Unit(2000.0)})
    np.testing.assert_allclose(found, [0.03, 0.03])


@pytest.mark.parametrize(
    ("units", "velocity", "effort"),
    [
        ({}, 4.0, 6.0),
        ({"a": Unit(-2.0, 1.0)}, -2.0, -6.0),  # without the offset; the sign alone
        ({"a/velocity": Unit(0.5, 1.0), "a/effort": Unit(3.0)}, 6.0, 2.0),
        ({"a": Unit(-2.0, 1.0), "a/velocity": Unit(0.5)}, 8.0, -6.0),
    ],
)
def test_each_field_of_a_joint_has_its_unit(units: dict[str, Unit], velocity: float, effort: float) -> None:
    policy = arm_policy()
    names = ("a/velocity", "a/effort")
    entries = tuple(type(policy.description.observations[0])(name, "", -9, 9, ()) for name in names)
    policy.description = type(policy.description)("t", 50.0, entries, policy.description.actions, (), {})
    observer = Observer(policy, arm_robot(units=units))
    observer.receive(0, {"name": ["a"], "velocity": [4.0], "effort": [6.0]}, 1.0)
    np.testing.assert_allclose(observer.snapshot(1.0).observation, [velocity, effort])


def test_fields_of_other_messages_have_units() -> None:
    source = Input("/p", "geometry_msgs/msg/Pose", 0.5, {"b/position": "position.x"}, units={"b": Unit(1000.0)})
    observer = Observer(arm_policy(), arm_robot(inputs=(Input("/joint_states"), source)))
    observer.receive(1, {"position": {"x": 700.0}}, 1.0)
    assert observer.snapshot(1.0).observation[1] == 0.7


KINDS = ("velocity", "position", "effort", "trajectory", "follow", "gripper")


def driven(kind: Any, **changes: Any) -> Bench:
    """A node whose robot says all in units of its own, and is told so; the guards see what they always see."""
    options = {"scale": -500.0, "offset": 255.0} if kind == "gripper" else {"names": {"a": "motor"}}
    bench = Bench(
        arm_policy(target=0.9),
        inputs=(Input("/joint_states", names={"a": "motor"}),),
        outputs=(Output(kind, "/commands", ("a", "b"), 0.1, **options),),
        limits=None if kind == "effort" else LIMITS,
        max_lead=5.0,
        units=UNITS,
        **changes,
    )
    told = Reported(["a", "b"], bench.robot.inputs[0], bench.robot)

    numbers = ("a/position", "b/position")
    bench.sensor = lambda message: message | told.message(dict(zip(numbers, bench.q, strict=True)))
    return bench


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_undo_what_inputs_do(kind: Any) -> None:
    """A simulated controller, which reads the config by itself, does what the guards decided."""
    bench = driven(kind)
    bench.enable()
    now, todo = [0.0], []
    host = Host(lambda: now[0], todo.append, bench.node.observer.counters, DT)
    controller = Controllers(bench.robot, host).all[0]
    hear: Any = getattr(controller, {"trajectory": "on_trajectory", "follow": "on_goal"}.get(kind, "on_array"), None)
    for _ in range(20):
        published, goals = len(bench.wire.published), len(bench.wire.goals)
        bench.wire.subscribers["/joint_states"](bench.sensor(bench.state_message()) or {})
        outcome = bench.node.tick(bench.now)
        motion = outcome.memory.motion
        said = [message for topic, message in bench.wire.published[published:] if topic == "/commands"]
        for message in said:
            message.pop("header", None)
            hear(message)
        for _, goal in bench.wire.goals[goals:]:
            if kind == "gripper":
                value = (goal["command"]["position"] - 255.0) / -500.0
                assert value == pytest.approx(float(motion.position.mean()))
            else:
                goal["trajectory"].pop("header")
                assert goal["trajectory"]["joint_names"] == ["motor", "b"]
        for change in todo:
            change()
        todo.clear()
        reference = Reference(2)
        controller.refer(reference, bench.q)
        if kind in ("velocity", "effort"):
            a, b = outcome.command
            np.testing.assert_allclose(said[0]["data"], [-a, (DEGREES if kind == "velocity" else 1.0) * b])
            np.testing.assert_allclose(getattr(reference, kind), outcome.command, atol=1e-12)
        elif kind == "position":
            a, b = motion.position
            np.testing.assert_allclose(said[0]["data"], [0.5 - a, DEGREES * b])
            np.testing.assert_allclose(reference.position, motion.position, atol=1e-12)
        elif kind == "trajectory":
            assert said[0]["joint_names"] == ["motor", "b"]
            first = said[0]["points"][0]
            np.testing.assert_allclose(first["positions"], [0.5 - motion.position[0], DEGREES * motion.position[1]])
            np.testing.assert_allclose(first["velocities"], [-motion.velocity[0], DEGREES * motion.velocity[1]])
        if motion is not None:
            bench.q = motion.position.copy()
        bench.now += DT
    assert kind == "effort" or bench.node.counts["limited"] > 0  # by limits in rad, of a joint that is told in degrees
    assert kind in ("effort", "gripper", "follow") or bench.q.max() > 0.1
    assert bench.node.observer.counters.snapshot() == {}


def test_a_stand_is_said_in_the_units_of_the_topic() -> None:
    """A servo that stands at 1,500 µs."""
    outputs = (Output("velocity", "/commands", ("a", "b"), units={"a/velocity": Unit(400.0, 1500.0)}),)
    bench = Bench(outputs=outputs)
    assert bench.node.senders[0].halt()
    assert bench.wire.published[-1][1] == {"data": [1500.0, 0.0]}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("velocity", {"data": [-0.2, DEGREES * 0.3]}),
        ("position", {"data": [0.3, DEGREES * 0.3]}),
        ("trajectory", {"joint_names": ["b", "motor"], "points": [{"positions": [DEGREES * 0.3, 0.3]}]}),
    ],
)
def test_what_others_command_is_understood(kind: str, message: dict[str, Any]) -> None:
    for point in message.get("points", []):
        point["time_from_start"] = {"sec": 0, "nanosec": 0}
    heard = driven(kind).node.senders[0].heard(message, 0.0)
    np.testing.assert_allclose(heard, [0.2, 0.3])  # type: ignore[arg-type]


CONFIG = """
joints: {elbow: joint_3, hand: finger}
units: {elbow: {scale: -1, offset: 1.57}, hand/effort: {scale: 0.001}}
inputs:
  - {topic: /joint_states, names: {hand: width}, units: {hand: {scale: 2000}}}
outputs:
  - {kind: trajectory, topic: /arm, joints: [elbow]}
  - {kind: gripper, topic: /hand, joints: [hand], scale: -6375, offset: 255}
limits: {position: [[-1, 1], [0, 0.04]], velocity: [1, 1], acceleration: [5, 5], jerk: [50, 50]}
"""


def test_a_config_says_it(tmp_path: Path) -> None:
    path = tmp_path / "robot.yaml"
    path.write_text(CONFIG)
    robot = load_robot(path)
    states, (arm, hand) = robot.inputs[0], robot.outputs
    assert (robot.said("elbow", states), robot.said("hand", states), robot.said("cube", states)) == (
        "joint_3",
        "width",
        "cube",
    )
    assert robot.unit("elbow/position", arm) == Unit(-1.0, 1.57)
    assert robot.unit("hand/position", states) == Unit(2000.0)
    assert robot.unit("hand/effort", arm) == Unit(0.001)
    assert (hand.scale, hand.offset) == (-6375.0, 255.0)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("units", {"elbow": {"scale": 0}}, "units.elbow.scale: 0, expected another number"),
        ("units", {"elbow": {"scal": 2}}, "units.elbow.scal: unknown, did you mean 'scale'?"),
        ("units", {"elbwo": {"scale": 2}}, "units.elbwo: did you mean 'elbow'?"),
        ("outputs.0.units", {"hand": {"scale": 2}}, "outputs[0].units.hand: expected one of its joints"),
        ("outputs.0.names", {"hand": "x"}, "outputs[0].names.hand: expected one of its joints"),
        ("outputs.0.scale", 2, "outputs[0]: scale, offset and max_effort are a gripper's"),
        ("outputs.1.units", {"hand": {"scale": 2}}, "outputs[1]: a gripper's goal is one number"),
        ("inputs.0.type", "geometry_msgs/msg/Pose", "inputs[0].names: given, but a geometry_msgs/msg/Pose is read by"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, place: str, value: Any, message: str) -> None:
    values = yaml.safe_load(CONFIG)
    *parents, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    target = values
    for part in parents:
        target = target[part]
    target[last] = value
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError) as caught:
        load_robot(path)
    assert message in str(caught.value)


def test_units_of_what_nobody_knows_are_told() -> None:
    """A slip in a name would leave the numbers as they are."""
    policy = arm_policy().description
    good = Input("/joint_states", names={"a": "motor"}, units={"b/velocity": Unit(2.0), "b": Unit(3.0)})
    assert arm_robot(inputs=(good,)).mistakes_with(policy) == []
    bad = Input("/joint_states", names={"A": "motor"}, units={"b/speed": Unit(2.0)})
    assert arm_robot(inputs=(bad,)).mistakes_with(policy) == [
        "/joint_states has a name or a unit for 'A', which nobody observes or moves",
        "/joint_states has a name or a unit for 'b/speed', which nobody observes or moves",
    ]
