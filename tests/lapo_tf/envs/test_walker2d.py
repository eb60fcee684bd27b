"""The walker with several goals, the policies that are recorded in it, and relabelling."""

import sys
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import minari
import numpy as np
import pytest

from lapo_tf.data import load_dataset
from lapo_tf.data.collectors.actor import LAYERS, Actor, load_actor
from lapo_tf.data.collectors.locomotion import WALKERS, run_policy
from lapo_tf.data.relabel import relabel_dataset
from lapo_tf.envs.walker2d import GOALS, Walker2dGoalEnv, fallen
from lapo_tf.errors import UserError
from lapo_tf.tasks import TASKS, collect, load_task


@pytest.fixture(autouse=True)
def minari_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path


def weights(seed: int, obs: int = 17, act: int = 6, hidden: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = {
        "latent_pi.0": (hidden, obs),
        "latent_pi.2": (hidden, hidden),
        "mu": (act, hidden),
        "log_std": (act, hidden),
    }
    arrays = {f"{n}.weight": 0.3 * rng.standard_normal(s).astype(np.float32) for n, s in sizes.items()}
    return arrays | {f"{n}.bias": np.zeros(sizes[n][0], np.float32) for n in LAYERS}


def policies(folder: Path) -> dict[str, Path]:
    files = {goal: folder / f"{goal}.npz" for goal in GOALS}
    for number, file in enumerate(files.values()):
        np.savez(file, **weights(number))  # type: ignore[arg-type]
    return files


@pytest.mark.parametrize("goal", GOALS)
def test_it_is_gymnasium_s_walker(goal: str) -> None:
    with pytest.warns(DeprecationWarning, match="out of date"):
        theirs = gym.make("Walker2d-v4").unwrapped
    ours = gym.make(f"lapo/Walker2d{goal.capitalize()}-v0")
    assert ours.spec is not None
    assert ours.spec.max_episode_steps == 1000
    first, _ = ours.reset(seed=4)
    walker = ours.unwrapped
    height = walker.data.qpos[1]
    theirs.reset(seed=0)
    theirs.set_state(walker.data.qpos.copy(), walker.data.qvel.copy())
    np.testing.assert_array_equal(theirs._get_obs(), first)
    rng = np.random.default_rng(0)
    for _ in range(60):
        action = rng.uniform(-1, 1, 6).astype(np.float32)
        observation, reward, terminated, _, _ = ours.step(action)
        expected, forward, ended, _, info = theirs.step(action)
        np.testing.assert_allclose(observation, expected)
        cost = 0.001 * np.square(action).sum()
        speed = info["x_velocity"]
        if goal == "jump":
            wanted = 1 + 10 * (theirs.data.qpos[1] - height) - cost - abs(speed)
        else:
            wanted = forward if goal == "forward" else 1 - speed - cost
        assert reward == pytest.approx(wanted, abs=1e-9)
        assert terminated == ended  # nothing jumps this high by chance
        if ended:
            break


def test_where_episodes_end() -> None:
    assert not fallen("forward", 1.25, 0.0)
    assert all(fallen(goal, 0.79, 0.0) and fallen(goal, 1.2, -1.01) for goal in GOALS)
    assert [bool(fallen(goal, 2.1, 0.0)) for goal in GOALS] == [True, True, False]
    with pytest.raises(UserError, match="did you mean 'jump'"):
        Walker2dGoalEnv("jumb")  # type: ignore[arg-type]


def test_runs_are_mixed_and_relabelled(tmp_path: Path) -> None:
    files = policies(tmp_path)
    done = collect("walker2d-mix-forward", 90, policies=files, progress=False)
    assert (done.dataset_id, done.steps) == ("lapo/walker2d-mix-forward-v0", 90)
    again = collect("walker2d-mix-jump", 90, policies=files, progress=False)
    relabel_dataset(done.dataset_id, "lapo/other-v0", task=load_task("walker2d-mix-jump"), progress=False)
    forward, jump, relabelled = (
        list(minari.load_dataset(name)) for name in (done.dataset_id, again.dataset_id, "lapo/other-v0")
    )
    assert sum(len(e.rewards) for e in forward) == 90
    starts = np.cumsum([0] + [len(e.rewards) for e in forward])
    assert {30, 60} <= set(starts.tolist())  # each policy has its third
    for a, b, c in zip(forward, jump, relabelled, strict=True):
        np.testing.assert_array_equal(a.actions, b.actions)
        np.testing.assert_array_equal(b.rewards, c.rewards)
        np.testing.assert_array_equal(b.terminations, c.terminations)
        cost = -0.001 * np.square(a.actions).sum(1)
        np.testing.assert_allclose(a.infos["control"], cost, rtol=1e-5)
        np.testing.assert_allclose(a.rewards, 1 + a.infos["velocity"] + cost, atol=1e-5)
        rise = a.observations[1:, 0] - a.observations[0, 0]
        np.testing.assert_allclose(b.rewards, 1 + 10 * rise + cost - np.abs(a.infos["velocity"]), atol=1e-4)
        assert a.terminations.tolist() == [not (0.8 < o[0] < 2 and abs(o[1]) < 1) for o in a.observations[1:]]
    assert load_dataset(done.dataset_id).summary.provenance == "collected"


def test_policies_come_along(tmp_path: Path) -> None:
    """The mixture needs no file; a policy that is given takes the place of its goal's."""
    collect("walker2d-mix-backward", 90, dataset_id="lapo/all-v0", progress=False)
    jump = policies(tmp_path)["jump"]
    collect("walker2d-mix-backward", 90, dataset_id="lapo/one-v0", policies={"jump": jump}, progress=False)
    ours, mixed = (
        np.concatenate([e.actions for e in minari.load_dataset(name)]) for name in ("lapo/all-v0", "lapo/one-v0")
    )
    np.testing.assert_array_equal(ours[:60], mixed[:60])
    assert np.abs(ours[60:] - mixed[60:]).mean() > 0.1


@pytest.mark.parametrize(("goal", "low"), [("forward", 3500), ("backward", 3500), ("jump", 1700)])
def test_what_comes_along_does_its_task(goal: str, low: float) -> None:
    env = gym.make(f"lapo/Walker2d{goal.capitalize()}-v0")
    returns = [np.sum(e.rewards) for e in run_policy(env, load_actor(WALKERS / f"{goal}.npz", 17, 6), 3000, seed=0)]
    assert max(returns) > low  # not all: one episode in seven of the backward walker ends in a fall


def test_random_actions() -> None:
    done = collect("hopper-random", 200, progress=False)
    dataset = minari.load_dataset(done.dataset_id)
    assert (done.dataset_id, dataset.total_steps) == ("lapo/hopper-random-v0", 200)
    actions = np.concatenate([episode.actions for episode in dataset])
    assert np.abs(actions).max() <= 1
    assert actions.std() == pytest.approx(1 / np.sqrt(3), rel=0.1)  # uniform
    assert load_task("hopper-random").load_dataset(progress=False).summary.transitions == 200


def test_actor_is_a_tanh_gaussian() -> None:
    values = weights(3)
    actor, rng = Actor(values), np.random.default_rng(0)
    observation = np.linspace(-1, 1, 17)
    hidden = observation
    for name in LAYERS[:2]:
        hidden = np.clip(values[f"{name}.weight"] @ hidden + values[f"{name}.bias"], 0, None)
    mean, std = values["mu.weight"] @ hidden, np.exp(values["log_std.weight"] @ hidden)
    drawn = np.arctanh(np.array([actor.act(observation, rng) for _ in range(4000)], np.float64))
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.08)
    np.testing.assert_allclose(drawn.std(0), std, rtol=0.08)


def test_the_policy_that_comes_along_walks() -> None:
    env = gym.make("lapo/Walker2dForward-v0")
    actor, rng, total = load_actor(WALKERS / "forward.npz", 17, 6), np.random.default_rng(0), 0.0
    observation, _ = env.reset(seed=0)
    for _ in range(1000):
        observation, reward, terminated, _, _ = env.step(actor.act(observation, rng))
        total += float(reward)
        assert not terminated
    assert total == pytest.approx(4081, rel=0.1)  # the mean of its collection


def test_errors(tmp_path: Path) -> None:
    files = policies(tmp_path)
    with pytest.raises(UserError, match="unknown goal in --policy GOAL=FILE 'jum': did you mean 'jump'"):
        collect("walker2d-mix-jump", 90, policies={"jum": files["jump"]})
    with pytest.raises(UserError, match="one policy for each goal: give --policy GOAL=FILE"):
        collect("walker2d-mix-jump", 90, policies={"": files["jump"]})
    with pytest.raises(UserError, match="records trained policies: give --policy"):
        collect("hopper-medium")
    with pytest.raises(UserError, match="leave --policy out"):
        collect("hopper-random", policies=files)
    with pytest.raises(UserError, match="takes 17 observations and gives 6 actions, but the environment has 11 and 3"):
        collect("hopper-medium", 10, policies={"": files["jump"]}, progress=False)
    with pytest.raises(UserError, match="does not exist"):
        load_actor(tmp_path / "none.npz", 17, 6)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match="cannot be read"):
        load_actor(tmp_path / "text.npz", 17, 6)
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(UserError, match=r"latent_pi.0.*expected an \.npz"):
        load_actor(tmp_path / "other.npz", 17, 6)
    with pytest.raises(UserError, match="record policies of yours"):
        replace(load_task("walker2d-mix-jump"), policy="required").load_dataset()


def test_tasks() -> None:
    walkers = [name for name in TASKS if name.split("-")[0] in ("walker2d", "hopper", "halfcheetah")]
    assert len(walkers) == 12
    task = load_task("walker2d-mix-backward")
    assert task.normalized(2002.7373) == pytest.approx(0)
    assert task.normalized(4428.209) == pytest.approx(100)
    assert load_task("hopper-expert").paper["lapo"] == 106.76
    assert "awac-gmm" not in load_task("hopper-expert").paper
    for name in walkers:
        env = load_task(name).make_env()
        env.reset(seed=0)
        env.close()


@pytest.mark.slow
def test_stable_baselines_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # see tools/train_sac.py
    sb3 = pytest.importorskip("stable_baselines3")
    env = gym.make("lapo/Walker2dJump-v0")
    model = sb3.SAC("MlpPolicy", env, seed=1, device="cpu", buffer_size=10)
    model.save(tmp_path / "jump.zip")
    actor, observation = load_actor(tmp_path / "jump.zip", 17, 6), env.reset(seed=0)[0]
    drawn = np.arctanh([actor.act(observation, np.random.default_rng(i)) for i in range(4000)])
    mean = np.arctanh(model.predict(observation, deterministic=True)[0])
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.08)
