"""Names, units and factors of recorded numbers: what of them is the policy's business, and what the topic's."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rosbags", reason="needs lapo-tf[bags]")
from rosbags.typesys import Stores, get_typestore

from lapo_tf.data.bags.messages import single_paths
from lapo_tf.tasks.names import recorded_names

DEFINITIONS = get_typestore(Stores.ROS2_HUMBLE).fielddefs


def action(**known: Any) -> Any:
    channel = {"name": "command.0", "topic": "/command", "type": "std_msgs/msg/Float64MultiArray", "path": "data.0"}
    (named,) = recorded_names({"channels": {"action": [channel | known]}}, (0, 1), "own", 10.0).actions
    return named


@pytest.mark.parametrize(
    ("known", "quantity", "scale"),
    [
        ({}, "position", 1.0),
        ({"unit": "rad/s"}, "velocity", 1.0),
        ({"unit": "rad/s", "scale": 0.0174533}, "velocity", 1.0),  # degrees on the topic: the config converts
        ({"scale": 0.5}, "position", 2.0),  # [-1, 1] of a topic in SI: the bundle converts
        ({"scale": -0.5}, "position", 2.0),  # the sign is the topic's
        ({"unit": "N m", "scale": 1000.0}, "effort", 1.0),
        ({"unit": "%", "scale": 100.0, "topic": "/arm_velocity_controller/commands"}, "velocity", 0.01),
        ({"path": "points[0].velocities", "name": "arm.position"}, "velocity", 1.0),
        ({"path": "linear.x", "topic": "/cmd"}, "velocity", 1.0),
    ],
)
def test_commands(known: dict[str, Any], quantity: str, scale: float) -> None:
    named = action(**known)
    assert (named.quantity, named.scale) == (quantity, pytest.approx(scale))
    assert named.recorded["topic"] == known.get("topic", "/command")
    assert named.recorded.get("scale", 1.0) == known.get("scale", 1.0)
    # A number that was said becomes the policy's, and what the policy does becomes what was said.
    said = 30.0
    policy = said * known.get("scale", 1.0)
    said_again = (policy * named.scale) / (named.scale * named.recorded.get("scale", 1.0))
    assert said_again == pytest.approx(said)


def test_a_reading_and_a_set_point_of_one_joint() -> None:
    channels = [
        {
            "name": f"{field}.elbow",
            "field": field,
            "joint": "elbow",
            "topic": f"/{field}",
            "type": "t",
            "path": "position",
        }
        for field in ("arm", "target")
    ]
    names = recorded_names({"channels": {"observation": channels}}, (2, 0), "own", 10.0).observations
    assert [entry.name for entry in names] == ["elbow/position", "target.elbow/position"]
    assert [entry.recorded["joint"] for entry in names] == ["elbow", "elbow"]


@pytest.mark.parametrize(
    ("paths", "kind", "size", "singles"),
    [
        (("data",), "std_msgs/msg/Float64MultiArray", 2, ["data.0", "data.1"]),
        (("data[2:4]",), "std_msgs/msg/Float64MultiArray", 2, ["data.2", "data.3"]),
        (("data[3]",), "std_msgs/msg/Float64MultiArray", 1, ["data.3"]),
        (("pose.position",), "geometry_msgs/msg/PoseStamped", 3, [f"pose.position.{axis}" for axis in "xyz"]),
        (
            ("pose.orientation.w", "pose.position.z"),
            "geometry_msgs/msg/PoseStamped",
            2,
            ["pose.orientation.w", "pose.position.z"],
        ),
        (("pose.covariance",), "geometry_msgs/msg/PoseWithCovarianceStamped", 36, None),
        (
            ("points[0].positions",),
            "trajectory_msgs/msg/JointTrajectory",
            2,
            ["points.0.positions.0", "points.0.positions.1"],
        ),
        (("position", "velocity"), "sensor_msgs/msg/JointState", 4, []),  # which has how many, only messages know
    ],
)
def test_paths_of_single_numbers(paths: tuple[str, ...], kind: str, size: int, singles: list[str] | None) -> None:
    expected = [f"pose.covariance.{i}" for i in range(36)] if singles is None else singles
    assert single_paths(paths, kind, DEFINITIONS, size) == expected
