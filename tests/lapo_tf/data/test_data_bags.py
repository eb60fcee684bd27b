"""Robot bags: bags of known content, written by `rosbags`, come back exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from test_data import fails

from lapo_tf.data import load_dataset, open_recording

pytest.importorskip("rosbags", reason="needs lapo-tf[bags]")
from bag_scribe import (
    FORMATS,
    JOINTS,
    LAYOUT,
    START,
    Scribe,
    command,
    episodes,
    own_minari_folder,  # noqa: F401 (a fixture)
    position,
    robot,
    run,
)

from lapo_tf.data.bags.importer import import_bags

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


def test_what_the_layout_says_of_a_channel_is_kept(tmp_path: Path) -> None:
    layout = yaml.safe_load(yaml.safe_dump(LAYOUT))
    layout["observation"]["arm"] |= {"unit": ["rad", "rad", "m"]}
    layout["action"]["command"] |= {"unit": "rad/s"}
    run(tmp_path, [robot(Scribe()).write(tmp_path / "bag")], layout)
    with open_recording("own/robot-v0") as recording:
        channels = recording.metadata["lapo"]["channels"]
    names = [channel["name"] for channel in channels["observation"]]
    assert names == ["arm.shoulder", "arm.elbow", "arm.wrist", "speed"]
    assert channels["observation"][2] == {
        "name": "arm.wrist",
        "field": "arm",
        "joint": "wrist",
        "unit": "m",
        "topic": "/joint_states",
        "type": "sensor_msgs/msg/JointState",
        "frame": "base",
        "path": "position",
        "resample": "linear",
        "max_age": 0.3,
        "time": "header",
        "scale": 1.0,
        "shift": 0.0,
    }
    last = channels["observation"][3]
    assert (last["joint"], last["topic"], last["resample"], last["time"], last["unit"]) == (
        None,
        "/speed",
        "hold",
        "receive",
        "",
    )
    assert [(c["name"], c["unit"], c["topic"]) for c in channels["action"]] == [
        ("command.0", "rad/s", "/command"),
        ("command.1", "rad/s", "/command"),
    ]
    assert [(c["path"], c["frame"]) for c in channels["action"]] == [("data.0", ""), ("data.1", "")]
    layout["observation"]["arm"]["unit"] = ["rad", "m"]
    fails(lambda: run(tmp_path, [tmp_path / "bag"], layout), "observation.arm.unit has 2 entries: expected 1 or 3")
