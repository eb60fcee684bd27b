"""Messages: they behave as rosidl's classes do for rclpy, and go to JSON, to bags and back unchanged.

Field names, types and defaults are checked against what ROS 2's documentation (docs.ros.org) prints, JSON against
Python's own `json` and `base64`, bags against rosbags' serialisation.
"""

from __future__ import annotations

import base64
import copy
import json
import math
import pickle
from array import array
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="the robot extra is not installed")

from robot_bridge.interfaces.control_msgs.action import FollowJointTrajectory, GripperCommand
from robot_bridge.interfaces.control_msgs.msg import JointJog, JointTolerance, JointTrajectoryControllerState
from robot_bridge.interfaces.diagnostic_msgs.msg import DiagnosticStatus
from robot_bridge.interfaces.geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion
from robot_bridge.interfaces.sensor_msgs.msg import Image, Imu, JointState
from robot_bridge.interfaces.shape_msgs.msg import SolidPrimitive
from robot_bridge.interfaces.std_msgs.msg import (
    Bool,
    Empty,
    Float32,
    Float64MultiArray,
    Header,
    Int8,
    Int32MultiArray,
    String,
    UInt8MultiArray,
    UInt64,
)
from robot_bridge.interfaces.std_srvs.srv import SetBool, Trigger
from robot_bridge.interfaces.trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from robot_bridge import interfaces
from robot_bridge.interfaces import MessageError, from_dict, from_rosbags, to_dict, to_rosbags, type_name
from robot_bridge.interfaces.store import Store

# Classes as rclpy's --------------------------------------------------------------------------------------------------


def test_fields_types_and_order():
    assert JointState.get_fields_and_field_types() == {
        "header": "std_msgs/Header",
        "name": "sequence<string>",
        "position": "sequence<double>",
        "velocity": "sequence<double>",
        "effort": "sequence<double>",
    }
    assert list(JointState.get_fields_and_field_types()) == ["header", "name", "position", "velocity", "effort"]
    assert JointState.__slots__ == ["_header", "_name", "_position", "_velocity", "_effort"]
    assert Imu.get_fields_and_field_types()["orientation_covariance"] == "double[9]"
    assert SolidPrimitive.get_fields_and_field_types()["dimensions"] == "sequence<double, 3>"
    assert DiagnosticStatus.get_fields_and_field_types()["level"] == "octet"
    assert Bool.get_fields_and_field_types() == {"data": "boolean"}
    assert Float32.get_fields_and_field_types() == {"data": "float"}
    assert Empty.get_fields_and_field_types() == {}
    assert Empty.__slots__ == []


def test_defaults():
    state = JointState()
    assert state.header == Header()
    assert state.header.stamp.sec == 0
    assert state.header.frame_id == ""
    assert state.name == []
    assert state.position == array("d")
    assert isinstance(state.position, array)
    assert (Quaternion().x, Quaternion().w) == (0.0, 1.0)  # geometry_msgs/msg/Quaternion: float64 w 1
    assert Pose().orientation.w == 1.0
    assert DiagnosticStatus().level == b"\0" == DiagnosticStatus.OK
    covariance = Imu().orientation_covariance
    assert isinstance(covariance, np.ndarray)
    assert covariance.dtype == np.float64
    assert covariance.shape == (9,)
    assert Image().data == array("B")
    assert Bool().data is False
    assert type(Float32().data) is float
    assert Int8().data == 0
    assert JointState().position is not JointState().position
    assert Pose().orientation is not Pose().orientation


def test_constants():
    assert (DiagnosticStatus.OK, DiagnosticStatus.STALE) == (b"\0", b"\3")
    assert DiagnosticStatus().WARN == b"\1"
    assert FollowJointTrajectory.Result.GOAL_TOLERANCE_VIOLATED == -5
    assert SolidPrimitive.CYLINDER == 3


def test_keyword_arguments():
    state = JointState(name=["a", "b"], position=[1.0, 2.0], header=Header(frame_id="base"))
    assert (state.name, list(state.position), state.header.frame_id) == (["a", "b"], [1.0, 2.0], "base")
    with pytest.raises(AssertionError, match="no field 'positions': its fields are header, name, position"):
        JointState(positions=[1.0])
    with pytest.raises(TypeError):
        Point(1.0, 2.0, 3.0)
    with pytest.raises(AttributeError):
        JointState().positions = [1.0]


@pytest.mark.parametrize(
    ("cls", "field", "value", "text"),
    [
        (Point, "x", 1, "x: expected float, got int"),
        (Point, "x", "1.0", "x: expected float, got str"),
        (Point, "x", np.float32(1), "x: expected float, got float32"),
        (Point, "x", None, "x: expected float, got NoneType"),
        (Bool, "data", 1, "data: expected bool, got int"),
        (Int8, "data", 1.0, "data: expected int, got float"),
        (Int8, "data", 128, "data: 128 is beyond int8"),
        (Int8, "data", -129, "data: -129 is beyond int8"),
        (UInt64, "data", -1, "data: -1 is beyond uint64"),
        (UInt64, "data", 2**64, "is beyond uint64"),
        (Float32, "data", 1e39, "data: 1e.39 is beyond float32"),
        (String, "data", b"x", "data: expected str, got bytes"),
        (DiagnosticStatus, "level", 2, "level: expected bytes of length 1, got int"),
        (DiagnosticStatus, "level", b"ab", "level: expected one byte"),
        (JointState, "position", 1.0, "position: expected a sequence of float, got float"),
        (JointState, "name", "joint", "name: expected a sequence of string, got str"),
        (JointState, "name", ["a", 1], r"name\[1\]: expected str, got int"),
        (JointState, "header", {}, "header: expected Header, got dict"),
        (Image, "data", [256], r"data\[0\]: 256 is beyond uint8"),
        (Imu, "orientation_covariance", [0.0] * 8, "orientation_covariance: 8 elements, expected 9"),
        (SolidPrimitive, "dimensions", [1.0] * 4, "dimensions: 4 elements, at most 3 allowed"),
        (JointTrajectory, "points", [JointState()], r"points\[0\]: expected JointTrajectoryPoint, got JointState"),
    ],
)
def test_assignment_is_checked(cls, field, value, text):
    message = cls()
    before = copy.deepcopy(message)
    with pytest.raises(AssertionError, match=text) as caught:
        setattr(message, field, value)
    assert type_name(cls) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert message == before
    with pytest.raises(AssertionError, match=f"^{type_name(cls)}: {field}"):
        cls(**{field: value})


@pytest.mark.parametrize(
    ("cls", "field", "value", "text"),
    [
        (JointState, "position", [1.0, 2], r"position\[1\]: expected float, got int"),
        (JointState, "position", np.zeros(2), r"position: expected a sequence of float, got ndarray; use .tolist\(\)"),
        (JointState, "position", array("f", [1]), r"position: expected array\('d'\), got array\('f'\)"),
        (Imu, "orientation_covariance", np.zeros(9, np.float32), "expected an array of float64, got float32"),
    ],
)
def test_assignment_converts_no_numbers(cls, field, value, text):
    with pytest.raises(AssertionError, match=text):
        setattr(cls(), field, value)


@pytest.mark.parametrize(
    ("cls", "field", "value", "kept"),
    [
        (Float64MultiArray, "data", [0, 1], array("d", [0.0, 1.0])),
        (Float64MultiArray, "data", np.zeros(2), array("d", [0.0, 0.0])),
        (Float64MultiArray, "data", (i for i in range(2)), array("d", [0.0, 1.0])),
        (Float64MultiArray, "data", array("f", [1]), array("d", [1.0])),
        (JointTrajectoryPoint, "positions", np.arange(3), array("d", [0.0, 1.0, 2.0])),
        (Int32MultiArray, "data", np.arange(3), array("i", [0, 1, 2])),
        (UInt8MultiArray, "data", b"ab", array("B", [97, 98])),
    ],
)
def test_constructors_convert_numbers_as_rosidl_does(cls, field, value, kept):
    given = getattr(cls(**{field: value}), field)
    assert given == kept
    assert given.typecode == kept.typecode


def test_constructors_convert_fixed_arrays_and_copy():
    given = np.ones(9, np.float32)
    covariance = Imu(orientation_covariance=given).orientation_covariance
    given[0] = 5
    assert covariance.dtype == np.float64
    assert covariance.tolist() == [1.0] * 9
    assert PoseWithCovariance(covariance=[0] * 36).covariance.dtype == np.float64
    for value in ([0.5], np.array([0.5]), [2**40]):  # no float becomes an integer, and none overflows
        with pytest.raises(AssertionError, match="expected numbers for int32"):
            Int32MultiArray(data=value)


def test_what_may_be_assigned():
    state = JointState()
    state.position = (1.0, 2.0)
    assert state.position == array("d", [1, 2])
    state.position = array("d", [3])
    state.position.append(4.0)
    assert list(state.position) == [3.0, 4.0]
    names = ["a"]
    state.name = names
    assert state.name is names
    Point().x = np.float64(1)
    Int8().data = -128
    image = Image(data=b"\x01\xff")
    assert image.data == array("B", [1, 255])
    imu = Imu(orientation_covariance=list(map(float, range(9))))
    np.testing.assert_array_equal(imu.orientation_covariance, np.arange(9.0))
    Point().x = math.inf  # as in rclpy: a message may hold it, JSON may not
    flag = Int8(data=True)  # rclpy lets a bool be an int; JSON's true would be refused by the server
    assert to_dict(flag) == {"data": 1}
    assert type(to_dict(flag)["data"]) is int


def test_equality_representation_copies():
    a = JointState(name=["j"], position=[0.5])
    assert a == JointState(name=["j"], position=[0.5]) != JointState(name=["j"], position=[0.25])
    assert a != "something else"
    assert Imu() == Imu()
    imu = Imu()
    imu.orientation_covariance[3] = 1.0
    assert imu != Imu()
    assert repr(Point(x=1.5)) == "geometry_msgs.msg.Point(x=1.5, y=0.0, z=0.0)"
    assert repr(a) == (
        "sensor_msgs.msg.JointState(header=std_msgs.msg.Header(stamp=builtin_interfaces.msg.Time(sec=0, nanosec=0), "
        "frame_id=''), name=['j'], position=[0.5], velocity=[], effort=[])"
    )
    with pytest.raises(TypeError):
        hash(a)
    twin = copy.deepcopy(a)
    twin.position[0] = 1.0
    assert a.position[0] == 0.5
    assert pickle.loads(pickle.dumps(imu)) == imu


def test_services_and_actions():
    assert Trigger.Request.get_fields_and_field_types() == {}
    assert Trigger.Response(success=True, message="ok").success is True
    assert SetBool.Request.get_fields_and_field_types() == {"data": "boolean"}
    assert list(FollowJointTrajectory.Goal.get_fields_and_field_types().items()) == [
        ("trajectory", "trajectory_msgs/JointTrajectory"),
        ("multi_dof_trajectory", "trajectory_msgs/MultiDOFJointTrajectory"),
        ("path_tolerance", "sequence<control_msgs/JointTolerance>"),
        ("component_path_tolerance", "sequence<control_msgs/JointComponentTolerance>"),
        ("goal_tolerance", "sequence<control_msgs/JointTolerance>"),
        ("component_goal_tolerance", "sequence<control_msgs/JointComponentTolerance>"),
        ("goal_time_tolerance", "builtin_interfaces/Duration"),
    ]
    assert list(FollowJointTrajectory.Result.get_fields_and_field_types()) == ["error_code", "error_string"]
    assert FollowJointTrajectory.Goal(path_tolerance=[JointTolerance(name="j", position=0.1)])
    assert list(GripperCommand.Feedback.get_fields_and_field_types()) == [
        "position",
        "effort",
        "stalled",
        "reached_goal",
    ]
    assert GripperCommand.Goal().command.max_effort == 0.0
    assert JointJog(displacements=[0.1]).duration == 0.0
    for cls in (Trigger, FollowJointTrajectory):
        with pytest.raises(NotImplementedError):
            cls()
    assert type_name(Trigger) == "std_srvs/srv/Trigger"
    assert type_name(JointState) == "sensor_msgs/msg/JointState"
    assert type_name(Trigger.Request) == "std_srvs/srv/Trigger_Request"
    assert interfaces.get_interface("std_srvs/srv/Trigger_Request") is Trigger.Request
    with pytest.raises(TypeError):
        type_name(int)


def test_distributions_differ_where_upstream_does():
    """docs.ros.org/en/{humble,jazzy}/p/control_msgs/msg/JointTrajectoryControllerState.html"""
    humble = list(JointTrajectoryControllerState.get_fields_and_field_types())
    names = ["reference", "feedback", "error", "output"]
    old = ["desired", "actual"]
    multi = [f"multi_dof_{name}" for name in names]
    multi_old = [f"multi_dof_{name}" for name in old]
    assert humble == ["header", "joint_names", *names, *old, "multi_dof_joint_names", *multi, *multi_old]
    jazzy = Store("jazzy").get("control_msgs/msg/JointTrajectoryControllerState").get_fields_and_field_types()
    assert list(jazzy) == ["header", "joint_names", *names, "multi_dof_joint_names", *multi, "speed_scaling_factor"]


# JSON -----------------------------------------------------------------------------------------------------------------


def joint_state() -> JointState:
    state = JointState(name=["a", "b"], position=[0.1, -2.0], velocity=[1e-300, 0.0])
    state.header.stamp.sec, state.header.stamp.nanosec, state.header.frame_id = 12, 999999999, "bäse"
    return state


def test_json_of_a_joint_state():
    assert to_dict(joint_state()) == {
        "header": {"stamp": {"sec": 12, "nanosec": 999999999}, "frame_id": "bäse"},
        "name": ["a", "b"],
        "position": [0.1, -2.0],
        "velocity": [1e-300, 0.0],
        "effort": [],
    }
    assert from_dict(JointState, json.loads(json.dumps(to_dict(joint_state())))) == joint_state()


def test_json_of_bytes():
    data = bytes(range(256))
    assert to_dict(Image(data=data))["data"] == base64.b64encode(data).decode()
    values = to_dict(Image())
    assert from_dict(Image, {**values, "data": base64.b64encode(data).decode()}).data == array("B", data)
    assert from_dict(Image, {**values, "data": [1, 2]}).data == array("B", [1, 2])  # rosbridge takes both
    uuid = interfaces.get_interface("unique_identifier_msgs/msg/UUID")
    assert to_dict(uuid(uuid=np.arange(16, dtype=np.uint8))) == {"uuid": base64.b64encode(bytes(range(16))).decode()}
    assert to_dict(DiagnosticStatus(level=b"\2"))["level"] == 2


def test_integers_do_for_floats_and_nothing_else_is_converted():
    values = to_dict(joint_state())
    state = from_dict(JointState, {**values, "position": [1, 2.5]})
    assert list(state.position) == [1.0, 2.5]
    assert type(from_dict(Float32, {"data": 3}).data) is float
    for cls, value, text in [
        (Bool, 1, "expected bool, got int"),
        (Int8, True, "expected int, got bool"),
        (Int8, 1.0, "expected int, got float"),
        (Int8, 300, "300 is beyond int8"),
        (Float32, True, "expected float, got bool"),
        (Float32, "1", "expected float, got str"),
        (Float32, 1e39, "1e.39 is beyond float32"),
        (Float32, 10**400, "an integer beyond float64"),
        (String, 5, "expected str, got int"),
        (String, "\ud800", "is not valid Unicode"),
    ]:
        with pytest.raises(MessageError, match=f"data: {text}"):
            from_dict(cls, {"data": value})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"position": [1, 2, 3, "x"]}, "sensor_msgs/msg/JointState: position[3]: expected float, got str"),
        ({"position": [1, True]}, "position[1]: expected float, got bool"),
        ({"position": [1.0, None]}, "position[1]: expected float, got NoneType"),
        ({"position": [1.0, math.nan]}, "position[1]: nan is not finite"),
        ({"position": [10**400]}, "position[0]: "),
        ({"position": "abc"}, "position: expected list, got str"),
        ({"position": {"0": 1}}, "position: expected list, got dict"),
        ({"name": ["a", None]}, "name[1]: expected str, got NoneType"),
        ({"header": []}, "header: expected an object of std_msgs/msg/Header, got list"),
        ({"header": {"stamp": {"sec": 0, "nanosec": 0}}}, "header.frame_id: is missing"),
        ({"header": {"stamp": {"sec": 2**31, "nanosec": 0}, "frame_id": ""}}, "header.stamp.sec: 2147483648 is beyond"),
        ({"header": {"stamp": {"secs": 0, "nanosec": 0}, "frame_id": ""}}, "header.stamp.sec: is missing"),
        ({"torque": []}, "torque: unknown field; sensor_msgs/msg/JointState has header, name, position"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(change, text):
    with pytest.raises(MessageError) as caught:
        from_dict(JointState, {**to_dict(joint_state()), **change})
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_wrong_values():
    with pytest.raises(MessageError, match="expected an object of std_msgs/msg/Empty, got NoneType"):
        from_dict(Empty, None)
    with pytest.raises(MessageError, match="x: unknown field; std_msgs/msg/Empty has none"):
        from_dict(Empty, {"x": 1})
    with pytest.raises(MessageError, match="data: is not base64"):
        from_dict(Image, {**to_dict(Image()), "data": "a?b"})
    with pytest.raises(MessageError, match=r"data\[1\]: 256 is beyond uint8"):
        from_dict(Image, {**to_dict(Image()), "data": [1, 256]})
    with pytest.raises(MessageError, match="orientation_covariance: 1 elements, expected 9"):
        from_dict(Imu, {**to_dict(Imu()), "orientation_covariance": [1.0]})
    trajectory = JointTrajectory(points=[JointTrajectoryPoint(), JointTrajectoryPoint(positions=[1.0])])
    values = to_dict(trajectory)
    values["points"][1]["positions"] = [None]
    with pytest.raises(MessageError, match=r"points\[1\].positions\[0\]: expected float"):
        from_dict(JointTrajectory, values)
    trajectory.points.append("no point")
    with pytest.raises(MessageError, match=r"points\[2\]: expected JointTrajectoryPoint, got str"):
        to_dict(trajectory)
    state = JointState(name=["a"])
    state.name.append(5)
    with pytest.raises(MessageError, match=r"name\[1\]: expected str, got int"):
        to_dict(state)


def test_nan_is_refused_unless_allowed():
    state = joint_state()
    state.position[1] = math.nan
    with pytest.raises(MessageError, match=r"position\[1\]: nan has no place in JSON"):
        to_dict(state)
    values = to_dict(state, allow_nan=True)
    assert values["position"] == [0.1, None]
    assert "NaN" not in json.dumps(values, allow_nan=False)
    with pytest.raises(MessageError, match=r"position\[1\]"):
        from_dict(JointState, values)
    back = from_dict(JointState, values, allow_nan=True)
    assert back.position[0] == 0.1
    assert math.isnan(back.position[1])
    assert to_dict(Point(x=math.inf), allow_nan=True)["x"] is None
    with pytest.raises(MessageError, match="x: inf has no place in JSON"):
        to_dict(Point(x=math.inf))
    assert math.isnan(from_dict(Float32, {"data": None}, allow_nan=True).data)
    covariance = Imu()
    covariance.orientation_covariance[:] = 1e308  # the sum overflows, the terms do not
    assert from_dict(Imu, to_dict(covariance)) == covariance


def test_partial_fills_in_defaults_but_takes_nothing_unknown():
    pose = from_dict(Pose, {"position": {"x": 1.0}}, partial=True)
    assert pose == Pose(position=Point(x=1.0))
    assert pose.orientation.w == 1.0
    assert from_dict(Trigger.Request, {}) == Trigger.Request()
    with pytest.raises(MessageError, match=r"position\.X: unknown field"):
        from_dict(Pose, {"position": {"X": 1.0}}, partial=True)


# Bags -----------------------------------------------------------------------------------------------------------------


def test_rosbags_both_ways_and_a_bag(tmp_path: Path):
    from rosbags.rosbag2 import Reader, StoragePlugin, Writer

    state, store = joint_state(), interfaces.typestore()
    assert from_rosbags(to_rosbags(state)) == state
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/joint_states", type_name(JointState), typestore=store)
        writer.write(connection, 5, store.serialize_cdr(to_rosbags(state), type_name(JointState)))
    with Reader(tmp_path / "bag") as reader:
        ((connection, stamp, raw),) = reader.messages()
        assert (connection.topic, stamp) == ("/joint_states", 5)
        assert from_rosbags(store.deserialize_cdr(raw, connection.msgtype)) == state
