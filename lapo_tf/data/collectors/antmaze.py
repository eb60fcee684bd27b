"""AntMaze data by D4RL's "diverse" recipe: an ant led through the maze by way-points, from many starts to many goals.

The walking is done by a goal-reaching policy from a file; the planner gives it the next way-point. Rewards and
terminals are relabelled for the evaluation's goal.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from gymnasium.spaces import Box

from lapo_tf import runtime
from lapo_tf.data.collectors.base import Collected, check
from lapo_tf.data.dataset import Episode
from lapo_tf.data.store import write_dataset
from lapo_tf.envs.antmaze import AntMazeEnv, cell_of, cell_origin, goal_of, parse_map, reached
from lapo_tf.errors import UserError
from lapo_tf.progress import progress_bar

STEPS = 1_000_000
"""Size of D4RL's AntMaze data sets."""
EPISODE_STEPS = 1001
"""Of every episode; reaching a goal does not end it."""
ACTION_NOISE = 0.2  # standard deviation of the noise added to the policy's sampled action, clipped afterwards
GOAL_DISTANCE = 10.0  # length that the direction to the way-point is scaled to, which the policy was trained with
LAYERS = ("fc0", "fc1", "last_fc", "last_fc_log_std")


class GoalPolicy:
    """A tanh-Gaussian policy 29 -> hidden -> hidden -> 8: joint state and the direction to a point, to torques."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: an .npz file with `<layer>/weight` [out, in] and `<layer>/bias` of the layers fc0, fc1, last_fc and
                last_fc_log_std.

        Raises:
            UserError: no such file, or not of that layout.
        """
        if not path.is_file():
            raise UserError(f"no such policy file: {path}; expected the goal-reaching ant's weights, an .npz file")
        try:
            with np.load(path) as file:
                names = [f"{layer}/{part}" for layer in LAYERS for part in ("weight", "bias")]
                self._weights = {name: file[name] for name in names}
        except (OSError, ValueError, KeyError) as error:
            layers = ", ".join(LAYERS)
            raise UserError(f"{path} is no goal-reaching policy ({error}): expected layers {layers}") from None
        ins, outs = self._weights["fc0/weight"].shape[1], self._weights["last_fc/weight"].shape[0]
        if (ins, outs) != (29, 8):
            raise UserError(f"{path} maps {ins} numbers to {outs}: expected 29 (27 of the ant, 2 of the goal) to 8")

    def sample(self, observation: np.ndarray, direction: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """An action [8] for an observation [29] and a direction [2], both in metres."""
        scaled = GOAL_DISTANCE * direction / max(float(np.linalg.norm(direction)), 1e-9)
        x = np.concatenate([observation[2:], scaled])
        for layer in ("fc0", "fc1"):
            x = np.maximum(self._linear(layer, x), 0.0)
        std = np.exp(np.clip(self._linear("last_fc_log_std", x), -20.0, 2.0))
        return np.tanh(self._linear("last_fc", x) + std * rng.standard_normal(8))

    def _linear(self, layer: str, x: np.ndarray) -> np.ndarray:
        return self._weights[f"{layer}/weight"] @ x + self._weights[f"{layer}/bias"]


@cache
def next_cell(maze: str, cell: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The cell after `cell` on a shortest path to `target`; `cell` itself if there is no path."""
    if cell == target:
        return target
    cells = parse_map(maze)
    seen, queue = {target}, [target]
    for current in queue:  # grows while it is read
        for i, j in ((0, -1), (0, 1), (1, 0), (-1, 0)):  # D4RL's order: left, right, down, up
            neighbour = current[0] + i, current[1] + j
            if neighbour == cell:
                return current
            if neighbour not in seen and cells[neighbour] != "#":
                seen.add(neighbour)
                queue.append(neighbour)
    return cell


def run_episode(
    env: AntMazeEnv, policy: GoalPolicy, seed: int, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One episode from a random free cell to one of the data's goal cells.

    Returns:
        Observations [steps + 1, 29] and actions [steps, 8], float32, and the goal's position [2].
    """
    rng = np.random.default_rng(seed)
    cells = parse_map(env.maze)
    starts, goals = np.argwhere(np.isin(cells, ("O", "R", "E"))), np.argwhere(np.isin(cells, ("g", "G")))
    start = cell_origin(env.maze, starts[rng.integers(len(starts))]) + rng.uniform(0.0, 1.0, 2)
    goal_cell = goals[rng.integers(len(goals))]
    goal = np.maximum(cell_origin(env.maze, goal_cell) + rng.uniform(0.0, 1.0, 2) + rng.uniform(0.0, 0.5, 2), 0.0)
    target = cell_of(goal)
    observation, _ = env.reset(seed=seed, options={"position": start})
    observations, actions = np.empty((steps + 1, 29), np.float32), np.empty((steps, 8), np.float32)
    for t in range(steps):
        waypoint_cell = next_cell(env.maze, cell_of(observation[:2]), target)
        waypoint = goal
        if waypoint_cell != target:
            waypoint = cell_origin(env.maze, waypoint_cell) + rng.uniform(0.0, 1.0, 2)
        action = policy.sample(observation, waypoint - observation[:2], rng)
        action = np.clip(action + ACTION_NOISE * rng.standard_normal(8), -1.0, 1.0)
        observations[t], actions[t] = observation, action
        observation = env.step(action)[0]
    observations[-1] = observation
    return observations, actions, goal


def collect_antmaze(
    maze: str,
    policy: Path,
    steps: int | None = None,
    seed: int = 0,
    dataset_id: str | None = None,
    *,
    force: bool = False,
    progress: bool = True,
) -> Collected:
    """Collect an AntMaze data set by D4RL's recipe into a local Minari data set.

    Args:
        maze: `umaze`, `medium` or `large`.
        policy: the goal-reaching policy's file, see `GoalPolicy`.
        steps: transitions, rounded up to whole episodes of 1,001; D4RL's 1 million by default.
        seed: the same seed gives the same data.
        dataset_id: Minari id; `lapo/antmaze-<maze>-diverse-v0` by default.
        force: replace an existing data set.
        progress: show a progress bar.

    Raises:
        UserError: no usable policy file, or the data set exists.
    """
    dataset_id = dataset_id or f"lapo/antmaze-{maze}-diverse-v0"
    steps = STEPS if steps is None else steps
    check(dataset_id, steps, "--steps", force)
    walker, goal, started = GoalPolicy(policy), goal_of(maze), time.perf_counter()
    number, successes = -(-steps // EPISODE_STEPS), 0

    def run(episode: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        env = AntMazeEnv(maze)  # type: ignore[arg-type]
        return run_episode(env, walker, seed * 1_000_003 + episode, EPISODE_STEPS)

    def episodes() -> Iterator[Episode]:
        nonlocal successes
        # MuJoCo releases Python's interpreter lock while it simulates: threads use all cores.
        with (
            ThreadPoolExecutor(runtime.cores()) as pool,
            progress_bar(total=number, desc=f"ants in {maze}", unit="episode", disable=not progress) as bar,
        ):
            for observations, actions, own_goal in pool.map(run, range(number)):
                successes += bool(reached(observations, own_goal).any())
                at_goal = reached(observations[1:], goal)
                yield Episode(observations, actions, at_goal.astype(np.float32), at_goal)
                bar.update()

    written = write_dataset(
        dataset_id,
        episodes(),
        action_space=Box(-1.0, 1.0, (8,), np.float32),
        env_id=f"lapo/AntMaze{maze.capitalize()}-v0",
        algorithm="way-points and a goal-reaching policy",
        description=f"{number} episodes of an ant led through the {maze} maze by way-points (seed {seed}), D4RL's "
        "diverse recipe, rewards for the fixed evaluation goal. Made by lapo_tf; not D4RL's own file.",
    )
    note = f"{100 * successes / number:.0f} % of the episodes reached their goal"
    return Collected(dataset_id, written.steps, written.episodes, time.perf_counter() - started, note)
