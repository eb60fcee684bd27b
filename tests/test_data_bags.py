"""Robot bags: bags of known content, written by `rosbags`, come back exactly; and every error they can cause.

What is expected is worked out from the functions of time that the bags were written from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from test_data import fails

from lapo_tf.data import load_dataset, open_recording

pytest.importorskip("rosbags", reason="needs lapo-tf[bags]")
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from lapo_tf.data.bag_import import Imported, import_bags

START = 1_700_000_000 * 10**9  # ns
FORMATS = ("sqlite3", "mcap", "ros1")
JOINTS = ("shoulder", "elbow", "wrist")


@pytest.fixture(autouse=True)
def minari_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


# Writing bags ---------------------------------------------------------------------------------------------------------


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


# What comes back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_known_content_comes_back_exactly(kind: str, tmp_path: Path) -> None:
    done = run(tmp_path, [robot(Scribe(kind)).write(tmp_path / "bag")])
    (episode,) = episodes()
    t = np.arange(21) / 10
    lines = np.stack([[position(x)[joint] for joint in JOINTS] for x in t])
    np.testing.assert_allclose(episode.observations[:, :3], lines, atol=1e-6)
    np.testing.assert_allclose(episode.observations[:, 3], 10 + np.arange(21) // 2, atol=1e-6)
    np.testing.assert_allclose(episode.actions, [command(k) for k in range(20)], atol=1e-6)
    np.testing.assert_allclose(episode.infos["time"], START / 1e9 + t, atol=1e-6)
    assert (done.written.steps, done.written.episodes) == (20, 1)
    dataset = load_dataset("own/robot-v0")
    assert (len(dataset), dataset.summary.provenance) == (20, "own")
    with open_recording("own/robot-v0") as recording:
        known = recording.metadata["lapo"]
    assert known["observation"] == ["arm.shoulder", "arm.elbow", "arm.wrist", "speed"]
    assert known["action"] == ["command.0", "command.1"]
    assert known["fields"] == {"arm": [0, 3], "speed": [3, 4]}
    assert known["report"]["bags"][0]["topics"]["/joint_states"]["hz"] == pytest.approx(25, rel=0.01)
    assert known["report"]["bags"][0]["topics"]["/joint_states"]["delay_s"] == pytest.approx(0.002)


def test_joints_come_partially_and_over_several_topics(tmp_path: Path) -> None:
    scribe = Scribe()
    for i in range(101):
        t = i / 50
        here = position(t)
        if i % 2:  # the arm's driver reports its joints one after the other, among others that nobody asked for
            scribe.joints(t, {"elbow": here["elbow"], "finger": 9.0})
        else:
            scribe.joints(t, {"shoulder": here["shoulder"], "elbow": here["elbow"]})
        scribe.joints(t, {"wrist": here["wrist"]}, topic="/wrist/joint_states")
        scribe.array("/command", t + 0.01, [0, 0])
        scribe.array("/speed", t, [1])
    arm = {"topic": ["/joint_states", "/wrist/joint_states"], "field": "position", "joints": list(JOINTS)}
    run(tmp_path, [scribe.write(tmp_path / "bag")], observation={"arm": arm})
    (episode,) = episodes()
    lines = [[position(k / 10)[joint] for joint in JOINTS] for k in range(21)]
    np.testing.assert_allclose(episode.observations, lines, atol=1e-6)

    for t in (0.5, 0.6):
        scribe.joints(t, {"wrist": 0.0})
    fails(
        lambda: run(tmp_path, [scribe.write(tmp_path / "twice")], observation={"arm": arm}),
        "joint 'wrist' comes over",
        "expected one topic for a joint",
    )


def test_how_actions_are_taken_from_their_interval(tmp_path: Path) -> None:
    """Commands at 40 Hz: of (t, t + 0.1] hold takes the last, mean the mean; one stamped t is the step before's."""
    scribe = robot(Scribe())
    for i in range(81):
        scribe.array("/fast", i / 40, [i])
    actions = {
        "last": {"topic": "/fast", "time": "receive"},
        "mean": {"topic": "/fast", "time": "receive", "resample": "mean"},
        "line": {"topic": "/fast", "time": "receive", "resample": "linear", "scale": 0.5},
        "later": {"topic": "/fast", "time": "receive", "shift": 0.001},
    }
    run(tmp_path, [scribe.write(tmp_path / "bag")], action=actions)
    (episode,) = episodes()
    k = np.arange(len(episode.actions))
    np.testing.assert_allclose(episode.actions[:, 0], 4 * k + 4)
    np.testing.assert_allclose(episode.actions[:, 1], 4 * k + 2.5)
    np.testing.assert_allclose(episode.actions[:, 2], 2 * k + 2)
    np.testing.assert_allclose(episode.actions[:, 3], 4 * k + 3)


def test_messages_of_own_types_and_poses(tmp_path: Path) -> None:
    """Definitions embedded in the bag are used; a message stands for its numbers; quaternions go along the arc."""
    scribe = robot(Scribe("sqlite3", custom="float32[2] finger\nfloat64 force\nstring note"))
    types = scribe.store.types
    for i in range(11):
        t = i / 5
        angle = 0.4 * t
        scribe.add("/grip", "my_msgs/msg/Grip", t, finger=np.array([t, -t], np.float32), force=7.0, note="-")
        pose = types["geometry_msgs/msg/Pose"](
            types["geometry_msgs/msg/Point"](x=t, y=2 * t, z=0.0),
            types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=np.sin(angle / 2), w=np.cos(angle / 2)),
        )
        scribe.add("/pose", "geometry_msgs/msg/PoseStamped", t, t, pose=pose)
    observation = {
        "grip": {"topic": "/grip", "time": "receive", "field": ["finger[1:2]", "force"]},
        "place": {"topic": "/pose", "field": "pose.position"},
        "turn": {"topic": "/pose", "field": "pose.orientation", "resample": "slerp"},
    }
    bag = scribe.write(tmp_path / "bag")
    run(tmp_path, [bag], observation=observation)
    (episode,) = episodes()
    t = np.arange(21) / 10
    zero, half = np.zeros(21), 0.2 * t
    expected = np.stack([-t, zero + 7, t, 2 * t, zero, zero, zero, np.sin(half), np.cos(half)], axis=1)
    np.testing.assert_allclose(episode.observations, expected, atol=1e-6)

    import sqlite3

    with sqlite3.connect(next(bag.glob("*.db3"))) as database:  # as ROS 2 Humble writes it
        database.execute("DELETE FROM message_definitions")
    fails(lambda: run(tmp_path, [bag], observation=observation), "no definition of my_msgs/msg/Grip", "definitions")
    messages = tmp_path / "my_msgs" / "msg"
    messages.mkdir(parents=True)
    (messages / "Grip.msg").write_text("float32[2] finger\nfloat64 force\nstring note")
    run(tmp_path, [bag], observation=observation, definitions=["my_msgs"])
    np.testing.assert_allclose(episodes()[0].observations, expected, atol=1e-6)
    fails(lambda: run(tmp_path, [bag], observation=observation, definitions=[str(tmp_path / "other")]), "no .msg files")


def flagged(path: Path, topic: str, times: list[tuple[float, bool]]) -> Path:
    scribe = robot(Scribe(), 4.0)
    for t, on in times:
        scribe.flag(topic, t, on)
    return scribe.write(path)


@pytest.mark.parametrize(
    ("cuts", "times", "spans"),
    [
        (
            {"while": {"topic": "/flag", "equals": True}},
            [(0.99, True), (1.99, False), (3.0, True)],
            [(1.0, 9), (3.0, 9)],
        ),
        ({"change": {"topic": "/flag"}}, [(0.0, True), (1.0, True), (2.0, False)], [(0.0, 19), (2.0, 20)]),
        ({"start": {"topic": "/flag"}}, [(1.0, True), (3.0, False)], [(1.0, 19), (3.0, 9)]),
        (
            {"start": {"topic": "/flag", "equals": True}, "stop": {"topic": "/flag", "equals": False}},
            [(0.0, True), (1.5, False), (2.0, True)],
            [(0.0, 14), (2.0, 20)],
        ),
    ],
)
def test_episode_cuts(
    cuts: dict, times: list[tuple[float, bool]], spans: list[tuple[float, int]], tmp_path: Path
) -> None:
    run(tmp_path, [flagged(tmp_path / "bag", "/flag", times)], episodes=cuts)
    got = [(e.infos["time"][0] - START / 1e9, len(e.actions)) for e in episodes()]
    assert len(got) == len(spans)
    for (begin, steps), (wanted, least) in zip(got, spans, strict=True):
        assert begin == pytest.approx(wanted, abs=0.041)
        assert least <= steps <= least + 1


def test_service_calls_cut_once_each(tmp_path: Path) -> None:
    divider = "=" * 80
    scribe = robot(Scribe(custom=f"my_msgs/EventInfo info\n{divider}\nMSG: my_msgs/EventInfo\nuint8 event_type"), 4.0)
    info = scribe.store.types["my_msgs/msg/EventInfo"]
    for call in (1.0, 2.5):
        for kind in range(4):  # sent, received, answered, answer received
            scribe.add("/save/_service_event", "my_msgs/msg/Grip", call + kind / 50, info=info(event_type=kind))
    run(tmp_path, [scribe.write(tmp_path / "bag")], episodes={"stop": {"service": "/save"}})
    assert [len(e.actions) for e in episodes()] == [10, 14, 14]
    fails(
        lambda: run(tmp_path, [tmp_path / "bag"], episodes={"stop": {"service": "/reset"}}),
        "no calls of /reset",
        "service introspection",
    )


def test_stale_values_and_silence_cut_and_are_reported(tmp_path: Path) -> None:
    scribe = robot(Scribe(), 1.0)
    robot(scribe, 1.0, begin=1.4)
    scribe.joints(1.2, {**position(1.2), "wrist": np.nan})
    arm = {"arm": LAYOUT["observation"]["arm"]}
    done = run(tmp_path, [scribe.write(tmp_path / "bag")], observation=arm, max_age=0.12)
    first, second = episodes()
    assert (len(first.actions), second.infos["time"][0] - START / 1e9) == (10, pytest.approx(1.4))
    found = done.report["bags"][0]
    assert found["not_finite"] == {"observation.arm": 1}
    assert found["topics"]["/joint_states"]["largest_gap_s"] == pytest.approx(0.2)
    assert found["stale"]["observation.arm"] == 4  # those that begin or end at 1.1, 1.2 or 1.3
    run(tmp_path, [tmp_path / "bag"], max_age=9.0)  # bridged, as asked
    assert [len(e.actions) for e in episodes()] == [24]
    run(tmp_path, [tmp_path / "bag"], max_age=9.0, episodes={"gap": 0.15})
    assert [len(e.actions) for e in episodes()] == [10, 10]


def test_rewards_by_rule_and_signals(tmp_path: Path) -> None:
    bag = flagged(tmp_path / "bag", "/success", [(2.05, True)])
    signals = {"success": {"topic": "/success", "time": "receive", "max_age": None, "default": 0}}
    run(tmp_path, [bag], signals=signals, reward={"rule": "success", "field": "success", "ends": True})
    (episode,) = episodes()
    assert np.flatnonzero(episode.rewards).tolist() == [20]
    assert np.flatnonzero(episode.terminated).tolist() == list(range(20, 40))
    run(tmp_path, [bag], signals=signals, reward={"rule": "success", "field": "success", "when": "end"})
    assert np.flatnonzero(episodes()[0].rewards).tolist() == [39]
    rule = {"rule": "distance", "field": "arm", "goal": [0.0, 1.5, 0.2], "threshold": 0.03}
    run(tmp_path, [bag], reward=rule)
    assert np.flatnonzero(episodes()[0].rewards).tolist() == [19]  # the state after it is at the goal
    run(tmp_path, [bag], reward=rule | {"reward": "dense"})
    goal = np.array([0.0, 1.5, 0.2])
    after = np.array([[position(k / 10)[j] for j in JOINTS] for k in range(1, 41)])
    np.testing.assert_allclose(episodes()[0].rewards, -np.linalg.norm(after - goal, axis=1), atol=1e-6)


# Clocks ---------------------------------------------------------------------------------------------------------------


def test_time_running_backwards(tmp_path: Path) -> None:
    scribe = robot(Scribe(), 2.0)
    for i in range(51):  # after 2 s the clock is set back by 1 s
        t = 2.04 + i / 25
        scribe.array("/command", t + 0.01, [0, 0])
        position_then = np.array(list(position(t).values()))
        scribe.add(
            "/joint_states",
            "sensor_msgs/msg/JointState",
            t,
            t - 1.0,
            name=list(JOINTS),
            position=position_then,
            velocity=np.zeros(0),
            effort=np.zeros(0),
        )
    bag = scribe.write(tmp_path / "bag")
    layout = {"observation": {"arm": LAYOUT["observation"]["arm"]}, "action": LAYOUT["action"]}
    fails(
        lambda: run(tmp_path, [bag], **layout), "time runs backwards on /joint_states", "message 51", "0.960 s", "cut"
    )
    done = run(tmp_path, [bag], **layout, backwards="cut", max_age=5.0)
    assert len(episodes()) == 2
    jumps = done.report["bags"][0]["topics"]["/joint_states"]["clock_jumps"]
    assert jumps[0]["by_s"] == pytest.approx(-1.0, abs=0.01)
    assert jumps[0]["at_s"] == pytest.approx(2.04, abs=0.01)


def test_slight_disorder_is_put_in_order(tmp_path: Path) -> None:
    scribe = robot(Scribe(), 2.0)
    late = [m for m in scribe.messages if m[1] == "/joint_states"][10]
    scribe.messages.remove(late)
    scribe.messages.append((late[0] + 50_000_000, *late[1:]))
    done = run(tmp_path, [scribe.write(tmp_path / "bag")])
    assert done.report["bags"][0]["topics"]["/joint_states"]["out_of_order"] == 1
    assert len(episodes()[0].actions) == 20


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return robot(Scribe()).write(tmp_path_factory.mktemp("plain") / "bag")


def changed(path: str, value: Any) -> dict[str, Any]:
    layout = yaml.safe_load(yaml.safe_dump(LAYOUT))
    *parents, last = path.split(".")
    place = layout
    for parent in parents:
        place = place.setdefault(parent, {})
    if value is None:
        del place[last]
    else:
        place[last] = value
    return layout


@pytest.mark.parametrize(
    ("path", "value", "parts"),
    [
        (
            "observation.arm.topic",
            "/joint_state",
            ["bag has no topic /joint_state", "observation.arm", "/joint_states"],
        ),
        ("observation.arm.field", "positon", ["observation.arm.field", "did you mean 'position'", "velocity"]),
        ("observation.arm.field", "position.x", ["observation.arm.field", "goes on after a number or list"]),
        ("observation.arm.field", "name", ["observation.arm.field", "holds no numbers"]),
        ("observation.arm.field", "header", ["observation.arm.field", "text or lists", "name the numbers"]),
        ("observation.arm.field", "po si", ["cannot read 'po si'", "pose.position.x"]),
        ("observation.arm.field", "velocity", ["3 names but 0 values"]),
        ("observation.arm.joints", ["shoulder", "ankle"], ["joint ankle", "observation.arm.joints", "only shoulder"]),
        ("observation.arm.joints", ["knee"], ["none of the joints knee", "51 messages of /joint_states"]),
        ("observation.arm.joints", ["wrist", "wrist"], ["observation.arm.joints", "wrist twice"]),
        ("observation.speed.joints", ["a"], ["observation.speed.joints", "has no 'name'", "give `names`"]),
        ("observation.speed.time", "header", ["/speed", "has no header", "time: receive"]),
        ("observation.speed.field", "data[3]", ["message 0 of /speed", "past the end of a list"]),
        ("observation.arm.colour", "red", ["layout.yaml: layout.observation.arm", "colour", "known", "joints"]),
        ("observation.arm.resample", "cubic", ["observation.arm.resample", "'cubic'", "linear, hold, slerp"]),
        ("observation.arm.resample", "mean", ["observation.arm.resample", "mean is for actions"]),
        ("observation.arm.default", 0, ["observation.arm.default", "resample is hold"]),
        ("observation.arm.max_age", -3, ["observation.arm.max_age", "above 0"]),
        ("observation.arm.low", 0, ["observation.arm.low", "bounds are for actions"]),
        ("observation.arm.topic", None, ["layout.observation.arm.topic is missing"]),
        ("observation", {}, ["observation is empty"]),
        ("rate", None, ["layout.rate is missing", "a number"]),
        ("rate", 0, ["rate is 0", "above 0"]),
        ("rate", "fast", ["layout.rate is 'fast'", "a number"]),
        ("rat", 3, ["unknown entry in layout.yaml: layout: 'rat'", "did you mean 'rate'"]),
        ("action.command.low", [-1, -1, -1], ["action.command.low has 3 values", "1 or 2"]),
        ("action.command.low", 4, ["not below its `high`"]),
        ("distro", "rumble", ["rumble", "did you mean 'humble'"]),
        ("episodes", {"while": {"topic": "/a"}}, ["episodes.while.equals is missing"]),
        ("episodes", {"while": {"topic": "/a", "equals": 1}, "gap": 1}, ["no topic /a", "episodes.while"]),
        ("episodes", {"start": {"topic": "/a", "service": "/b"}}, ["episodes.start", "either a topic or a service"]),
        ("episodes", {"change": {"topic": "/a"}, "stop": {"topic": "/b"}}, ["change and stop", "one of them"]),
        ("episodes", {"min_steps": 500}, ["no episode of 500 steps", "too short"]),
        ("reward", {"rule": "distanc"}, ["layout.yaml: reward.rule", "did you mean 'distance'"]),
        ("reward", {"rule": "distance", "field": "arm"}, ["reward.goal is missing"]),
        ("reward", {"rule": "recorded", "field": "arms"}, ["reward.field", "did you mean 'arm'"]),
        ("reward", {"rule": "recorded", "field": "arm"}, ["'arm' has 3 values"]),
        ("reward", {"rule": "success", "field": "speed"}, ["other values than 0 and 1"]),
        ("reward", {"rule": "distance", "field": "arm", "goal": [1], "threshold": 1}, ["1 values: expected 3"]),
        ("reward", {"function": "nowhere:f"}, ["'nowhere' cannot be imported"]),
        ("reward", 3, ["reward is 3", "rule: NAME"]),
    ],
)
def test_layout_errors(
    path: str, value: Any, parts: list[str], plain: Path, tmp_path: Path, minari_folder: Path
) -> None:
    fails(lambda: run(tmp_path, [plain], changed(path, value)), *parts)
    assert not (minari_folder / "own" / "robot-v0").exists()


def test_unusable_bags_and_files(plain: Path, tmp_path: Path) -> None:
    fails(lambda: run(tmp_path, [tmp_path / "nowhere"]), "no such bag")
    fails(lambda: run(tmp_path, [tmp_path]), "no bag", "metadata.yaml")
    fails(lambda: run(tmp_path, [plain, plain]), "given twice")
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(next(plain.glob("*.mcap")).read_bytes()[:600])
    fails(lambda: run(tmp_path, [cut]), "cannot be read as a bag", "reindex")
    (tmp_path / "layout.yaml").write_text("rate: [1")
    fails(
        lambda: import_bags([plain], tmp_path / "layout.yaml", "own/robot-v0", progress=False),
        "layout.yaml, line 1",
        "not valid YAML",
    )
    fails(lambda: import_bags([plain], tmp_path / "lay.yaml", "own/robot-v0", progress=False), "no such file")


def test_bags_of_different_robots_do_not_mix(plain: Path, tmp_path: Path) -> None:
    other = Scribe()
    for i in range(21):
        other.joints(i / 10, {"shoulder": 0.0, "elbow": 0.0})
        other.array("/speed", i / 10, [1, 2])
        other.array("/command", i / 10, [0, 0])
    bag = other.write(tmp_path / "other")
    fails(lambda: run(tmp_path, [plain, bag]), "other: joint wrist", "never comes", "only shoulder, elbow")
    speed = {"speed": LAYOUT["observation"]["speed"]}
    fails(lambda: run(tmp_path, [plain, bag], observation=speed), "speed has 2 numbers, 1 in bag")
    assert run(tmp_path, [plain], observation=speed).written.episodes == 1


def test_unstamped_messages(tmp_path: Path) -> None:
    scribe = Scribe()
    scribe.joints(-START / 1e9, {"shoulder": 0.0}, late=START / 1e9)
    bag = scribe.write(tmp_path / "bag")
    arm = {"arm": LAYOUT["observation"]["arm"] | {"joints": ["shoulder"]}}
    act = {"go": {"topic": "/joint_states", "field": "position", "joints": ["shoulder"]}}
    fails(lambda: run(tmp_path, [bag], observation=arm, action=act), "has no stamp (0)", "time: receive")


def test_without_rosbags(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    monkeypatch.setitem(sys.modules, "rosbags.highlevel", None)
    monkeypatch.delitem(sys.modules, "lapo_tf.data.bags")
    again: Callable[[], Any] = lambda: importlib.import_module("lapo_tf.data.bags")  # noqa: E731
    fails(again, "rosbags", "pip install 'lapo-tf[bags]'")


# Logs to try it with --------------------------------------------------------------------------------------------------


def test_the_maze_logs_come_back_as_they_were_driven(tmp_path: Path) -> None:
    from lapo_tf.data import bag_topics, plot_bag, record_maze_logs
    from lapo_tf.data.collectors.maze2d_logs import JOINT_STATES, OPERATORS, drive

    bags = record_maze_logs(tmp_path / "logs", minutes=0.5, seed=3)
    fails(lambda: record_maze_logs(tmp_path / "logs", minutes=0.5), "exists already")
    assert [bag.name for bag in bags] == ["ann", "ben"]
    topics = {topic.name: topic for topic in bag_topics(bags[1])}
    assert topics[JOINT_STATES].hz == pytest.approx(100, rel=0.02)
    assert np.diff(topics[JOINT_STATES].gaps()).item() == pytest.approx(0.31, abs=0.01)
    assert topics["/job"].hz is None
    assert len(plot_bag(bags[1]).get_yticks()) == 4
    layout = {
        "rate": 100,
        "max_age": 0.05,
        "observation": {
            "position": {"topic": "/joint_states", "field": "position", "joints": ["x", "y"]},
            "velocity": {"topic": "/joint_states", "field": "velocity", "joints": ["x", "y"]},
        },
        "action": {"force": {"topic": "/effort_controller/commands", "time": "receive"}},
        "episodes": {"change": {"topic": "/job"}},
    }
    (tmp_path / "layout.yaml").write_text(yaml.safe_dump(layout))
    done = import_bags(bags, tmp_path / "layout.yaml", "own/robot-v0", progress=False)
    assert "/joint_states: 2,970 messages at 100 Hz; 1 gaps beyond max_age, the largest 0.31 s" in str(done)
    firsts = (0, done.report["bags"][0]["episodes"])
    for number, (operator, first) in enumerate(zip(OPERATORS.values(), firsts, strict=True)):
        seen, forces, jobs = drive(operator, 3000, np.random.default_rng([3, number]))
        episode, length = episodes()[first], int((jobs == 0).sum())
        np.testing.assert_allclose(episode.observations[: length - 1], seen[: length - 1], atol=1e-6)
        np.testing.assert_allclose(episode.actions[: length - 1], forces[: length - 1], atol=1e-6)
