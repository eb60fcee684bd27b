"""Frames: lookups agree with products of matrices, and times with what tf2 promises."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from robot_bridge.interfaces.geometry_msgs.msg import PointStamped, PoseStamped, TransformStamped, Twist, Vector3Stamped
from ros_node import (
    ros_hub,  # noqa: F401 (a fixture)
    ros_node,  # noqa: F401 (a fixture)
    ros_transport,  # noqa: F401 (a fixture)
    spin_until,
)

import robot_bridge.ros as rclpy
from robot_bridge.ros import tf2_ros
from robot_bridge.ros.duration import Duration
from robot_bridge.ros.node import Node
from robot_bridge.ros.time import Time
from robot_bridge.server import RosbridgeServer


def turn(axis: str, angle: float) -> np.ndarray:
    """A rotation matrix, written down by hand."""
    c, s = np.cos(angle), np.sin(angle)
    if axis == "x":
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    if axis == "y":
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def stamped(parent: str, child: str, seconds: float, shift, axis: str = "z", angle: float = 0.0) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, Time(seconds=seconds).to_msg()
    t, r = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = map(float, shift)
    setattr(r, axis, float(np.sin(angle / 2)))
    r.w = float(np.cos(angle / 2))
    return message


def matrix(parent_shift, axis: str, angle: float) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = turn(axis, angle), parent_shift
    return result


CHAIN = {  # child: (parent, shift, axis, angle)
    "base": ("world", (1.0, 2.0, 0.5), "z", 0.7),
    "arm": ("base", (0.0, 0.3, 1.0), "x", -1.2),
    "hand": ("arm", (0.1, 0.0, 0.4), "y", 2.1),
    "camera": ("base", (-0.5, 0.0, 1.5), "y", 0.4),
}


@pytest.fixture
def buffer():
    buffer = tf2_ros.Buffer()
    for child, (parent, *rest) in CHAIN.items():
        buffer.set_transform_static(stamped(parent, child, 0, *rest), "test")
    return buffer


def in_world(frame: str) -> np.ndarray:
    if frame == "world":
        return np.eye(4)
    parent, *rest = CHAIN[frame]
    return in_world(parent) @ matrix(*rest)


@pytest.mark.parametrize("target", ["world", "base", "camera", "hand"])
@pytest.mark.parametrize("source", ["world", "arm", "camera", "hand"])
def test_points_vectors_and_poses_agree_with_matrices(buffer, target, source):
    expected = np.linalg.inv(in_world(target)) @ in_world(source)
    transform = buffer.lookup_transform(target, source, Time())
    assert (transform.header.frame_id, transform.child_frame_id) == (target, source)
    point, vector, pose = PointStamped(), Vector3Stamped(), PoseStamped()
    point.point.x, point.point.y, point.point.z = 0.3, -0.2, 0.9
    vector.vector.x, vector.vector.y, vector.vector.z = 0.3, -0.2, 0.9
    pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = 0.3, -0.2, 0.9
    pose.pose.orientation.x, pose.pose.orientation.w = float(np.sin(0.35)), float(np.cos(0.35))
    for message in (point, vector, pose):
        message.header.frame_id = source
    given = np.array([0.3, -0.2, 0.9])
    moved = buffer.transform(point, target).point
    np.testing.assert_allclose([moved.x, moved.y, moved.z], (expected @ [*given, 1])[:3], atol=1e-12)
    turned = buffer.transform(vector, target).vector
    np.testing.assert_allclose([turned.x, turned.y, turned.z], expected[:3, :3] @ given, atol=1e-12)
    result = buffer.transform(pose, target)
    assert result.header.frame_id == target
    np.testing.assert_allclose(result.pose.position.x, moved.x, atol=1e-12)
    q = result.pose.orientation
    rotation = np.array(
        [
            [1 - 2 * (q.y**2 + q.z**2), 2 * (q.x * q.y - q.z * q.w), 2 * (q.x * q.z + q.y * q.w)],
            [2 * (q.x * q.y + q.z * q.w), 1 - 2 * (q.x**2 + q.z**2), 2 * (q.y * q.z - q.x * q.w)],
            [2 * (q.x * q.z - q.y * q.w), 2 * (q.y * q.z + q.x * q.w), 1 - 2 * (q.x**2 + q.y**2)],
        ]
    )
    np.testing.assert_allclose(rotation, expected[:3, :3] @ turn("x", 0.7), atol=1e-12)
    with pytest.raises(TypeError, match="Twist cannot be transformed"):
        tf2_ros.buffer.do_transform(Twist(), transform)


def test_moving_frames_are_interpolated_and_never_extrapolated():
    buffer = tf2_ros.Buffer(cache_time=Duration(seconds=5))
    for seconds in (10, 11, 12):
        buffer.set_transform(stamped("world", "base", seconds, (seconds, 0, 0), "z", 0.5 * seconds), "test")
        buffer.set_transform(stamped("base", "tool", seconds - 0.5, (0, 0, 1)), "test")
    halfway = buffer.lookup_transform("world", "base", Time(seconds=10.5)).transform
    assert halfway.translation.x == pytest.approx(10.5)
    assert 2 * np.arctan2(halfway.rotation.z, halfway.rotation.w) % (2 * np.pi) == pytest.approx(5.25)
    newest = buffer.lookup_transform("world", "tool", Time())
    assert Time.from_msg(newest.header.stamp).nanoseconds == 11.5e9  # the newest time that both have
    assert newest.transform.translation.x == pytest.approx(11.5)
    for seconds, side in ((9.0, "past"), (12.5, "future")):
        with pytest.raises(tf2_ros.ExtrapolationException, match=f"into the {side}"):
            buffer.lookup_transform("world", "base", Time(seconds=seconds))
    buffer.set_transform(stamped("world", "base", 17, (17, 0, 0)), "test")
    with pytest.raises(tf2_ros.ExtrapolationException, match="into the past"):  # older than the cache keeps
        buffer.lookup_transform("world", "base", Time(seconds=11))


def test_what_is_not_known_or_no_transform_is_told(buffer):
    buffer.set_transform_static(stamped("moon", "rover", 0, (0, 0, 0)), "test")
    with pytest.raises(tf2_ros.LookupException, match='"nowhere" passed to lookupTransform argument target_frame'):
        buffer.lookup_transform("nowhere", "base", Time())
    with pytest.raises(tf2_ros.ConnectivityException, match="not part of the same tree"):
        buffer.lookup_transform("rover", "base", Time())
    assert not buffer.can_transform("rover", "base", Time())
    assert buffer.can_transform("hand", "base", Time(), return_debug_tuple=True) == (True, "")
    wrong = stamped("a", "b", 0, (0, 0, 0))
    wrong.transform.rotation.w = 0.5
    for bad in (wrong, stamped("a", "a", 0, (0, 0, 0)), stamped("a", "b", 0, (np.nan, 0, 0))):
        with pytest.raises(tf2_ros.InvalidArgumentException):
            buffer.set_transform(bad, "test")
    begin = time.monotonic()
    with pytest.raises(tf2_ros.TransformException):
        buffer.lookup_transform("world", "late", Time(), timeout=Duration(seconds=0.1))
    assert 0.1 <= time.monotonic() - begin < 2
    threading.Timer(0.05, buffer.set_transform_static, (stamped("world", "late", 0, (1, 0, 0)), "test")).start()
    assert buffer.lookup_transform("world", "late", Time(), timeout=Duration(seconds=3)).transform.translation.x == 1.0


def test_broadcasters_and_listener_over_a_server():
    with RosbridgeServer(port=0) as server:
        rclpy.init(args=[], url=server.url)
        try:
            sender, receiver = Node("sender"), Node("receiver")
            static = tf2_ros.StaticTransformBroadcaster(sender)
            static.sendTransform(stamped("world", "base", 0, (1, 0, 0)))
            static.sendTransform([stamped("base", "camera", 0, (0, 0, 2))])
            time.sleep(0.2)
            buffer = tf2_ros.Buffer()
            listener = tf2_ros.TransformListener(buffer, receiver)  # later than the static transforms
            moving = tf2_ros.TransformBroadcaster(sender)
            sender.create_timer(0.02, lambda: moving.sendTransform(stamped("camera", "ball", time.time(), (0, 3, 0))))
            executor = rclpy.executors.SingleThreadedExecutor()
            executor.add_node(sender)
            executor.add_node(receiver)
            end = time.monotonic() + 5
            while not buffer.can_transform("world", "ball", Time()) and time.monotonic() < end:
                executor.spin_once(timeout_sec=0.1)
            found = buffer.lookup_transform("world", "ball", Time()).transform.translation
            assert (found.x, found.y, found.z) == (1.0, 3.0, 2.0)
            listener.unregister()
        finally:
            rclpy.try_shutdown()


def test_a_listener_may_spin_by_itself(node, hub):
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, node, spin_thread=True)
    tf2_ros.TransformBroadcaster(node).sendTransform(stamped("a", "b", 1, (1, 0, 0)))
    assert buffer.can_transform("a", "b", Time(), timeout=Duration(seconds=3))
    listener.unregister()
    tf2_ros.TransformBroadcaster(node).sendTransform(stamped("a", "c", 1, (1, 0, 0)))
    assert not spin_until(node, lambda: buffer.can_transform("a", "c", Time()), 0.2)
