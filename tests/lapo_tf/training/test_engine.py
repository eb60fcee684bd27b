"""The compiled loop: what it draws, how it scales, and that a run is the same however it is cut."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import probe
import pytest
import tensorflow as tf
from places import SUPPORT

from lapo_tf.agents import AgentConfig, AgentSpec, Scaling
from lapo_tf.data import Episode, Source, from_episodes
from lapo_tf.errors import UserError
from lapo_tf.training.loop import TrainingLoop, scaling_of, sensor_noise
from lapo_tf.training.run_folder import Checkpoints
from lapo_tf.training.trainer import Trainer

# Sampling -------------------------------------------------------------------------------------------------------------


class Watcher:
    """An agent that learns nothing; its metrics are what the test wants."""

    name, metric_names = "watcher", ("vae/loss",)

    def __init__(self, scaling: Scaling, metrics=lambda batch: {"vae/loss": tf.reduce_mean(batch["rewards"])}) -> None:
        self.spec, self.metrics = AgentSpec(len(scaling.obs_mean), len(scaling.act_mean), scaling), metrics
        self.weights: list = []

    def update(self, batch, seed):
        return self.metrics(batch)


def numbered_data(lengths: list[int]):
    """Every value tells its row: observation (row, -row), action 2 row, reward 3 row; last steps are terminal."""
    episodes, row = [], 0
    for n in lengths:
        rows = np.arange(row, row + n + 1.0)
        episodes.append(Episode(np.stack([rows, -rows], 1), 2 * rows[:-1, None], 3 * rows[:-1], True))
        row += n + 1
    return from_episodes(episodes, Source("numbered"))


LENGTHS = [3, 1, 7, 20, 9]


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    """Batches of numbered data, checked for alignment; the rows drawn, [batches, batch size]."""
    data = numbered_data(LENGTHS)
    loop = TrainingLoop(Watcher(Scaling.identity(2, 1)), data, batch_size=512, seed=0, compile="eager")  # type: ignore[arg-type]
    rows = []
    ends = data.episodes.sum(1) - 1
    for number in range(40):
        batch = {k: v.numpy() for k, v in loop.sample(tf.constant([0, number])).items()}
        row = batch["observations"][:, 0]
        assert all(v.dtype == np.float32 and v.shape[0] == 512 for v in batch.values())
        np.testing.assert_array_equal(batch["observations"][:, 1], -row)
        np.testing.assert_array_equal(batch["actions"][:, 0], 2 * row)
        np.testing.assert_array_equal(batch["rewards"][:, 0], 3 * row)
        np.testing.assert_array_equal(batch["next_observations"], np.stack([row + 1, -row - 1], 1))
        np.testing.assert_array_equal(batch["terminals"][:, 0], np.isin(row, ends))
        rows.append(row)
    return np.stack(rows).astype(int)


def test_every_transition_is_drawn_and_nothing_else(draws):
    np.testing.assert_array_equal(np.unique(draws), numbered_data(LENGTHS).index)


def test_transitions_are_drawn_uniformly_and_independently(draws):
    count = np.unique(draws, return_counts=True)[1]
    expected = draws.size / len(count)
    chi_squared = np.sum((count - expected) ** 2 / expected)
    freedom = len(count) - 1
    assert abs(chi_squared - freedom) < 4 * (2 * freedom) ** 0.5
    assert len({tuple(batch) for batch in draws}) == len(draws)
    assert abs(np.corrcoef(draws[:-1].ravel(), draws[1:].ravel())[0, 1]) < 4 / draws.size**0.5


def test_metrics_are_means_over_the_steps_since_the_last_call():
    loop = TrainingLoop(
        Watcher(Scaling.identity(2, 1)),
        numbered_data(LENGTHS),
        batch_size=4,
        seed=3,
        compile="graph",  # type: ignore[arg-type]
    )
    singles = []
    for _ in range(6):
        loop.run(1)
        singles.append(loop.pop_metrics()["vae/loss"])
    assert len(set(singles)) > 3
    loop.step.assign(0)
    loop.run(4)
    loop.run(2)
    assert loop.pop_metrics() == {"vae/loss": pytest.approx(np.mean(singles), rel=1e-6)}
    assert loop.pop_metrics() == {"vae/loss": 0.0}


def test_metrics_must_be_explained():
    agent = Watcher(Scaling.identity(2, 1), lambda batch: {"vae/surprise": tf.constant(1.0)})
    loop = TrainingLoop(agent, numbered_data([3]), batch_size=2, seed=0, compile="graph")  # type: ignore[arg-type]
    with pytest.raises(KeyError, match=r"vae/surprise"):
        loop.run(1)


# Standardisation ------------------------------------------------------------------------------------------------------


def test_scaling_against_numpy():
    rng = np.random.default_rng(0)
    episodes = []
    for length in (6, 11):
        s = rng.normal(size=(length + 1, 4), loc=[5, 0, 1e4, 2], scale=[1, 0.01, 3, 0])
        s[-1] = 1e6  # final observations are no transitions: they do not count
        episodes.append(Episode(s, rng.normal(size=(length, 3)) * [1, 0, 5], rng.normal(size=length), False))
    data = from_episodes(episodes, Source("scaled"))
    t = {k: v.astype(np.float64) for k, v in data.transitions().items()}
    low, high = np.array([-1.0, -1, -2]), np.array([1.0, 1, 3])
    scaling = scaling_of(data, low, high, AgentConfig(rewards="max"), "std")
    np.testing.assert_allclose(scaling.obs_mean, t["observations"].mean(0), rtol=1e-6)
    np.testing.assert_allclose(scaling.obs_std[:3], t["observations"].std(0)[:3] + 1e-6, rtol=1e-4)
    np.testing.assert_allclose(scaling.act_mean, t["actions"].mean(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(scaling.act_std[[0, 2]], t["actions"].std(0)[[0, 2]] + 1e-6, rtol=1e-5)
    assert scaling.obs_std[3] == scaling.act_std[1] == 1  # constant: keeps its unit
    largest = t["rewards"].max()
    assert scaling.reward_scale == pytest.approx(1 / largest)
    assert (scaling.reward_min, scaling.reward_max) == pytest.approx((t["rewards"].min() / largest, 1))
    np.testing.assert_array_equal(scaling.act_low, np.float32(low))
    np.testing.assert_array_equal(scaling.act_high, np.float32(high))
    assert all(v.dtype == np.float32 for v in vars(scaling).values() if isinstance(v, np.ndarray))
    again = Scaling.from_dict(json.loads(json.dumps(scaling.to_dict())))
    assert all(np.array_equal(a, b) for a, b in zip(vars(scaling).values(), vars(again).values(), strict=True))

    loop = TrainingLoop(Watcher(scaling), data, batch_size=4000, seed=0, compile="eager")  # type: ignore[arg-type]
    batch = {k: v.numpy() for k, v in loop.sample(tf.constant([1, 2])).items()}
    for name, spread in (("observations", [1, 1, 1, 0]), ("actions", [1, 0, 1])):
        np.testing.assert_allclose(batch[name].mean(0), 0, atol=0.1)
        np.testing.assert_allclose(batch[name].std(0), spread, atol=0.1)
    assert batch["rewards"].max() == pytest.approx(1)


def test_scaling_of_extreme_values():
    """Sums and squares beyond float32, and large offsets, lose nothing."""
    rng = np.random.default_rng(0)
    s = rng.normal(size=(1001, 4)) * [1, 5e6, 1, 1e-3] + [0, 1e7, 0, 1e3]
    s[17, 2] = 1e20
    data = from_episodes([Episode(s, rng.normal(size=(1000, 2)), rng.normal(size=1000), False)], Source("extreme"))
    scaling = scaling_of(data, -np.ones(2), np.ones(2), AgentConfig(), "std")
    kept = s[:-1].astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(scaling.obs_mean, kept.mean(0), rtol=1e-6)
    np.testing.assert_allclose(scaling.obs_std, kept.std(0) + 1e-6, rtol=1e-6)


def test_sensor_noise_is_found_beneath_the_motion():
    """Noise of 0.3 and 0.01 on waves of amplitude 5 and 1, none on a wave and a constant, in episodes far apart."""
    rng = np.random.default_rng(0)
    episodes = []
    for level in (0, 1000, -70):
        t = np.arange(801) * 0.05
        waves = np.stack([5 * np.sin(t), np.cos(2 * t), np.sin(t + 1), 0 * t + 7], 1)
        waves[:, :3] += level
        noise = rng.normal(size=(801, 4)) * [0.3, 0.01, 0, 0]
        episodes.append(Episode((waves + noise).astype(np.float32), rng.normal(size=(800, 1)), np.zeros(800), False))
    found = sensor_noise(from_episodes(episodes, Source("waves")))
    np.testing.assert_allclose(found[:2], [0.3, 0.01], rtol=0.1)
    assert found[2] < 3e-4  # float32, and the wave's own third difference
    assert found[3] == 0
    short = [Episode(np.ones((3, 2)), np.ones((2, 1)), np.zeros(2), False)] * 4
    np.testing.assert_array_equal(sensor_noise(from_episodes(short, Source("short"))), 0)


def test_noise_on_observations():
    """As large as the sensors', independent between s and s', none in what never changes; nothing else is touched."""
    rng = np.random.default_rng(0)
    s = rng.normal(size=(5001, 3), loc=[5, 0, 2], scale=[100, 0.01, 0])  # noise alone: as large as its deviation
    data = from_episodes([Episode(s, rng.normal(size=(5000, 2)), rng.normal(size=5000), False)], Source("noisy"))
    scaling = scaling_of(data, -np.ones(2), np.ones(2), AgentConfig(), "std")
    options = {"batch_size": 20_000, "seed": 0, "compile": "eager"}
    clean, noisy = (
        TrainingLoop(Watcher(scaling), data, observation_noise=noise, **options).sample(tf.constant([1, 2]))  # type: ignore[arg-type]
        for noise in (0.0, 0.5)
    )
    before, after = (noisy[k].numpy() - clean[k].numpy() for k in ("observations", "next_observations"))
    for noise in (before, after):
        np.testing.assert_allclose(noise.mean(0), 0, atol=0.02)
        np.testing.assert_allclose(noise.std(0), [0.5, 0.5, 0], rtol=0.06)
    assert abs(np.corrcoef(before[:, 0], after[:, 0])[0, 1]) < 0.03
    assert abs(np.corrcoef(before[:, 0], before[:, 1])[0, 1]) < 0.03
    for name in ("actions", "rewards", "terminals"):
        np.testing.assert_array_equal(noisy[name], clean[name])


def test_rewards_that_are_never_positive_are_not_scaled():
    data = from_episodes([Episode(np.zeros((3, 1)), np.zeros((2, 1)), [-2.0, -5.0], True)], Source("negative"))
    one = np.ones(1)
    scaling = scaling_of(data, -one, one, AgentConfig(rewards="max"), "std")
    assert (scaling.reward_scale, scaling.reward_min, scaling.reward_max) == (1, -5, -2)
    assert scaling_of(data, -one, one, AgentConfig(rewards="max", reward_scale=0.5), "std").reward_min == -2.5


def test_rewards_and_actions_in_other_units():
    """1000 times the return's range, shifted; actions by their bounds; the batch is in those units."""
    steps = [([1.0, 2.0], [2.0, 4.0]), ([0.0, -1.0], [3.0, 3.5])]
    data = from_episodes(
        [Episode(np.zeros((3, 1)), np.array(a)[:, None], r, False) for r, a in steps], Source("returns")
    )
    low, high = np.array([2.0]), np.array([4.0])
    config = AgentConfig(rewards="return_range", reward_scale=1000.0, reward_shift=-3.0)
    scaling = scaling_of(data, low, high, config, "bounds")
    assert (scaling.act_mean, scaling.act_std) == (3, 1)
    batch = TrainingLoop(Watcher(scaling), data, batch_size=200, seed=0, compile="eager").sample(tf.constant([0, 1]))  # type: ignore[arg-type]
    pairs = {
        (round(float(a), 4), round(float(r), 4))
        for a, r in zip(*(batch[k].numpy()[:, 0] for k in ("actions", "rewards")), strict=True)
    }
    expected = {(a - 3, 250 * r - 3) for rs, acts in steps for r, a in zip(rs, acts, strict=True)}
    assert pairs == expected
    assert (scaling.reward_min, scaling.reward_max) == (-253, 497)
    with pytest.raises(UserError, match="unbounded"):
        scaling_of(data, -np.array([np.inf]), high, config, "bounds")


# The same run, however it is cut --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lapo(tmp_path_factory) -> Trainer:
    """LAPO with its default choices under XLA, after 40 of 80 steps; compiled once for the tests below."""
    options = probe.config(tmp_path_factory.mktemp("lapo") / "run", agent="lapo", steps=40, compile="xla")
    trainer = Trainer(options, dataset=probe.dataset(), log=probe.quiet)
    trainer.run()
    return trainer


def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def test_chunks_do_not_matter(lapo):
    start = lapo.loop.snapshot()
    lapo.loop.run(60)
    whole = lapo.loop.snapshot()
    lapo.loop.restore(start)
    assert equal(lapo.loop.snapshot(), start)
    assert not equal(whole, start)
    for steps in (1, 7, 20, 2, 11, 19):
        lapo.loop.run(steps)
    assert equal(lapo.loop.snapshot(), whole)
    lapo.loop.restore(start)


def test_a_checkpoint_holds_the_whole_state(lapo, tmp_path):
    """Write at a step between evaluations, spoil everything, read, and go on: the same to the last bit."""
    start = lapo.loop.snapshot()
    lapo.loop.run(13)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(lapo.state, 53)
    lapo.loop.run(20)
    expected, metrics = lapo.loop.snapshot(), lapo.loop.pop_metrics()
    lapo.loop.restore([np.full_like(v, 3) for v in expected])
    assert checkpoints.restore(lapo.state) == (53, None)
    lapo.loop.run(20)
    assert equal(lapo.loop.snapshot(), expected)
    assert lapo.loop.pop_metrics() == metrics
    lapo.loop.restore(start)


def test_the_state_is_all_of_it(lapo):
    """Every network (targets too) and, of each of the three Adams, step, rate, and two moments per variable."""
    agent = lapo.agent
    networks = sum(len(net.weights) for net in agent.layers)
    assert len(agent.layers) == 10
    trained = [(agent.q1, agent.q2, agent.v), (agent.encoder, agent.decoder), (agent.policy,)]
    slots = sum(2 + 2 * sum(len(net.trainable_variables) for net in nets) for nets in trained)
    assert len(lapo.loop.snapshot()) == 1 + len(lapo.loop.metric_variables) + networks + slots


def test_the_loop_does_the_agents_updates(lapo):
    """XLA's loop against the agent's own update, called eagerly with the seeds the loop is documented to use."""
    start = lapo.loop.snapshot()
    lapo.loop.run(2)
    compiled = lapo.loop.snapshot()
    lapo.loop.restore(start)
    for step in (40, 41):
        seeds = tf.random.split(tf.constant([lapo.config.seed, step], tf.int64), 2, alg="philox")
        lapo.agent.update(lapo.loop.sample(seeds[0]), seeds[1])
    first = 1 + len(lapo.loop.metric_variables)
    difference = [np.abs(a - b).max() for a, b in zip(compiled[first:], lapo.loop.snapshot()[first:], strict=True)]
    change = [np.abs(a - b).max() for a, b in zip(start[first:], compiled[first:], strict=True)]
    assert max(difference) < 1e-5 < 1e-4 < max(change)
    lapo.loop.restore(start)


@pytest.mark.parametrize("mode", ["xla", "graph"])
def test_resuming_changes_nothing(tmp_path, mode):
    """With a small agent, so that several runs compile quickly; LAPO's are in the next test."""
    result = probe.train_in_pieces(tmp_path, mode, "clone", {}, interrupt=mode == "graph")
    if mode == "graph":
        stopped = result["resumed"].pop()
        assert 200 < stopped < 400
        assert stopped % 100
        assert result["message"].endswith(f"continue with: python -m lapo_tf.train --resume {tmp_path / 'pieces'}")
    check_pieces(result, tmp_path)


def check_pieces(result: dict, path: Path) -> None:
    assert result["resumed"] == [200]
    assert result["whole"] == result["pieces"]
    rows = result["whole"]["rows"]
    assert [row["step"] for row in rows] == result["whole"]["episodes"]["steps"] == [100, 200, 300, 400]
    assert len({row["eval/return"] for row in rows}) > 1
    text = {name: (path / name / "metrics.csv").read_text().splitlines() for name in ("whole", "pieces")}
    clock = [i for i, name in enumerate(text["whole"][0].split(",")) if name.startswith("time/")]
    for a, b in zip(text["whole"], text["pieces"], strict=True):  # as text, too
        columns = [[c for i, c in enumerate(line.split(",")) if i not in clock] for line in (a, b)]
        assert columns[0] == columns[1]


class InAProcess:
    """`probe.py` in a process of its own, with the settings that `lapo_tf.train` makes there."""

    def __init__(self, mode: str, path: Path) -> None:
        self.path = path
        command = [sys.executable, SUPPORT / "probe.py", mode, path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def check(self) -> None:
        out, _ = self.process.communicate()
        assert self.process.returncode == 0, out[-2000:]
        check_pieces(json.loads((self.path / "result.json").read_text()), self.path)


@pytest.fixture(scope="module", autouse=True)
def in_graph_mode(tmp_path_factory):
    """Started before the module's other tests, so as to use a second core."""
    run = InAProcess("graph", tmp_path_factory.mktemp("graph"))
    yield run
    run.process.kill()


@pytest.mark.slow
def test_resuming_lapo_under_xla_changes_nothing(tmp_path):
    InAProcess("xla", tmp_path).check()


def test_seeds_and_noise_make_a_difference(tmp_path):
    states = []
    for seed, noise in ((0, 0.0), (0, 0.0), (1, 0.0), (0, 1.0), (0, 1.0)):
        options = probe.config(tmp_path / str(len(states)), seed=seed, observation_noise=noise, steps=5)
        trainer = Trainer(options, dataset=probe.dataset(), log=probe.quiet)
        trainer.run()
        states.append(trainer.loop.snapshot())
    assert equal(states[0], states[1])
    assert not equal(states[0], states[2])
    assert not equal(states[0], states[3])
    assert equal(states[3], states[4])


# Losses that are not finite -------------------------------------------------------------------------------------------


def last_good(options, data) -> tuple[str, Trainer]:
    """The error of a run, and the state it left behind."""
    with pytest.raises(UserError) as error:
        Trainer(options, dataset=data, log=probe.quiet).run()
    assert "\n" not in str(error.value)
    return str(error.value), Trainer(options, dataset=data, resume=True, log=probe.quiet)


@pytest.mark.parametrize("mode", ["graph", pytest.param("xla", marks=pytest.mark.slow)])
def test_a_bad_reward_stops_the_run_and_the_state_before_it_is_saved(tmp_path, mode):
    data = probe.dataset(200, rewards=-1e30)  # squared, this is infinite; it is one of 1,000 transitions
    message, after = last_good(probe.config(tmp_path / "bad", steps=2000, eval_every=1000, compile=mode), data)
    bad = after.step + 1
    assert f"step {bad}: critic/q_mean is inf" in message
    assert f"saved the state of step {after.step} in {tmp_path / 'bad'}" in message
    assert 10 < bad < 900  # not in the first call of the loop
    good = Trainer(probe.config(tmp_path / "good", steps=after.step, compile=mode), dataset=data, log=probe.quiet)
    good.loop.run(after.step)
    assert equal(good.loop.snapshot(), after.loop.snapshot())
    assert after.loop.is_finite()


def test_weights_that_overflow_before_the_loss_does_are_not_saved(tmp_path):
    """A step with an infinite rate has a finite loss and leaves infinite weights: the state before it counts."""
    message, after = last_good(probe.config(tmp_path / "run", own={"learning_rate": 1e39}), probe.dataset())
    assert "vae/loss is nan" in message
    assert "saved the state of step 0" in message
    assert after.step == 0
    assert after.loop.is_finite()
    message, after = last_good(
        probe.config(tmp_path / "one", own={"learning_rate": 1e39}, eval_every=1), probe.dataset()
    )
    assert "step 1: the weights are" in message
    assert after.step == 0


# The process started above has had its time ---------------------------------------------------------------------------


def test_resuming_lapo_in_graph_mode_changes_nothing(in_graph_mode):
    """Graph mode repeats itself by op determinism and ordered updates."""
    in_graph_mode.check()
