"""Poses and their frames: expected, refused with the reason, or moved as tf2 says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from node_bench import Bench
from robot_fakes import arm_policy, arm_robot

from robot_bridge.node.observation import Observer
from robot_bridge.paths import angles, number_at, quaternion, with_numbers
from robot_bridge.robot.robot import Input

STAMPED = "geometry_msgs/msg/PoseStamped"
TURNED = {"x": 0.0, "y": 0.0, "z": np.sqrt(0.5), "w": np.sqrt(0.5)}  # a quarter about z


def stamp(seconds: float) -> dict[str, int]:
    return {"sec": int(seconds), "nanosec": round(seconds % 1 * 1e9)}


def bench(transform: bool = False) -> Bench:
    """A policy that sees where a cube is, in `base`."""
    policy = arm_policy()
    entry = type(policy.description.observations[0])
    observations = tuple(entry(f"{name}/position", "", -9, 9, ()) for name in ("a", "b", "cube_x", "cube_yaw"))
    policy.description = type(policy.description)("t", 50.0, observations, policy.description.actions, (), {})
    policy.weights = np.hstack([policy.weights, np.zeros((2, 2), np.float32)])
    fields = {"cube_x/position": "pose.position.x", "cube_yaw/position": "pose.orientation.yaw"}
    pose = Input("/cube/pose", STAMPED, 0.2, fields, frame="base", transform=transform)
    return Bench(policy, inputs=(Input("/joint_states"), pose))


def see(bench: Bench, frame: str | None, age: float = 0.0) -> bool:
    """The cube at (1, 2, 3), not turned, in a frame."""
    header = {} if frame is None else {"header": {"frame_id": frame, "stamp": stamp(bench.now - age)}}
    at = {"position": {"x": 1.0, "y": 2.0, "z": 3.0}, "orientation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}}
    bench.wire.subscribers["/joint_states"](bench.state_message())
    return bench.node.observer.receive(1, header | {"pose": at}, bench.now)


def tell(bench: Bench, parent: str, child: str, shift: tuple[float, ...], when: float, topic: str = "/tf") -> None:
    moved = {"translation": dict(zip("xyz", shift, strict=True)), "rotation": TURNED}
    header = {"frame_id": parent, "stamp": stamp(when)}
    bench.wire.subscribers[topic]({"transforms": [{"header": header, "child_frame_id": child, "transform": moved}]})


def seen(bench: Bench) -> list[float]:
    return bench.node.observer.snapshot(bench.now).observation[2:].tolist()


def test_a_pose_in_its_frame_is_taken() -> None:
    one = bench()
    assert see(one, "base")
    one.now += 0.01
    assert see(one, "/base")
    np.testing.assert_allclose(seen(one), [1.0, 0.0])
    assert "/tf" not in one.wire.subscribers  # nobody asked for it


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        ("camera", "in frame 'camera', expected 'base'"),
        ("", "names no frame, not 'base'"),
        (None, "names no frame, not 'base'"),
    ],
)
def test_a_pose_in_another_frame_stops_the_robot_and_says_why(frame: str | None, why: str) -> None:
    one = bench()
    see(one, "base")
    assert one.node.enable()[0]
    for _ in range(60):
        assert not see(one, frame)
        one.node.tick(one.now)
        one.now += 0.02
    assert one.node.state == "fault"
    assert f"a message of /cube/pose was refused: {why}" in one.node.reason
    done, obstacle = one.node.enable()
    assert not done
    assert why in obstacle


def test_a_pose_is_moved_as_tf_says() -> None:
    one = bench(transform=True)
    assert not see(one, "camera")
    assert "no transform" in one.node.observer.complaints["/cube/pose"]
    one.now += 0.01
    tell(one, "base", "tower", (10.0, 0.0, 0.0), 0.0, "/tf_static")
    tell(one, "tower", "camera", (5.0, 0.0, 0.0), one.now)
    assert see(one, "camera")
    # In the tower, turned by a quarter, x = 5 - 2 and y = 1; in the base, turned once more, x = 10 - 1.
    np.testing.assert_allclose(seen(one), [9.0, np.pi], atol=1e-6)


def test_a_transform_must_be_as_new_as_the_pose_may_be_old() -> None:
    one = bench(transform=True)
    tell(one, "base", "camera", (5.0, 0.0, 0.0), one.now)
    one.now += 0.15
    assert see(one, "camera")
    one.now += 0.15
    assert not see(one, "camera")
    assert "its transform is 0.30 s older than the pose" in one.node.observer.complaints["/cube/pose"]
    static = bench(transform=True)
    tell(static, "base", "camera", (5.0, 0.0, 0.0), 0.0, "/tf_static")
    static.now += 1000.0
    assert see(static, "camera")


def test_transforms_that_are_none_change_nothing() -> None:
    one = bench(transform=True)
    tell(one, "base", "camera", (5.0, 0.0, 0.0), one.now)
    for bad in ({}, {"transforms": [{}]}, {"transforms": [{"header": {"frame_id": "base", "stamp": {}}}]}):
        one.wire.subscribers["/tf"](bad)
    tell(one, "base", "camera", (float("nan"), 0.0, 0.0), one.now)
    assert see(one, "camera")


@pytest.mark.parametrize(("low", "high", "expected"), [(-180.0, 180.0, -170.0), (100.0, 260.0, 190.0)])
def test_an_angle_is_taken_where_the_training_data_have_it(low: float, high: float, expected: float) -> None:
    """A policy that learned in degrees, of a cube that is told to be turned by -170 degrees."""
    policy = arm_policy()
    first = policy.description.observations[0]
    yaw = type(first)("cube/yaw", "deg", low, high, (), scale=180.0 / np.pi)
    policy.description = type(policy.description)("t", 50.0, (first, yaw), policy.description.actions, (), {})
    source = Input("/cube/pose", STAMPED, 0.2, {"cube/yaw": "pose.orientation.yaw"}, frame="base")
    observer = Observer(policy, arm_robot(inputs=(Input("/joint_states"), source)))
    turned = dict(zip("xyzw", quaternion((0.0, 0.0, np.radians(-170.0))), strict=True))
    message = {"header": {"frame_id": "base"}, "pose": {"position": {}, "orientation": turned}}
    assert observer.receive(1, message, 1.0), observer.complaints
    assert observer.snapshot(1.0).observation[1] == pytest.approx(expected)


def matrix(roll: float, pitch: float, yaw: float) -> np.ndarray:
    """About the fixed axes x, y, z, one after the other, written down by hand."""
    (sr, sp, sy), (cr, cp, cy) = np.sin([roll, pitch, yaw]), np.cos([roll, pitch, yaw])
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    return np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]]) @ about_y @ about_x


def test_angles_are_those_of_the_rotation() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        turned = rng.uniform([-np.pi, -1.5, -np.pi], [np.pi, 1.5, np.pi])
        x, y, z, w = quaternion(turned)
        vector = rng.normal(size=3)
        twice = 2.0 * np.cross([x, y, z], vector)
        rotated = vector + w * twice + np.cross([x, y, z], twice)
        np.testing.assert_allclose(rotated, matrix(*turned) @ vector, atol=1e-12)
        np.testing.assert_allclose(angles((x, y, z, w)), turned, atol=1e-9)
    assert np.isnan(angles((0.0, 0.0, 0.0, 0.0))).all()


def test_numbers_are_written_where_they_are_read() -> None:
    paths = {
        "pose.position.x": 0.3,
        "pose.orientation.pitch": np.pi / 2,
        "pose.orientation.roll": 0.4,
        "covariance.2": 7.0,
    }
    message: Any = with_numbers({}, paths)
    assert number_at(message, "pose.position.x") == 0.3
    assert message["covariance"] == [0.0, 0.0, 7.0]
    found = [message["pose"]["orientation"][key] for key in "xyzw"]
    np.testing.assert_allclose(found, quaternion((0.4, np.pi / 2, 0.0)), atol=1e-9)
