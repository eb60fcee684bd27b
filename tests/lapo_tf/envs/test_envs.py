"""The environments against independent things: official data, NumPy dynamics, statistics, gymnasium's own checker."""

import gymnasium as gym
import h5py
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from places import SHARED

import lapo_tf.envs  # noqa: F401  (registers the environments)
from lapo_tf.envs.kitchen import SUBSTEPS, KitchenEnv, dataset_reward, task_goal
from lapo_tf.envs.maze2d import Maze2dEnv, free_cells, parse_map
from lapo_tf.envs.toy import toy_reward
from lapo_tf.errors import UserError

DEMOS = SHARED / "data/mini_kitchen_microwave_kettle_light_slider-v0.hdf5"
COMPLETE = ["microwave", "kettle", "light switch", "slide cabinet"]
MAX_STEPS = {
    "lapo/KitchenComplete-v0": 280,
    "lapo/KitchenPartial-v0": 280,
    "lapo/KitchenMixed-v0": 280,
    "lapo/Maze2dUmaze-v0": 300,
    "lapo/Maze2dMedium-v0": 600,
    "lapo/Maze2dLarge-v0": 800,
    "lapo/ToyNavigation-v0": 1,
}


@pytest.fixture(scope="module")
def kitchen() -> KitchenEnv:
    return KitchenEnv()


@pytest.fixture(scope="module")
def demos() -> dict[str, np.ndarray]:
    if not DEMOS.exists():
        pytest.skip(f"needs the official demonstrations at {DEMOS}")
    with h5py.File(DEMOS) as file:
        return {key: file[key][:] for key in ("observations", "actions", "rewards", "terminals")}


def rollout(env: gym.Env, seed: int, steps: int = 12) -> np.ndarray:
    """Observations [steps + 1, obs] of fixed random actions."""
    actions = np.random.default_rng(3).uniform(-1, 1, (steps, *env.action_space.shape))
    return np.array([env.reset(seed=seed)[0], *(env.step(a)[0] for a in actions)])


@pytest.mark.parametrize(("env_id", "steps"), MAX_STEPS.items())
def test_registered_with_its_time_limit(env_id: str, steps: int) -> None:
    assert gym.spec(env_id).max_episode_steps == steps


@pytest.mark.parametrize("env_id", ["lapo/KitchenMixed-v0", "lapo/Maze2dLarge-v0", "lapo/ToyNavigation-v0"])
def test_gymnasium_checks(env_id: str) -> None:
    check_env(gym.make(env_id).unwrapped, skip_render_check=True)


def test_substeps_make_up_the_kitchen_s_control_step() -> None:
    whole, parts = KitchenEnv(noise="none"), KitchenEnv(noise="none")
    whole.reset(seed=0)
    parts.reset(seed=0)
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 9)):
        expected = whole.step(action)
        for k in range(SUBSTEPS):
            observation, reward, _, ended = parts.substep(action)
            assert ended == (k == SUBSTEPS - 1)
        np.testing.assert_allclose(observation, expected[0], atol=1e-9)
        assert reward == expected[1]
    assert parts.substep_dt * SUBSTEPS == whole.dt
    whole.close()
    parts.close()


@pytest.mark.parametrize("env_id", ["lapo/KitchenComplete-v0", "lapo/Maze2dUmaze-v0"])
def test_same_seed_same_trajectory_also_in_a_used_environment(env_id: str) -> None:
    env = gym.make(env_id)
    first = rollout(env, seed=5)
    rollout(env, seed=6, steps=30)
    np.testing.assert_array_equal(rollout(env, seed=5), first)
    np.testing.assert_array_equal(rollout(gym.make(env_id), seed=5), first)
    assert not np.array_equal(rollout(env, seed=6), first)


# ---------------------------------------------------------------------------------------------------------- kitchen


def test_kitchen_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'kettle'"):
        KitchenEnv(["ketle"])


def test_kitchen_dataset_reward_reproduces_the_official_file(demos: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(dataset_reward(demos["observations"], COMPLETE), demos["rewards"])
    np.testing.assert_array_equal(demos["observations"][:, 30:], np.tile(task_goal(COMPLETE), (3680, 1)).astype("f4"))


def test_kitchen_recorded_set_points_complete_the_demonstration(demos: dict[str, np.ndarray]) -> None:
    """Fed the recorded readings, so the recorded set-points, the simulation repeats the first demonstration."""
    env = KitchenEnv(noise="none")
    env.reset(seed=0)
    steps = int(np.argmax(demos["terminals"])) + 1
    rewards, errors = [], []
    for t in range(steps):
        env._reading[:9] = demos["observations"][t, :9]
        observation, reward, terminated, _, info = env.step(demos["actions"][t])
        rewards.append(reward)
        if t + 1 < steps:
            errors.append(observation[:9] - demos["observations"][t + 1, :9])
        assert terminated == (sum(rewards) == 4)
        if terminated:
            break
    assert sum(rewards) == 4
    assert set(rewards) <= {0.0, 1.0, 2.0}
    assert info["episode_task_completions"] == COMPLETE
    assert info["is_success"]
    noise = 0.01 / np.sqrt(3)  # all that should be left once the different start is forgotten
    np.testing.assert_allclose(np.std(errors[20:], axis=0), noise, rtol=0.25)


def test_kitchen_noise_is_d4rl_s(kitchen: KitchenEnv) -> None:
    """Differences of readings of one state are bounded by, and spread like, the uniform noise of each joint."""
    readings = np.array([kitchen.reset(seed=seed)[0] for seed in range(400)])[:, :30]
    amplitude = np.array(
        [0.01] * 9 + [5e-4] * 2 + [5e-5] * 6 + [5e-4] * 3 + [1e-2] * 3 + [5e-4] * 3 + [1e-2] * 3 + [5e-4]
    )
    errors = readings - kitchen.data.qpos
    assert (np.abs(errors) <= amplitude * (1 + 1e-9)).all()
    np.testing.assert_allclose(errors.std(0), amplitude / np.sqrt(3), rtol=0.12)


def test_kitchen_reset_is_at_rest(kitchen: KitchenEnv) -> None:
    rollout(kitchen, seed=0)
    assert np.abs(kitchen.data.qvel).max() > 0.1
    kitchen.reset(seed=0)
    np.testing.assert_array_equal(kitchen.data.qvel, 0)
    np.testing.assert_array_equal(kitchen.data.ctrl, 0)
    assert np.linalg.norm(kitchen.data.qpos[26:30]) == pytest.approx(1)


def test_kitchen_set_point_is_the_noisy_reading_plus_velocity_within_limits(kitchen: KitchenEnv) -> None:
    reading = kitchen.reset(seed=1)[0][:9]
    kitchen.step(np.array([0.5, -0.25, 3.0, 0, 0, 0, 0, 1.0, -1.0]))
    expected = reading + 0.16 * np.array([0.5, -0.25, 1.0, 0, 0, 0, 0, 1.0, -1.0])
    expected[7:] = 0.04, 0.0  # fingers are limited to 0..4 cm
    expected[1] = max(expected[1], -1.8)
    np.testing.assert_allclose(kitchen.data.ctrl, expected, atol=1e-12)


def test_kitchen_rewards_each_element_once() -> None:
    env = KitchenEnv(["light switch", "slide cabinet"], noise="none")
    env.reset(seed=0)
    env.data.qpos[17:19] = -0.69, -0.05
    assert [env.step(np.zeros(9))[1:3] for _ in range(2)] == [(1.0, False), (0.0, False)]
    env.data.qpos[17:20] = 0, 0, 0.37  # undone, and the other one done
    assert env.step(np.zeros(9))[1:3] == (1.0, True)
    env.reset(seed=0)
    assert env.step(np.zeros(9))[4]["episode_task_completions"] == []


# ----------------------------------------------------------------------------------------------------------- maze2d


def test_maze_free_motion_is_damped_newton_in_numpy() -> None:
    """Semi-implicit Euler with implicit damping, as MuJoCo's `Euler` does it, for a ball of water-like density."""
    env = Maze2dEnv("umaze")
    observation, _ = env.reset(seed=2)
    env.data.qpos[:], env.data.qvel[:] = (3.0, 1.9), (0.3, -0.2)
    position, velocity = np.array([3.0, 1.9]), np.array([0.3, -0.2])
    mass, damping, gear, dt = 1000 * 4 / 3 * np.pi * 0.1**3, 1.0, 100.0, 0.01
    for action in np.random.default_rng(0).uniform(-1.4, 1.4, (12, 2)):
        velocity = velocity + dt * (gear * np.clip(action, -1, 1) - damping * velocity) / (mass + dt * damping)
        position = position + dt * velocity
        observation = env.step(action)[0]
    np.testing.assert_allclose(observation, [*position, *velocity], rtol=1e-9)


def test_maze_velocity_is_clipped_before_each_step() -> None:
    env = Maze2dEnv("umaze")
    env.reset(seed=0)
    env.data.qpos[:], env.data.qvel[:] = (3.0, 1.0), (0.0, 50.0)
    assert env.step(np.zeros(2))[0][3] == pytest.approx(5 * (1 - 0.01 / (4.18879 + 0.01)), rel=1e-5)


@pytest.mark.parametrize("maze", ["umaze", "medium", "large"])
def test_maze_walls_hold(maze: str) -> None:
    """Pushed at full force in changing directions, the ball's centre stays out of every wall."""
    env = Maze2dEnv(maze)
    env.reset(seed=0)
    walls = np.argwhere(parse_map(maze) == "#") - 0.2
    rng = np.random.default_rng(0)
    for _ in range(20):
        push = rng.choice([-1.0, 1.0], 2)
        for _ in range(60):
            position = env.step(push)[0][:2]
            assert (np.abs(position - walls).max(1) > 0.5).all()


@pytest.mark.parametrize(
    ("maze", "goal", "away", "cells"),
    [("umaze", (1, 1), (0, 1), 7), ("medium", (6, 6), (-1, 0), 26), ("large", (7, 9), (0, 1), 46)],
)
def test_maze_starts_and_reward(maze: str, goal: tuple[int, int], away: tuple[int, int], cells: int) -> None:
    env = Maze2dEnv(maze)
    np.testing.assert_array_equal(env.goal, goal)
    starts = np.array([env.reset(seed=seed)[0] for seed in range(300)])
    assert np.abs(starts[:, :2] - starts[:, :2].round()).max() <= 0.1
    assert starts[:, 2:].std() == pytest.approx(0.1, rel=0.1)
    assert len(np.unique(starts[:, :2].round(), axis=0)) == len(free_cells(maze)) == cells
    env.data.qpos[:], env.data.qvel[:] = np.add(goal, np.multiply(0.495, away)), np.multiply(5, away)
    rewards = [env.step(np.zeros(2))[1:4] for _ in range(2)]
    assert rewards == [(1.0, False, False), (0.0, False, False)]  # judged before the step


# -------------------------------------------------------------------------------------------------------------- toy


def test_toy_rewards_of_table_1() -> None:
    actions = np.array([-1.6, -1.5, -1, -0.5, -0.4, 0, 0.4, 0.5, 1, 1.5, 1.6])
    np.testing.assert_array_equal(toy_reward(actions), [0, 1, 1, 1, 0, 0, 0, 10, 10, 10, 0])
    env = gym.make("lapo/ToyNavigation-v0")
    env.reset(seed=0)
    assert env.step(np.array([1.0], np.float32))[1:3] == (10.0, True)
