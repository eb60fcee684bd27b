"""Policy bundles: what is exported is the policy, what is damaged is refused, and running it takes no TensorFlow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from places import ROOT

from lapo_tf.agents import AGENTS
from lapo_tf.config import TrainConfig
from lapo_tf.errors import UserError
from robot_bridge.errors import UserError as BridgeError
from robot_bridge.robot.bundle import CONSTANT_SLACK, Policy
from robot_bridge.robot.description import Description

EPISODES, LENGTH = 6, 40


def observations() -> np.ndarray:
    """Recorded observations [EPISODES, LENGTH, 4] of a maze; the last number never changes."""
    rng = np.random.default_rng(0)
    steps = 0.1 * rng.normal(size=(EPISODES, LENGTH, 4))
    values = np.array([1.0, 2.0, 0.0, 0.5]) + steps.cumsum(axis=1)
    values[..., 1] += 2.0 * values[..., 0]  # so that a whitened distance differs from a plain one
    values[..., 3] = 0.5
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny agent, trained for a few steps, and its data."""
    from lapo_tf.training.trainer import Trainer

    folder = tmp_path_factory.mktemp("export")
    data, rng = observations(), np.random.default_rng(1)
    with h5py.File(folder / "maze.hdf5", "w") as file:
        file["observations"] = data.reshape(-1, 4)
        file["actions"] = rng.uniform(-1, 1, (EPISODES * LENGTH, 2)).astype(np.float32)
        file["rewards"] = rng.uniform(0, 1, EPISODES * LENGTH).astype(np.float32)
        file["terminals"] = np.zeros(EPISODES * LENGTH, bool)
        timeouts = np.zeros((EPISODES, LENGTH), bool)
        timeouts[:, -1] = True
        file["timeouts"] = timeouts.ravel()
    config = TrainConfig(
        task="maze2d-umaze",
        dataset=str(folder / "maze.hdf5"),
        run_dir=folder / "run",
        steps=4,
        eval_every=4,
        eval_episodes=1,
        batch_size=8,
        compile="eager",
        agent_config=AGENTS["lapo"].Config(hidden=(16, 16)),
    )
    Trainer(config, log=lambda line: None).run()
    return folder


@pytest.fixture(scope="module")
def run(folder: Path):
    from lapo_tf.runs.run import load_run

    return load_run(folder / "run")


@pytest.fixture(scope="module")
def policy(folder: Path, run) -> Policy:
    from lapo_tf.runs.bundle import export

    return export(run, folder / "policy", trial_episodes=1, saved_model=True, onnx=onnx_is_installed())


def onnx_is_installed() -> bool:
    from importlib.util import find_spec

    return all(find_spec(name) for name in ("tf2onnx", "onnxruntime"))


PROBE = np.random.default_rng(2).uniform(-2, 4, (50, 4)).astype(np.float32)


def test_bundle_acts_as_the_agent(run, policy: Policy) -> None:
    actions = np.stack([policy.infer(row) for row in PROBE])
    assert np.abs(actions - run.policy(PROBE)).max() <= 1e-5
    assert np.abs(actions).max() <= 1.0
    assert np.ptp(actions, axis=0).min() > 0
    assert policy.description.check["max_difference"] <= 1e-5


def test_bounds_are_in_the_graph(policy: Policy) -> None:
    far = np.stack([policy.infer(1e4 * row) for row in PROBE])
    assert np.abs(far).max() == 1.0
    assert np.isfinite(far).all()


def test_saved_model_and_onnx_act_as_the_agent(run, folder: Path, policy: Policy) -> None:
    import tensorflow as tf

    expected = run.policy(PROBE)
    loaded = tf.saved_model.load(str(folder / "policy" / "saved_model"))
    np.testing.assert_allclose(loaded.serve(PROBE).numpy(), expected, atol=1e-5)
    if not onnx_is_installed():
        pytest.skip("tf2onnx and onnxruntime are not installed")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "policy" / "policy.onnx"), providers=["CPUExecutionProvider"])
    for row, action in zip(PROBE, expected, strict=True):
        np.testing.assert_allclose(session.run(["action"], {"observation": row[None]})[0][0], action, atol=1e-5)


def test_description_says_what_the_numbers_are(folder: Path, run, policy: Policy) -> None:
    d = policy.description
    assert [e.name for e in d.observations] == ["x/position", "y/position", "x/velocity", "y/velocity"]
    assert [(a.joint, a.quantity, a.unit, a.scale, a.low, a.high) for a in d.actions] == [
        ("x", "effort", "N", 100.0, -1.0, 1.0),
        ("y", "effort", "N", 100.0, -1.0, 1.0),
    ]
    data = observations()[:, :-1].reshape(-1, 4)  # each episode's last step has no successor
    np.testing.assert_allclose([e.low for e in d.observations], data.min(0))
    np.testing.assert_allclose([e.high for e in d.observations], data.max(0))
    np.testing.assert_allclose([e.quantiles[2] for e in d.observations], np.median(data, axis=0), rtol=1e-6)
    first = observations()[:, 0, :2]
    assert [entry.joint for entry in d.start] == ["x", "y"]
    assert [entry.pose for entry in d.start] in first.astype(np.float64).tolist()
    np.testing.assert_allclose([entry.low for entry in d.start], np.quantile(first, 0.05, axis=0), rtol=1e-6)
    assert d.data["sha256"] == run.data()["sha256"]
    assert d.source["step"] == 4
    assert d.score["episodes"] == 1
    assert d.control_rate == 100.0
    assert Description.read(folder / "policy") == d


def test_kitchen_names_match_the_model() -> None:
    pytest.importorskip("gymnasium_robotics")
    from lapo_tf.tasks import load_task

    env = load_task("kitchen-mixed").make_env()
    names = load_task("kitchen-mixed").names(env)
    model = env.unwrapped.model  # type: ignore[attr-defined]
    joints = [model.joint(i).name for i in range(model.njnt)]
    assert [o.name.split("/")[0] for o in names.observations[9:23]] == joints[9:23]
    assert len(names.observations) == 60
    _, goal = np.split(env.reset(seed=0)[0], 2)
    assert [o.constant for o in names.observations[30:]] == [float(np.float32(g)) for g in goal]
    assert names.control_rate == 12.5


def test_observation_novelty_is_a_whitened_distance(policy: Policy) -> None:
    from robot_bridge.robot.novelty import RIDGE

    data = observations()[:, :-1].reshape(-1, 4)[:, :3].astype(np.float64)
    mean, std = data.mean(0), data.std(0)
    correlation = np.cov(((data - mean) / std).T) + RIDGE * np.eye(3)
    standard = (PROBE[:, :3] - mean) / std
    expected = np.sqrt(np.einsum("ni,ij,nj->n", standard, np.linalg.inv(correlation), standard) / 3)
    threshold = policy.description.novelty[0].threshold
    found = np.array([policy.novelty(row, policy.infer(row))[0] for row in PROBE])
    np.testing.assert_allclose(found * threshold, expected, rtol=1e-3)


def test_novelty_is_calibrated_on_episodes_it_has_not_seen() -> None:
    from robot_bridge.robot.novelty import fit_whitening, held_out_scores

    data = np.random.default_rng(0).normal(size=(5, 30, 2))
    data[3] += 20.0  # one episode is elsewhere
    rows, episode, live = data.reshape(-1, 2), np.repeat(np.arange(5), 30), np.arange(2)
    assert held_out_scores(rows, episode, live)[episode == 3].min() > 10.0
    assert fit_whitening(rows, live).score(rows)[episode == 3].max() < 4.0


def test_novel_observations_are_told(policy: Policy) -> None:
    familiar, threshold = observations()[2, :-1], policy.description.novelty[0].threshold
    assert threshold > 0
    scores = np.array([policy.novelty(row, policy.infer(row))[0] for row in familiar])
    assert np.median(scores) < 1.0
    far = familiar[0] + np.float32([0, 30, 0, 0])
    assert policy.novelty(far, policy.infer(far))[0] > 3.0
    assert policy.outside(far) == ["y/position"]
    assert policy.outside(familiar[0]) == []
    drifted = familiar[0] + np.float32([0, 0, 0, 3 * CONSTANT_SLACK])  # a number that never changed in the data
    assert policy.outside(drifted) == ["y/velocity"]


def test_action_novelty_is_the_cvaes(run, policy: Policy) -> None:
    row = observations()[1, 5]
    scaling = run.agent.spec.scaling
    s = ((row - scaling.obs_mean) / scaling.obs_std)[None]
    for action in (policy.infer(row), np.float32([0.9, -0.9])):
        a = ((action - scaling.act_mean) / scaling.act_std)[None]
        mean, log_var = np.split(run.agent.encoder(np.concatenate([s, a], 1)).numpy(), 2, axis=1)
        decoded = run.agent.target_decoder(np.concatenate([s, mean], 1)).numpy()
        expected = ((decoded - a) ** 2).sum() + 0.5 * (mean**2 + np.exp(log_var) - log_var - 1).sum()
        found = policy.novelty(row, action)[1] * policy.description.novelty[1].threshold
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.slow
def test_without_trial_nothing_is_claimed(run, tmp_path: Path) -> None:
    from lapo_tf.runs.bundle import export

    d = export(run, tmp_path, trial_episodes=0).description
    assert d.score == {}
    assert [n.name for n in d.novelty] == ["observation"]


def test_models_that_are_not_the_policy_are_refused(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lapo_tf.runs import bundle as module

    expected = run.policy(PROBE)
    with pytest.raises(UserError, match="weights were lost"):
        module.compare("model", lambda row: np.zeros(2, np.float32), expected, PROBE)
    with pytest.raises(UserError, match="NaN"):
        module.compare("model", lambda row: np.full(2, np.nan), expected, PROBE)
    other = run.agent.act
    monkeypatch.setattr(run.agent, "act", lambda rows: other(rows) + np.float32(2e-5))
    with pytest.raises(UserError, match="differs from the trained policy by up to 2e-05"):
        module.export(run, tmp_path / "none", trial_episodes=0)
    assert list((tmp_path / "none").iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "policy.json").unlink(), "is no policy bundle"),
        (lambda f: (f / "policy.tflite").unlink(), "has no policy.tflite"),
        (lambda f: (f / "policy.json").write_text("{"), "is damaged"),
        (lambda f: edit(f, format=99), "is of format 99, this robot_bridge reads 1"),
        (lambda f: edit(f, task="other"), "was changed after it was made"),
        (lambda f: edit(f, task=None, description_sha256=None), "is damaged"),
        (lambda f: flip(f / "policy.tflite"), "changed or cut short"),
        (lambda f: flip(f / "novelty.tflite"), "changed or cut short"),
        (
            lambda f: edit(
                f, description_sha256=None, actions=json.loads((f / "policy.json").read_text())["actions"][:1]
            ),
            "policy.json says",
        ),
    ],
)
def test_damaged_bundles_are_refused(folder: Path, policy: Policy, tmp_path: Path, spoil, message: str) -> None:
    copy = shutil.copytree(folder / "policy", tmp_path / "copy", ignore=shutil.ignore_patterns("saved_model"))
    Policy.load(copy)
    spoil(copy)
    with pytest.raises(BridgeError, match=message) as caught:
        Policy.load(copy)
    assert "\n" not in str(caught.value)


def edit(folder: Path, **changes) -> None:
    """Change entries of `policy.json`; None removes one."""
    values = json.loads((folder / "policy.json").read_text()) | changes
    (folder / "policy.json").write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_wrong_observations_raise(policy: Policy) -> None:
    with pytest.raises(ValueError, match="shape"):
        policy.infer(np.zeros(5, np.float32))
    with pytest.raises(ValueError, match="shape"):
        policy.infer(np.zeros((1, 4), np.float32))


def test_running_a_bundle_takes_no_tensorflow(folder: Path, policy: Policy) -> None:
    code = f"""
import sys
import numpy as np
from robot_bridge.robot.bundle import Policy
print(Policy.load({str(folder / "policy")!r}).infer(np.array({PROBE[0].tolist()})).tolist())
print([name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras", "lapo_tf", "roslibpy")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    action, modules = done.stdout.splitlines()
    assert modules == "[]"
    np.testing.assert_array_equal(np.float32(json.loads(action)), policy.infer(PROBE[0]))


@pytest.mark.slow
@pytest.mark.parametrize("how", [["--lock-step"], ["--minutes", "0.01"]])
def test_the_demo_runs_a_bundle(folder: Path, policy: Policy, tmp_path: Path, how: list[str]) -> None:
    """Three processes; in lock-step the score of the direct trial, to the last digit; none is left at the end."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "robot_bridge.demo", "--policy", str(folder / "policy"), "--episodes", "1"]
    done = subprocess.run([*command, "--report", str(report), *how], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    values = json.loads(report.read_text())
    assert len(values["sim"]["scores"]) == 1
    assert values["node"]["sent"] > 100
    if how == ["--lock-step"]:
        assert values["sim"]["scores"] == policy.description.score["scores"]
        assert values["sim"]["steps"] == 300


@pytest.mark.slow
def test_the_demo_s_simulation_has_the_robot_s_topics_and_ends_with_it(folder: Path, tmp_path: Path) -> None:
    config = (ROOT / "configs/robots/sim-maze.yaml").read_text().replace("/effort_controller/commands", "/ball/push")
    (tmp_path / "ball.yaml").write_text(config + "dead_man: {topic: /held, max_age: 0.5}\n")
    command = [sys.executable, "-m", "robot_bridge.demo", "--policy", str(folder / "policy"), "--episodes", "1"]
    with subprocess.Popen(
        [*command, "--robot", str(tmp_path / "ball.yaml"), "--minutes", "1"], stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        url = re.search(r"ws://\S+:\d+", demo.stdout.readline())[0]  # type: ignore[index]
        assert any(re.search(r"step +[1-9]", line) for line in demo.stdout)  # it moves
        demo.terminate()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert f"--url {url}" not in running


@pytest.mark.slow
def test_a_rehearsal_stops_for_a_silent_sensor_and_records_it(folder: Path, policy: Policy) -> None:
    from robot_bridge.simulation.rehearsal import Rehearsal, lock_step

    with Rehearsal(folder / "policy") as rehearsal:
        rehearsal.wait(1.0)
        rehearsal.enable()
        rehearsal.wait(1.0)
        rehearsal.sensor("silent")
        rehearsal.wait_for("fault")
        rehearsal.sensor("good")
        rehearsal.wait(0.5)
        with pytest.raises(BridgeError, match="not in state 'active'"):
            rehearsal.wait_for("active", within=0.5)
    record = rehearsal.record
    assert max(record.speeds(end=record.when("enabled")).values()) < 0.2  # it starts with a little speed
    assert max(record.speeds(record.when("enabled"), record.when("sensor silent")).values()) > 0.2
    states = [state for _, state, _ in record.states]
    assert states[0] == "inactive"
    assert states[-1] == "fault"
    assert record.commanded("x")[0][0] > record.when("enabled")
    assert lock_step(folder / "policy") == {0: policy.description.score["scores"][0]}


@pytest.mark.slow
def test_one_inference_takes_50_microseconds(tmp_path: Path, folder: Path) -> None:
    """A policy of the paper's size on a kitchen's dimensions, in time of this thread on the CPU, not of the clock."""
    from lapo_tf.agents import AgentSpec, Scaling
    from lapo_tf.runs.conversion import to_litert, write_saved_model
    from lapo_tf.runs.novelty import novelty_function
    from robot_bridge.robot.description import MODEL
    from robot_bridge.robot.models import LiteRtModel
    from robot_bridge.robot.novelty import fit_whitening

    agent = AGENTS["lapo"](AGENTS["lapo"].Config(), AgentSpec(60, 9, Scaling.identity(60, 9, 1.0)))
    rows = np.random.default_rng(0).normal(size=(500, 60)).astype(np.float32)
    whitening = fit_whitening(rows, np.arange(60))
    write_saved_model(agent, novelty_function(agent, whitening.mean, whitening.matrix, True), tmp_path / "model")
    infer = LiteRtModel(MODEL, to_litert(tmp_path / "model", "act"), {"observation": (1, 60)}, "action", (1, 9))
    times = []
    for _ in range(20):
        for row in rows:
            begin = time.thread_time_ns()
            infer(row)
            times.append(time.thread_time_ns() - begin)
    assert np.median(times) <= 50_000  # the 99 % quantile holds on an idle machine only
