"""Every message type survives JSON and CDR (against rosbags' serialisation); where definitions come from."""

from __future__ import annotations

import json
import random
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

pytest.importorskip("rosbags", reason="the robot extra is not installed")

from robot_bridge.interfaces.sensor_msgs.msg import CameraInfo
from robot_bridge.interfaces.std_msgs.msg import MultiArrayLayout

from robot_bridge import interfaces
from robot_bridge.errors import UserError
from robot_bridge.interfaces import FieldError, from_dict, to_dict, to_rosbags, type_name
from robot_bridge.interfaces.store import Store

# Every type -----------------------------------------------------------------------------------------------------------


def fill(rng: random.Random, text: str, store: Store):
    """A random value for a field, from rosidl's words for its type."""
    if text.startswith("sequence<"):
        inner, _, limit = text[9:-1].partition(", ")
        n = rng.randint(0, int(limit) if limit else 3)
        return [fill(rng, inner, store) for _ in range(n)]
    if text.endswith("]"):
        inner, size = text[:-1].split("[")
        return [fill(rng, inner, store) for _ in range(int(size))]
    if "/" in text:
        package, name = text.split("/")
        return random_message(rng, store.get(f"{package}/msg/{name}"), store)
    if "int" in text:
        bits = int(text.lstrip("uint"))
        low = 0 if text.startswith("u") else -(2 ** (bits - 1))
        return rng.choice([low, low + 2**bits - 1, rng.randint(low, low + 2**bits - 1)])
    if text == "double":
        return rng.choice([0.0, -1.5e308, 5e-324, rng.uniform(-10, 10)])
    if text == "float":
        return float(np.float32(rng.uniform(-10, 10)))
    if text == "boolean":
        return rng.random() < 0.5
    if text == "octet":
        return bytes([rng.randrange(256)])
    length = int(text[7:-1]) if "<" in text else 8
    return "".join(rng.choice(string.ascii_letters + 'äß漢🤖 \n"\\') for _ in range(rng.randint(0, length)))


def random_message(rng: random.Random, cls, store: Store):
    return cls(**{name: fill(rng, text, store) for name, text in cls.get_fields_and_field_types().items()})


@pytest.mark.parametrize("distro", ["humble", "jazzy"])
def test_every_type_survives_json_and_cdr(distro):
    store = Store(distro)
    rng = random.Random(0)
    seen = 0
    for name in store.names():
        whole = store.get(name)
        for cls in [getattr(whole, part) for part in getattr(whole, "_parts", ())] or [whole]:
            message = random_message(rng, cls, store)
            values = to_dict(message)
            assert from_dict(cls, json.loads(json.dumps(values, allow_nan=False))) == message, name
            wire = type_name(cls)
            raw = store.typestore.serialize_cdr(to_rosbags(message), wire)
            assert cls.__from_bag__(store.typestore.deserialize_cdr(raw, wire)) == message, name
            assert eval_slots(message) == set(cls.get_fields_and_field_types())
            seen += 1
    assert seen > 200


def eval_slots(message) -> set[str]:
    return {slot[1:] for slot in message.__slots__ if hasattr(message, slot)}


# Where definitions come from ------------------------------------------------------------------------------------------


def test_own_definitions(tmp_path: Path):
    (tmp_path / "my_msgs" / "msg").mkdir(parents=True)
    (tmp_path / "my_msgs" / "srv").mkdir()
    (tmp_path / "my_msgs" / "msg" / "Grip.msg").write_text(
        "# comment\nuint8 OPEN=0\nuint8 CLOSED = 1\nfloat64 force 2.5  # newton\nstring<=4 unit N\n"
        "int8[3] code [1, 2, 3]\nbool[] flags [true, false]\ngeometry_msgs/Point at\n"
    )
    (tmp_path / "my_msgs" / "srv" / "Set.srv").write_text("Grip grip\n---\nbool success\n")
    store = Store("humble")
    store.add_folder(tmp_path)
    grip = store.get("my_msgs/msg/Grip")()
    assert (grip.force, grip.unit, grip.code.tolist(), grip.flags) == (2.5, "N", [1, 2, 3], [True, False])
    assert grip.CLOSED == 1
    assert grip.at == store.get("geometry_msgs/msg/Point")()
    grip.flags.append(True)
    assert type(grip)().flags == [True, False]
    with pytest.raises(FieldError, match="unit: 6 characters, at most 4 allowed"):
        grip.unit = "newton"
    assert store.get("my_msgs/srv/Set").Request().grip == type(grip)()
    store.add_folder(tmp_path)  # once more: the same definitions
    (tmp_path / "other" / "my_msgs" / "srv").mkdir(parents=True)
    (tmp_path / "other" / "my_msgs" / "srv" / "Set.srv").write_text("Grip grip\nbool fast\n---\nbool success\n")
    with pytest.raises(UserError, match="my_msgs/srv/Set is in use with another definition"):
        store.add_folder(tmp_path / "other")
    with pytest.raises(UserError, match="no interface definitions in"):
        store.add_folder(tmp_path / "nowhere")
    (tmp_path / "bad" / "bad_msgs" / "msg").mkdir(parents=True)
    (tmp_path / "bad" / "bad_msgs" / "msg" / "Bad.msg").write_text("float64 x y z !\n")
    (tmp_path / "bad" / "bad_msgs" / "msg" / "Worse.msg").write_text("float64[ x\n")
    store.add_folder(tmp_path / "bad")
    with pytest.raises(UserError, match="bad_msgs/msg/Bad: default of x: expected float, got str"):
        store.get("bad_msgs/msg/Bad")
    with pytest.raises(UserError, match="bad_msgs/msg/Worse cannot be parsed") as caught:
        store.get("bad_msgs/msg/Worse")
    assert "\n" not in str(caught.value)


def test_a_share_folder_of_ros_may_repeat_and_replace_what_is_known(tmp_path):
    for name, text in {
        "std_msgs/msg/String": "string data # the same\n",
        "std_srvs/srv/Trigger": "---\nbool   success # whether\n\nstring message\n",
        "controller_manager_msgs/srv/LoadController": "string name\nstring[] options\n---\nbool ok\n",
    }.items():
        file = tmp_path / f"{name}.{name.split('/')[1]}"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    store = Store("humble")
    trigger = store.get("std_srvs/srv/Trigger")
    store.add_folder(tmp_path)
    assert store.get("std_srvs/srv/Trigger") is trigger
    assert store.get("controller_manager_msgs/srv/LoadController").Request().options == []  # the robot's own


def test_what_tutorials_and_real_cells_need_is_there():
    for name, part, fields in (
        ("example_interfaces/srv/AddTwoInts", "Request", "a b"),
        ("example_interfaces/action/Fibonacci", "Goal", "order"),
        ("sensor_msgs/srv/SetCameraInfo", "Response", "success status_message"),
        ("nav_msgs/srv/GetPlan", "Request", "start goal tolerance"),
        ("diagnostic_msgs/srv/SelfTest", "Response", "id passed status"),
        ("tf2_msgs/action/LookupTransform", "Result", "transform error"),
        ("controller_manager_msgs/srv/ListControllers", "Response", "controller"),
        ("franka_msgs/action/Grasp", "Goal", "width epsilon speed force"),
        ("ur_dashboard_msgs/msg/SafetyMode", "", "mode"),
    ):
        for distro in ("humble", "jazzy"):
            found = Store(distro).get(name)
            message = getattr(found, part) if part else found
            assert " ".join(message.get_fields_and_field_types()) == fields
    state = Store("jazzy").get("franka_msgs/msg/FrankaRobotState")
    assert (state.ROBOT_MODE_MOVE, state.ROBOT_MODE_REFLEX, state().robot_mode) == (2, 4, 0)


def test_unknown_names():
    with pytest.raises(UserError, match="unknown interface 'sensor_msgs/msg/JointStat': did you mean 'sensor_m"):
        interfaces.get_interface("sensor_msgs/msg/JointStat")
    with pytest.raises(ImportError):
        from robot_bridge.interfaces.sensor_msgs.msg import JointStat  # noqa: F401
    with pytest.raises(ImportError):
        import robot_bridge.interfaces.no_such_msgs.msg  # noqa: F401
    with pytest.raises(UserError, match="humble already: choose jazzy before"):
        interfaces.use_distro("jazzy")
    with pytest.raises(UserError, match="is noetic: expected humble or jazzy"):
        Store("noetic")
    import robot_bridge.interfaces.sensor_msgs.msg as module

    assert "JointState" in dir(module)


def test_the_distribution_comes_from_the_environment():
    """And importing loads neither TensorFlow nor lapo_tf."""
    code = (
        "import sys; from robot_bridge.interfaces.control_msgs.msg import JointTrajectoryControllerState as S; "
        "assert 'speed_scaling_factor' in S.get_fields_and_field_types(); "
        "assert not {'tensorflow', 'keras', 'lapo_tf'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"ROS_DISTRO": "jazzy"}, cwd=ROOT)


def test_camera_info_has_fixed_arrays():
    info = CameraInfo(k=[1.0] * 9)
    assert to_dict(info)["k"] == [1.0] * 9
    assert from_dict(CameraInfo, to_dict(info)) == info
    assert MultiArrayLayout().dim == []


@pytest.mark.parametrize(("value", "used"), [("", "humble"), ("humble", "humble"), ("lyrical", "jazzy")])
def test_a_distribution_that_is_unset_or_not_known(value, used):
    code = "from robot_bridge.interfaces.store import store; print(store().distro)"
    environment = {"ROS_DISTRO": value}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split() == [used]
    assert ("ROS_DISTRO is lyrical, whose messages are not known: jazzy's are used" in done.stderr) == (
        value == "lyrical"
    )
