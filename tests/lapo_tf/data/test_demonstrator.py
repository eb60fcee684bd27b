"""The kitchen's scripted demonstrator, judged by the simulator's true state."""

from itertools import combinations

import mujoco
import numpy as np
import pytest

from lapo_tf.data.collectors.kitchen import run_episode
from lapo_tf.data.collectors.kitchen_arm import Arm, Scene, Style, facing
from lapo_tf.data.collectors.kitchen_demonstrator import HABITS, USUAL_ORDER, Demonstrator, draw_elements
from lapo_tf.envs import MIXED_TASKS
from lapo_tf.envs.kitchen import ELEMENT_GOALS, ELEMENT_INDICES, KitchenEnv
from lapo_tf.errors import UserError


@pytest.fixture(scope="module")
def env() -> KitchenEnv:
    return KitchenEnv(tuple(ELEMENT_GOALS))


def demonstrate(env: KitchenEnv, elements: list[str], seed: int) -> np.ndarray:
    """Actions [T, 9] until the demonstrator is done; the environment is left in its last state."""
    observation, _ = env.reset(seed=seed)
    demonstrator = Demonstrator(env.model, elements, np.random.default_rng(seed))
    actions = []
    while (action := demonstrator.act(observation)) is not None and len(actions) < 200:
        actions.append(action)
        observation = env.step(action)[0]
    return np.array(actions)


@pytest.mark.parametrize("elements", [["light switch", "microwave"], ["kettle"]])
def test_elements_reach_their_goals(env: KitchenEnv, elements: list[str]) -> None:
    reached = []
    for seed in range(8):
        actions = demonstrate(env, elements, seed)
        reached.append([np.linalg.norm(env.data.qpos[ELEMENT_INDICES[e]] - ELEMENT_GOALS[e]) < 0.3 for e in elements])
        assert len(actions) < 120 * len(elements)
        assert np.abs(actions).max() <= 1
        assert 0.05 < np.diff(actions, axis=0).std() < 0.15  # the recorded demonstrations: 0.094
    assert np.all(np.mean(reached, axis=0) >= 0.75)  # of each element; they fail now and then, as people do


def test_episodes_differ_and_repeat(env: KitchenEnv) -> None:
    first, again, other = (demonstrate(env, ["light switch"], seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    steps = min(len(first), len(other))
    assert np.abs(first[:steps] - other[:steps]).mean() > 0.03


def test_inverse_kinematics_reach_the_hand_s_pose(env: KitchenEnv) -> None:
    scene = Scene(env.model)
    scene.see(np.zeros(21))
    arm = Arm(env.model, scene, Style(1.0, 0.0, 0.0), np.random.default_rng(0))
    data = mujoco.MjData(env.model)

    def hand(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        data.qpos[:7] = joints
        mujoco.mj_forward(env.model, data)
        return data.site("end_effector").xpos.copy(), data.site("end_effector").xmat.reshape(3, 3).copy()

    for name in ("light switch", "bottom burner", "slide cabinet"):
        posture = HABITS[name].posture
        position, rotation = hand(posture + 0.1)
        found, turned = hand(arm.solve(position, rotation, posture))
        np.testing.assert_allclose(found, position, atol=0.003)
        np.testing.assert_allclose(turned, rotation, atol=0.01)


def test_hand_s_orientation() -> None:
    np.testing.assert_allclose(facing()[:, 2], [0, 1, 0], atol=1e-12)  # forward
    np.testing.assert_allclose(facing()[:, 1], [1, 0, 0], atol=1e-12)  # from finger to finger
    assert facing(yaw=0.3)[0, 2] < 0  # to the left, which is -x
    assert facing(pitch=0.3)[2, 2] > 0
    np.testing.assert_allclose(facing(roll=np.pi / 2)[:, 1], [0, 0, -1], atol=1e-12)
    for rotation in (facing(0.3, 0.2, 0.1), facing(-1, 1, 2)):
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)


def test_drawn_elements() -> None:
    drawn = [draw_elements(np.random.default_rng(i)) for i in range(500)]
    assert all(len(set(elements)) == 4 for elements in drawn)
    assert len({frozenset(elements) for elements in drawn}) == 34  # of 35: never the mixed task itself
    assert not any(set(elements) == set(MIXED_TASKS) for elements in drawn)
    for elements in drawn:
        if {"slide cabinet", "hinge cabinet"} <= set(elements):
            assert elements.index("slide cabinet") < elements.index("hinge cabinet")
    assert {e for elements in drawn for e in elements} == set(ELEMENT_GOALS)
    ranks = [[USUAL_ORDER.index(e) for e in elements] for elements in drawn]
    swaps = [sum(a > b for a, b in combinations(rank, 2)) for rank in ranks]
    assert set(swaps) == {0, 1}  # inversions: at most two neighbours have changed places
    assert 0.05 < np.mean(swaps) < 0.15


def test_unknown_element(env: KitchenEnv) -> None:
    with pytest.raises(UserError, match="did you mean 'kettle'"):
        Demonstrator(env.model, ["ketle"], np.random.default_rng(0))


@pytest.mark.slow
def test_nine_episodes_in_ten_succeed(env: KitchenEnv) -> None:
    whole = [all(run_episode(env, 0, number).done()) for number in range(50)]
    assert np.mean(whole) >= 0.9
