"""AntMaze: the model, the planner and the collector."""

from __future__ import annotations

from collections import deque

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.ant_v5 import AntEnv
from places import SHARED

from lapo_tf.data.collectors.antmaze import GoalPolicy, collect_antmaze, next_cell, run_episode
from lapo_tf.data.readers import load_dataset
from lapo_tf.data.relabel import relabel_dataset
from lapo_tf.envs.antmaze import MAPS, AntMazeEnv, build_model, cell_of, cell_origin, goal_of, parse_map, reached
from lapo_tf.errors import UserError
from lapo_tf.tasks import load_task

POLICY = SHARED / "data" / "ant_goal_policy.npz"
needs_policy = pytest.mark.skipif(not POLICY.is_file(), reason="needs ../shared/data/ant_goal_policy.npz")


@pytest.mark.parametrize("maze", MAPS)
def test_the_model(maze):
    """gymnasium's ant with D4RL's numbers, and a box for each wall."""
    model, ant = build_model(maze), AntEnv().model
    assert model.opt.timestep == 0.02
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    np.testing.assert_array_equal(model.actuator_gear[:, 0], 30.0)
    np.testing.assert_array_equal(model.actuator_ctrlrange, [[-1.0, 1.0]] * 8)
    np.testing.assert_array_equal(model.actuator_trnid, ant.actuator_trnid)
    np.testing.assert_allclose(model.body_mass, ant.body_mass)
    np.testing.assert_allclose(model.geom_solref, [[0.02, 1.0]] * model.ngeom)
    np.testing.assert_allclose(model.geom_solimp[:, :3], [[0.8, 0.8, 0.01]] * model.ngeom)
    boxes = model.geom_type == mujoco.mjtGeom.mjGEOM_BOX
    assert boxes.sum() == (parse_map(maze) == "#").sum()
    np.testing.assert_array_equal(model.geom_size[boxes], [[2.0, 2.0, 1.0]] * boxes.sum())
    corner = model.geom_pos[boxes].min(0)
    np.testing.assert_array_equal(corner, [-4.0, -4.0, 1.0])  # the start cell is the second of the second row


def test_cells_and_goals():
    assert cell_origin("umaze", (3, 1)).tolist() == [0.0, 8.0]
    np.testing.assert_array_equal(goal_of("umaze"), [0.75, 8.75])
    np.testing.assert_array_equal(goal_of("medium"), [20.75, 20.75])
    np.testing.assert_array_equal(goal_of("large"), [32.75, 24.75])
    assert [cell_of(np.array(p)) for p in ([0.0, 0.0], [-1.0, 3.9], [4.1, 9.0])] == [(1, 1), (1, 1), (3, 2)]
    assert reached(np.array([[0.75, 9.2, 5.0], [0.75, 9.3, 0.0]]), goal_of("umaze")).tolist() == [True, False]


@pytest.mark.parametrize("maze", MAPS)
def test_the_planner_takes_shortest_paths(maze):
    cells = parse_map(maze)
    free = [(int(i), int(j)) for i, j in np.argwhere(cells != "#")]
    for target in free:
        distance, queue = {target: 0}, deque([target])
        while queue:
            i, j = queue.popleft()
            for cell in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if cells[cell] != "#" and cell not in distance:
                    distance[cell] = distance[i, j] + 1
                    queue.append(cell)
        assert next_cell(maze, target, target) == target
        for cell in free:
            if cell != target:
                assert distance[next_cell(maze, cell, target)] == distance[cell] - 1


def test_episodes_end_at_the_goal():
    env = gym.make("lapo/AntMazeUmaze-v0")
    observation, _ = env.reset(seed=0, options={"position": goal_of("umaze") + np.array([0.7, 0.0])})
    assert observation.shape == (29,)
    assert not reached(observation, goal_of("umaze"))
    assert env.step(np.zeros(8))[1:4] == (0.0, False, False)
    env.reset(seed=0, options={"position": goal_of("umaze")})
    assert env.step(np.zeros(8))[1:4] == (1.0, True, False)
    starts = np.array([env.reset(seed=seed)[0] for seed in range(30)])
    assert np.all(np.abs(starts[:, :2]) <= 0.1)
    assert starts[:, 15:].std() == pytest.approx(0.1, rel=0.15)
    np.testing.assert_array_equal(env.reset(seed=3)[0], starts[3])
    assert env.spec is not None
    assert env.spec.max_episode_steps == 700


def test_walls_are_solid():
    env = AntMazeEnv("umaze")
    env.reset(seed=0)
    for _ in range(40):
        env.data.qvel[:2] = 0.0, 3.0  # pushed against the wall between both corridors
        env.step(np.zeros(8))
        assert env.data.qpos[1] < 2.0


@needs_policy
def test_the_policy_against_numpy():
    """Its mean action by hand, and its noise."""
    policy, rng = GoalPolicy(POLICY), np.random.default_rng(0)
    observation, direction = rng.normal(size=29), np.array([3.0, -4.0])
    w = np.load(POLICY)
    x = np.concatenate([observation[2:], [6.0, -8.0]])
    for layer in ("fc0", "fc1"):
        x = np.maximum(w[f"{layer}/weight"] @ x + w[f"{layer}/bias"], 0)
    mean = w["last_fc/weight"] @ x + w["last_fc/bias"]
    std = np.exp(np.clip(w["last_fc_log_std/weight"] @ x + w["last_fc_log_std/bias"], -20, 2))
    drawn = np.arctanh(np.clip([policy.sample(observation, direction, rng) for _ in range(400)], -0.999999, 0.999999))
    inside = np.abs(mean) + 4 * std < 5  # tanh is not saturated
    assert inside.any()
    np.testing.assert_allclose(drawn.mean(0)[inside], mean[inside], atol=5 * std.max() / 20)
    np.testing.assert_allclose(drawn.std(0)[inside], std[inside], rtol=0.25)


@needs_policy
def test_collecting(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.setattr("lapo_tf.data.collectors.antmaze.EPISODE_STEPS", 150)
    done = collect_antmaze("umaze", POLICY, 1500, seed=5, progress=False)
    assert (done.steps, done.episodes) == (1500, 10)
    assert "% of the episodes reached their goal" in done.note
    data = load_dataset(done.dataset_id)
    t = data.transitions()
    close = np.linalg.norm(t["next_observations"][:, :2] - goal_of("umaze"), axis=1) <= 0.5
    np.testing.assert_array_equal(t["rewards"], close)
    np.testing.assert_array_equal(t["terminals"], close)
    assert np.abs(t["actions"]).max() <= 1.0
    first = data.observations[data.episodes[:, 0], :2]
    assert len(np.unique(np.round(first / 4), axis=0)) > 3  # many starts
    # Ants walk: 15 s bring most of them some metres further.
    moved = np.linalg.norm(data.observations[data.episodes.sum(1) - 1, :2] - first, axis=1)
    assert np.median(moved) > 3.0
    observations, actions, _ = run_episode(AntMazeEnv("umaze"), GoalPolicy(POLICY), 5 * 1_000_003 + 2, 150)
    np.testing.assert_array_equal(t["actions"][300:450], actions)
    np.testing.assert_array_equal(t["observations"][300:450], observations[:-1])
    with pytest.raises(UserError, match="exists"):
        collect_antmaze("umaze", POLICY, 1500, progress=False)
    # Relabelled for its own goal it stays as it is, for another maze's it does not.
    relabel_dataset(done.dataset_id, "lapo/again-v0", task=load_task("antmaze-umaze-diverse"), progress=False)
    again = load_dataset("lapo/again-v0").transitions()
    np.testing.assert_array_equal(again["rewards"], t["rewards"])
    np.testing.assert_array_equal(again["terminals"], t["terminals"])
    relabel_dataset(done.dataset_id, "lapo/other-v0", task=load_task("antmaze-medium-diverse"), progress=False)
    assert not load_dataset("lapo/other-v0").rewards.any()  # 20 m away


def test_names():
    """Those of the MuJoCo model's joints, in the order of the observation."""
    env = load_task("antmaze-umaze-diverse").make_env()
    names = load_task("antmaze-umaze-diverse").names(env)
    env.close()
    assert [o.name for o in names.observations[:4]] == [f"root_{n}/position" for n in ("x", "y", "z", "qw")]
    assert [o.name for o in names.observations[7:9]] == ["hip_1/position", "ankle_1/position"]
    assert [o.name for o in names.observations[15:22]][-2:] == ["root_rz/velocity", "hip_1/velocity"]
    assert (names.actions[0].joint, names.actions[0].scale, names.control_rate) == ("hip_4", 30.0, 10.0)
    walker = load_task("walker2d-medium").make_env()
    named = load_task("walker2d-medium").names(walker)
    walker.close()
    assert [o.name for o in named.observations[:3]] == ["rootz/position", "rooty/position", "thigh_joint/position"]
    assert [(o.name, o.unit) for o in named.observations[8:10]] == [
        ("rootx/velocity", "m/s"),
        ("rootz/velocity", "m/s"),
    ]


def test_policies_that_are_none(tmp_path):
    with pytest.raises(UserError, match="no such policy file"):
        GoalPolicy(tmp_path / "nothing.npz")
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    with pytest.raises(UserError, match=r"no goal-reaching policy .*expected layers fc0"):
        GoalPolicy(tmp_path / "other.npz")
    shapes = {"fc0": (4, 7), "fc1": (4, 4), "last_fc": (2, 4), "last_fc_log_std": (2, 4)}
    arrays = {f"{k}/weight": np.zeros(s) for k, s in shapes.items()}
    arrays |= {f"{k}/bias": np.zeros(s[0]) for k, s in shapes.items()}
    np.savez(tmp_path / "small.npz", **arrays)
    with pytest.raises(UserError, match="7 numbers to 2: expected 29"):
        GoalPolicy(tmp_path / "small.npz")


def test_the_task():
    task = load_task("antmaze-medium-diverse")
    assert (task.paper["lapo"], task.normalized(0.5)) == (85.67, 50.0)
