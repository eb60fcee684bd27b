"""Bundles of one's own ONNX models: what they say is what the model says, and what does not fit is told in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_bundle import bundled

pytest.importorskip("onnx", reason="the onnx extra is not installed")
pytest.importorskip("onnxruntime", reason="the onnx extra is not installed")
import onnx
from onnx_models import answer, write

from robot_bridge.draft.document import draft
from robot_bridge.errors import UserError
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.config import load_robot

NUMBERS = """
rate: 20
observations:
  - {joints: [a, b], quantity: position, unit: rad, low: -2, high: [2, 3]}
  - {name: cube_x/position, unit: m, low: 0, high: 1}
actions:
  - {joints: [a, b], quantity: velocity, unit: rad/s, low: -1, high: 1}
"""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the file of numbers."""
    monkeypatch.chdir(tmp_path)
    Path("arm.yaml").write_text(NUMBERS)
    return tmp_path


def run(*options: str) -> Policy:
    return bundled("my.onnx", *options)


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line with which the command ends."""
    with pytest.raises(SystemExit) as end:
        run(*options)
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not Path("policy").exists()
    return error


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(("history", "chunk"), [(1, 1), (3, 1), (1, 4), (3, 4)])
def test_a_bundle_says_what_its_model_says(
    there: Path, history: int, chunk: int, flat: bool, dynamic: bool, double: bool
) -> None:
    write(Path("my.onnx"), history=history, chunk=chunk, flat=flat, dynamic=dynamic, double=double)
    options = ["--horizon", "2"] if chunk > 1 else []
    policy = run(*options, *(["--history", str(history)] if dynamic and not flat and history > 1 else []))
    model = policy.description.model
    assert (model.history, model.chunk, model.horizon) == (history, chunk, 2 if chunk > 1 else 1)
    seen = np.random.default_rng(0).uniform(-1, 1, (history, 3))
    expected = np.clip(answer(seen, chunk), -1, 1)
    found = policy.infer(seen if history > 1 else seen[0])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected if chunk > 1 else expected[0], atol=1e-6)


def test_the_oldest_observation_comes_first(there: Path) -> None:
    write(Path("my.onnx"), history=3)
    policy, seen = run(), np.zeros((3, 3))
    seen[0, 0] = 1.0
    np.testing.assert_allclose(policy.infer(seen), [0.01, 0.01], atol=1e-7)
    np.testing.assert_allclose(policy.infer(seen[::-1]), [0.11 - 0.01, 0.0], atol=1e-7)


def test_normalised_actions_are_spread_over_their_ranges_and_cut_there(there: Path) -> None:
    Path("arm.yaml").write_text(NUMBERS.replace("low: -1, high: 1}", "low: [1, -1], high: [3, 0]}"))
    write(Path("my.onnx"))
    policy = run("--normalised")
    np.testing.assert_allclose(policy.infer(np.zeros(3)), [2.0, -0.5])
    np.testing.assert_allclose(policy.infer(np.float32([2.0, 2.0, 0.0])), [2.0 + 0.22, -0.5 - 0.19], atol=1e-6)
    np.testing.assert_allclose(policy.infer(np.float32([-900.0, 0.0, 0.0])), [1.0, -1.0])


def test_an_action_times_its_scale_is_in_its_unit(there: Path) -> None:
    Path("arm.yaml").write_text(NUMBERS.replace("rad/s,", "rad/s, scale: 50,"))
    write(Path("my.onnx"))
    policy = run()
    np.testing.assert_allclose(policy.infer(np.float32([1.0, 0.0, 0.0])), [0.11, 0.01], atol=1e-6)
    assert policy.description.actions[0].scale == 50.0


def test_what_is_written_is_the_description(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("my.onnx"), chunk=4, extra="output")
    d = run("--output", "actions", "--horizon", "3", "--rate", "25", "--env", "my_package:MyArm-v0").description
    assert [(o.name, o.unit, o.low, o.high) for o in d.observations] == [
        ("a/position", "rad", -2, 2),
        ("b/position", "rad", -2, 3),
        ("cube_x/position", "m", 0, 1),
    ]
    assert [(a.joint, a.quantity, a.unit, a.low, a.high) for a in d.actions] == [
        ("a", "velocity", "rad/s", -1, 1),
        ("b", "velocity", "rad/s", -1, 1),
    ]
    assert (d.task, d.control_rate, d.environment["id"]) == ("arm", 25.0, "my_package:MyArm-v0")
    assert d.novelty == ()
    out = capsys.readouterr().out
    assert "sees 1 x 3 numbers at 25 Hz, plans 4 x 2, of which 3 are executed" in out
    assert "novelty      none, for want of --data" in out


def data(rows: int = 400) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    observations = rng.uniform([-0.5, 0.5, 0.2], [0.5, 1.0, 0.4], (rows, 3))
    actions = np.stack([answer(o[None], 1)[0] for o in observations])
    return {"observations": observations, "actions": actions, "episode": np.repeat(np.arange(4), rows // 4)}


def csv(path: Path, arrays: dict[str, np.ndarray]) -> None:
    table = np.column_stack([arrays["episode"], arrays["actions"], arrays["observations"]])
    header = "episode,action/a,action/b,a/position,b/position,cube_x/position"
    np.savetxt(path, table, delimiter=",", header=header, comments="")


@pytest.mark.parametrize("suffix", ["npz", "csv"])
def test_data_give_ranges_and_the_novelty_s_threshold(
    there: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = NUMBERS.replace(", low: -2, high: [2, 3]", "").replace(", low: -1, high: 1", "")
    Path("arm.yaml").write_text(unknown)
    write(Path("my.onnx"))
    arrays = data()
    if suffix == "npz":
        np.savez("demos.npz", **arrays)
    else:
        csv(Path("demos.csv"), arrays)
    policy = run("--data", f"demos.{suffix}")
    d = policy.description
    assert d.observations[1].low == pytest.approx(arrays["observations"][:, 1].min())
    assert d.actions[0].low < arrays["actions"][:, 0].min() < arrays["actions"][:, 0].max() < d.actions[0].high
    scores = [policy.novelty(row, np.zeros(2))[0] for row in arrays["observations"]]
    assert 0.3 < np.median(scores) < 1.0
    assert np.mean(np.array(scores) > 1.0) < 0.01
    assert policy.novelty(np.array([0.0, 5.0, 0.3]), np.zeros(2))[0] > 5.0
    assert [entry.joint for entry in d.start] == ["a", "b"]
    assert d.start[1].low <= d.start[1].pose <= d.start[1].high
    assert "4 episodes held out in turn" in d.novelty[0].calibration
    assert "its first action differs from the recorded one by 0.0%" in capsys.readouterr().out


def test_a_history_of_the_data_does_not_reach_over_the_beginning_of_an_episode(there: Path) -> None:
    """It would differ from what the recorded policy saw: here from the first number of the oldest observation."""
    write(Path("my.onnx"), history=3)
    arrays = data(40)
    begin = np.repeat([0, 10, 20, 30], 10)
    seen = [arrays["observations"][np.maximum(b, [i - 2, i - 1, i])] for i, b in enumerate(begin)]
    arrays["actions"] = np.stack([answer(o, 1)[0] for o in seen])
    np.savez("demos.npz", **arrays)
    assert run("--data", "demos.npz").description.check["action_error"] < 1e-6


def test_a_single_episode_is_held_out_in_stretches(there: Path) -> None:
    write(Path("my.onnx"))
    np.savez("demos.npz", observations=data()["observations"])
    assert "5 stretches of the only episode" in run("--data", "demos.npz").description.novelty[0].calibration


def test_a_layout_of_recordings_names_the_numbers_too(there: Path) -> None:
    Path("arm.yaml").write_text("""
rate: 10
observation:
  arm: {topic: /joint_states, field: position, joints: [a, b], unit: rad}
  cube: {topic: /cube, field: [pose.position.x], unit: m}
action:
  command: {topic: /command, field: velocity, joints: [a, b], unit: rad/s, low: -1, high: [1, 2]}
""")
    write(Path("my.onnx"))
    np.savez("demos.npz", observations=data()["observations"])
    d = run("--data", "demos.npz").description
    assert [o.name for o in d.observations] == ["a/position", "b/position", "cube/position"]
    assert [(a.joint, a.quantity, a.high) for a in d.actions] == [("a", "velocity", 1), ("b", "velocity", 2)]
    assert d.control_rate == 10.0


def test_a_config_is_drafted_of_the_topics_in_the_file(there: Path) -> None:
    Path("arm.yaml").write_text("""
rate: 20
observations:
  - {joints: [a, b], quantity: position, unit: rad, low: -2, high: 2, topic: /arm/joint_states}
  - {name: cube_x/position, unit: m, low: 0, high: 1, topic: /cube, type: geometry_msgs/msg/PoseStamped,
     path: pose.position.x}
actions:
  - {joints: [b, a], quantity: velocity, unit: rad/s, low: -1, high: 1, topic: /arm/commands,
     type: std_msgs/msg/Float64MultiArray}
""")
    write(Path("my.onnx"), chunk=4)
    policy = run("--horizon", "2")
    Path("robot.yaml").write_text(draft(policy.description, None, "", None))
    robot = load_robot("robot.yaml")
    assert [(source.topic, source.fields) for source in robot.inputs] == [
        ("/arm/joint_states", {}),
        ("/cube", {"cube_x/position": "pose.position.x"}),
    ]
    assert [source.max_age for source in robot.inputs] == [0.1, 0.1]
    (output,) = robot.outputs
    assert (output.kind, output.topic, output.joints) == ("velocity", "/arm/commands", ("b", "a"))
    assert robot.mistakes_with(policy.description) == []


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ({"chunk": 4}, [], "--horizon is not given: expected how many of the 4 actions"),
        ({"chunk": 4}, ["--horizon", "5"], "--horizon is 5: expected 1 to the chunk's 4"),
        ({"chunk": 4}, ["--horizon", "0"], "--horizon is 0: expected 1"),
        ({"chunk": 4}, ["--chunk", "3", "--horizon", "1"], "that is a chunk of 4 actions, but --chunk is 3"),
        ({"history": 3}, ["--history", "2"], "it holds 3 observations, but --history is 2"),
        ({"history": 3, "flat": True}, ["--history", "2"], "it holds 9 numbers, but 2 x 3 = 6 are named"),
        ({"extra": "input"}, [], "'image' [any, 3, 64, 64]: expected one, of numbers"),
        ({"extra": "output"}, [], "has the outputs actions, value: choose one by --output"),
        ({}, ["--output", "action"], "did you mean 'actions'?"),
        ({"nan": True}, [], "says NaN or infinity for 'a'"),
        ({}, ["--rate", "0"], "--rate is 0.0: expected 0.01 to 10000"),
        ({}, ["--data", "gone.npz"], "no file gone.npz"),
        ({}, ["--data", "nobody/has-this-v0"], "is no file, and cannot be read as a Minari data set"),
        ({}, ["--data", "bad.npz"], "observations hold NaN"),
        ({}, ["--data", "wide.npz"], "observations are 4 numbers, but the file of numbers names 3"),
        ({}, ["--data", "short.csv"], "has no column 'b/position'; it has: a/position"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    there: Path, capsys: pytest.CaptureFixture[str], model: dict[str, Any], options: list[str], expected: str
) -> None:
    write(Path("my.onnx"), **model)
    np.savez("bad.npz", observations=np.full((20, 3), np.nan))
    np.savez("wide.npz", observations=np.zeros((20, 4)))
    Path("short.csv").write_text("a/position\n1\n")
    assert expected in refused(capsys, *options)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("rate: 20", ""), "the rate is not known"),
        (("joints: [a, b], quantity: position", "joints: [a, b]"), "quantity: expected one with joints"),
        (
            ("quantity: velocity", "quantity: speed"),
            "actions[0].quantity: 'speed', expected position, velocity or effort",
        ),
        (("high: [2, 3]", "high: [2, 3, 4]"), "high: 3 numbers, expected 1 or 2"),
        ((", low: 0, high: 1", ""), "observation 'cube_x/position' has no range: give low and high, or --data"),
        (("low: -1, high: 1}", "low: 1, high: 1}"), "action 'a/velocity' has low 1 and high 1"),
        (("name: cube_x/position", "name: a/position"), "'a/position' is given twice"),
        (("name: cube_x/position", "name: cube/x"), "'cube/x' must end in /position, /velocity or /effort"),
        (("  - {name: cube_x/position, unit: m, low: 0, high: 1}\n", ""), "it holds 3 numbers, but 2 are named"),
        (("unit: m", "units: m"), "did you mean 'unit'?"),
        (("unit: m", "topic: /cube"), "type and path: expected with the topic"),
        (("unit: rad/s", "topic: /arm"), "an action's topic /arm has no type"),
        (("unit: m", "path: x"), "topic: missing, but type or path is given"),
        (("unit: m", "scale: 2"), "the observation 'cube_x/position' has a scale"),
        (("observations:", "observation:"), "no fields in it: expected a layout"),
    ],
)
def test_mistakes_in_the_file_are_told_with_their_place(
    there: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], expected: str
) -> None:
    assert change[0] in NUMBERS
    Path("arm.yaml").write_text(NUMBERS.replace(*change))
    write(Path("my.onnx"))
    assert expected in refused(capsys)


def test_a_model_of_whole_numbers_or_of_no_kind_is_refused(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no file my.onnx" in refused(capsys)
    Path("my.onnx").write_bytes(b"no model")
    assert "my.onnx is no ONNX model" in refused(capsys)
    whole = onnx.helper.make_tensor_value_info("obs", onnx.TensorProto.INT64, [1, 3])
    out = onnx.helper.make_tensor_value_info("actions", onnx.TensorProto.INT64, [1, 3])
    node = onnx.helper.make_node("Identity", ["obs"], ["actions"])
    graph = onnx.helper.make_graph([node], "g", [whole], [out])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), "my.onnx")
    assert "input 'obs' is a tensor(int64): expected float or double" in refused(capsys)


def test_weights_in_another_file_are_refused_with_the_way_out(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("my.onnx"))
    model = onnx.load("my.onnx")
    onnx.save_model(model, "my.onnx", save_as_external_data=True, location="my.data", size_threshold=0)
    assert "keeps its weights in another file" in refused(capsys)


def test_a_missing_runtime_is_told_in_one_line(
    there: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(Path("my.onnx"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "my.onnx needs onnxruntime, which is not here: pip install" in refused(capsys)


def test_a_bundle_that_was_changed_is_refused(there: Path) -> None:
    write(Path("my.onnx"), chunk=4)
    np.savez("demos.npz", **data())
    run("--horizon", "2", "--data", "demos.npz")
    for name in ("policy.onnx", "novelty.npz"):
        path = Path("policy") / name
        before = path.read_bytes()
        path.write_bytes(before + b"x")
        with pytest.raises(UserError, match=f"{name} has sha256"):
            Policy.load("policy")
        path.write_bytes(before)
    values = json.loads(Path("policy/policy.json").read_text())
    values["model"]["horizon"] = 4
    Path("policy/policy.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match="was changed after it was made"):
        Policy.load("policy")
