"""Writes robot bags of known content with `rosbags`, and imports them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lapo_tf.data import open_recording

pytest.importorskip("rosbags", reason="needs lapo-tf[bags]")
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from lapo_tf.data.bags.importer import Imported, import_bags

START = 1_700_000_000 * 10**9  # ns


FORMATS = ("sqlite3", "mcap", "ros1")


JOINTS = ("shoulder", "elbow", "wrist")


@pytest.fixture(autouse=True, name="minari_folder")
def own_minari_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


class Scribe:
    """Collects messages and writes them as a bag. Times are seconds from the start."""

    def __init__(self, kind: str = "mcap", custom: str | None = None) -> None:
        self.kind = kind
        self.store = get_typestore(Stores.ROS1_NOETIC if kind == "ros1" else Stores.ROS2_HUMBLE)
        if custom:
            self.store.register(get_types_from_msg(custom, "my_msgs/msg/Grip"))
        self.messages: list[tuple[int, str, str, Any]] = []

    def add(self, topic: str, kind: str, received: float, stamp: float | None = None, **fields: Any) -> None:
        if stamp is not None:
            fields["header"] = self.header(stamp)
        message = self.store.types[kind](**fields)
        self.messages.append((START + round(received * 1e9), topic, kind, message))

    def header(self, stamp: float) -> Any:
        nanoseconds = START + round(stamp * 1e9)
        time = self.store.types["builtin_interfaces/msg/Time"](nanoseconds // 10**9, nanoseconds % 10**9)
        fields = {"seq": 0} if self.kind == "ros1" else {}
        return self.store.types["std_msgs/msg/Header"](**fields, stamp=time, frame_id="base")

    def joints(self, t: float, values: dict[str, float], *, topic: str = "/joint_states", late: float = 0.002) -> None:
        position = np.array(list(values.values()), float)
        empty = np.zeros(0)
        self.add(
            topic,
            "sensor_msgs/msg/JointState",
            t + late,
            t,
            name=list(values),
            position=position,
            velocity=empty,
            effort=empty,
        )

    def array(self, topic: str, t: float, values: Any) -> None:
        layout = self.store.types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
        self.add(topic, "std_msgs/msg/Float64MultiArray", t, layout=layout, data=np.array(values, float))

    def flag(self, topic: str, t: float, on: bool) -> None:
        self.add(topic, "std_msgs/msg/Bool", t, data=on)

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        ros1 = self.kind == "ros1"
        path = path.with_suffix(".bag") if ros1 else path
        storage = StoragePlugin.SQLITE3 if self.kind == "sqlite3" else StoragePlugin.MCAP
        with Writer1(path) if ros1 else Writer(path, version=9, storage_plugin=storage) as writer:
            connections: dict[str, Any] = {}
            for time, topic, kind, message in sorted(self.messages, key=lambda m: m[0]):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=self.store)
                serialize = self.store.serialize_ros1 if ros1 else self.store.serialize_cdr
                writer.write(connections[topic], time, serialize(message, kind))
        return path


def position(t: float) -> dict[str, float]:
    """Straight lines, so that interpolation is exact."""
    return {"shoulder": 0.5 * t - 1, "elbow": 2 - 0.25 * t, "wrist": 0.1 * t}


def command(k: int) -> list[float]:
    return [np.sin(0.3 * k), np.cos(0.7 * k)]


LAYOUT: dict[str, Any] = {
    "rate": 10,
    "max_age": 0.3,
    "observation": {
        "arm": {"topic": "/joint_states", "field": "position", "joints": list(JOINTS)},
        "speed": {"topic": "/speed", "resample": "hold", "time": "receive"},
    },
    "action": {"command": {"topic": "/command", "time": "receive", "low": -1, "high": 1}},
}


def robot(scribe: Scribe, seconds: float = 2.0, begin: float = 0.0, *, shuffle: bool = True) -> Scribe:
    """Joint states at 25 Hz (joints in changing order), speed at 5 Hz, commands 20 ms after every control step."""
    rng = np.random.default_rng(0)
    for i in range(round(seconds * 25) + 1):
        t = begin + i / 25
        names = rng.permutation(JOINTS) if shuffle else JOINTS
        scribe.joints(t, {str(name): position(t)[str(name)] for name in names})
    for i in range(round(seconds * 5) + 1):
        scribe.array("/speed", begin + i / 5, [10 + i])
    for k in range(round(seconds * 10)):
        scribe.array("/command", begin + k / 10 + 0.02, command(k))
    return scribe


def run(tmp_path: Path, bags: list[Path], layout: dict[str, Any] = LAYOUT, **changes: Any) -> Imported:
    path = tmp_path / "layout.yaml"
    path.write_text(yaml.safe_dump(layout | changes, sort_keys=False))
    return import_bags(bags, path, "own/robot-v0", force=True, progress=False)


def episodes() -> list[Any]:
    with open_recording("own/robot-v0", infos=True) as recording:
        return list(recording.episodes)
