"""Clocks and every error that robot bags and their layouts can cause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from test_data import fails

pytest.importorskip("rosbags", reason="needs lapo-tf[bags]")
from bag_scribe import (
    JOINTS,
    LAYOUT,
    START,
    Scribe,
    episodes,
    own_minari_folder,  # noqa: F401 (a fixture)
    position,
    robot,
    run,
)

from lapo_tf.data.bags.importer import import_bags

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
        ("observation.arm.colour", "red", ["layout.yaml: observation.arm", "colour", "known", "joints"]),
        ("observation.arm.resample", "cubic", ["observation.arm.resample", "'cubic'", "'linear', 'hold' or 'slerp'"]),
        ("observation.arm.resample", "mean", ["observation.arm.resample is 'mean'", "'linear', 'hold' or 'slerp'"]),
        ("observation.arm.default", 0, ["observation.arm.default", "resample is hold"]),
        ("observation.arm.max_age", -3, ["observation.arm.max_age", "above 0"]),
        ("observation.arm.low", 0, ["unknown entry in layout.yaml: observation.arm: 'low'"]),
        ("observation.arm.topic", None, ["layout.yaml: observation.arm.topic is missing"]),
        ("observation", {}, ["observation is {}", "at least 1 entry"]),
        ("rate", None, ["layout.yaml: rate is missing", "a number"]),
        ("rate", 0, ["rate is 0", "above 0"]),
        ("rate", "fast", ["layout.yaml: rate is 'fast'", "a number"]),
        ("rat", 3, ["unknown entry in layout.yaml: 'rat'", "did you mean 'rate'"]),
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


def test_all_mistakes_of_a_layout_are_told_at_once(plain: Path, tmp_path: Path) -> None:
    layout = changed("rate", "fast") | {"backwards": "ignore", "episodes": {"gap": 0, "min_steps": 0}}
    fails(
        lambda: run(tmp_path, [plain], layout),
        "layout.yaml: rate is 'fast': expected a number; also ",
        "layout.yaml: backwards is 'ignore': expected 'error' or 'cut'",
        "layout.yaml: episodes.gap is 0: expected a number above 0",
        "layout.yaml: episodes.min_steps is 0: expected at least 1",
    )


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
    monkeypatch.delitem(sys.modules, "lapo_tf.data.bags.reader")
    again: Callable[[], Any] = lambda: importlib.import_module("lapo_tf.data.bags.reader")  # noqa: E731
    fails(again, "rosbags", "pip install 'lapo-tf[bags]'")
