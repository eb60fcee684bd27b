"""D4RL's Maze2d data: one continuous run of a way-point controller."""

# pyright: reportAttributeAccessIssue=false
# (mujoco is compiled and has no type stubs)

from __future__ import annotations

import time
from collections.abc import Iterator

import mujoco
import numpy as np
from gymnasium.spaces import Box

from lapo_tf.data.collectors.base import Collected, check
from lapo_tf.data.dataset import Episode
from lapo_tf.data.store import write_dataset
from lapo_tf.envs import MAZE_MAX_STEPS
from lapo_tf.envs.maze2d import MAX_SPEED, build_model, free_cells, goal_of, goal_reward, parse_map
from lapo_tf.progress import Bar, progress_bar

MAZE_STEPS: dict[str, int] = {"umaze": 1_000_000, "medium": 2_000_000, "large": 4_000_000}
"""Sizes of D4RL's Maze2d data sets."""

ACTION_NOISE = 0.5  # standard deviation of the noise added to the controller's action, clipped before and after
REACHED = 0.1  # a way-point counts as reached within this distance, at less than this displacement per step


class WaypointController:
    """D4RL's expert for mazes: a PD controller along the shortest path through the grid.

    Value iteration with one rewarded cell and a discount below 1 (D4RL's 0.99) walks a shortest path and breaks ties by
    the order of its actions, so a breadth-first search gives the same way-points. All but the last are moved by
    -U(0, 0.2): the middle of a cell is 0.2 below its index (see `lapo_tf.envs.maze2d`).
    """

    MOVES = ((0, -1), (0, 1), (-1, 0), (1, 0))  # D4RL's order: up, down, left, right

    def __init__(self, maze: str, rng: np.random.Generator) -> None:
        self._free = {(int(i), int(j)) for i, j in free_cells(maze)}
        self._rows, self._columns = parse_map(maze).shape
        self._rng = rng
        self._goal: tuple[int, int] | None = None
        self._distances: dict[tuple[int, int], dict[tuple[int, int], int]] = {}
        self._waypoints: list[tuple[float, float]] = []
        self._index = 0
        self._last = (0.0, 0.0)

    def head_for(self, x: float, y: float, goal: tuple[int, int]) -> None:
        """Plan from a position to a goal cell; the plan is kept where the goal stays the same."""
        if goal == self._goal:
            return
        cell = self._last = (round(x), round(y))
        self._goal, self._index, self._waypoints = goal, 0, []
        distance = self._distances.setdefault(goal, self._search(goal))
        while cell != goal:
            cell = min(self._neighbours(cell), key=lambda c: distance[c])
            shift = 0.2 * self._rng.random(2) if cell != goal else (0.0, 0.0)
            self._waypoints.append((cell[0] - shift[0], cell[1] - shift[1]))
        if not self._waypoints:
            self._waypoints.append(goal)

    def act(self, x: float, y: float, vx: float, vy: float) -> tuple[float, float, bool]:
        """Action (x, y) in [-1, 1] for a state, and whether the goal is reached."""
        assert self._goal is not None
        settled = (x - self._last[0]) ** 2 + (y - self._last[1]) ** 2 < REACHED**2
        solved = settled and (x - self._goal[0]) ** 2 + (y - self._goal[1]) ** 2 < REACHED**2
        wx, wy = self._goal if solved else self._waypoints[self._index]
        if settled and not solved and (x - wx) ** 2 + (y - wy) ** 2 < REACHED**2:
            self._index += 1
        self._last = (x, y)
        return _clip(10.0 * (wx - x) - vx), _clip(10.0 * (wy - y) - vy), solved

    def _neighbours(self, cell: tuple[int, int]) -> list[tuple[int, int]]:
        around = [(cell[0] + i, cell[1] + j) for i, j in self.MOVES]
        return [c for c in around if c in self._free]

    def _search(self, goal: tuple[int, int]) -> dict[tuple[int, int], int]:
        """Steps to the goal from every free cell."""
        distance, queue = {goal: 0}, [goal]
        for cell in queue:  # grows while it is read
            for neighbour in self._neighbours(cell):
                if neighbour not in distance:
                    distance[neighbour] = distance[cell] + 1
                    queue.append(neighbour)
        return distance


def _clip(value: float) -> float:
    return min(max(value, -1.0), 1.0)


def run_maze2d(maze: str, steps: int, seed: int, progress: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One continuous run of the noisy way-point controller towards one random goal cell after another.

    Args:
        maze: `umaze`, `medium` or `large`.
        steps: Length of the run.
        seed: The same seed gives the same run.
        progress: Show a progress bar.

    Returns:
        Observations [steps + 1, 4], clipped actions [steps, 2] (both float32), and the ends of episodes: indices [n] of
        the steps at which a goal was reached or D4RL's time limit passed, the run's last step included.
    """
    rng = np.random.default_rng(seed)
    model = build_model(maze)
    data = mujoco.MjData(model)
    qpos, qvel, ctrl = data.qpos, data.qvel, data.ctrl  # views
    cells = [(int(i), int(j)) for i, j in free_cells(maze)]
    qpos[:] = cells[rng.integers(len(cells))] + rng.uniform(-0.1, 0.1, 2)
    qvel[:] = 0.1 * rng.standard_normal(2)
    controller = WaypointController(maze, rng)
    controller.head_for(qpos[0], qpos[1], cells[rng.integers(len(cells))])
    observations = np.empty((steps + 1, 4), np.float32)
    actions = np.empty((steps, 2), np.float32)
    ends: list[int] = []
    limit, began = MAZE_MAX_STEPS[maze], 0
    chunk = 10_000
    with progress_bar(total=steps, desc=f"maze2d-{maze}", unit="step", unit_scale=True, disable=not progress) as bar:
        for first in range(0, steps, chunk):
            count = min(chunk, steps - first)
            noise = (ACTION_NOISE * rng.standard_normal((count, 2))).tolist()
            for t in range(first, first + count):
                (x, y), (vx, vy) = qpos.tolist(), qvel.tolist()
                observations[t] = x, y, vx, vy
                ax, ay, solved = controller.act(x, y, vx, vy)
                nx, ny = noise[t - first]
                actions[t] = ctrl[:] = _clip(ax + nx), _clip(ay + ny)
                if abs(vx) > MAX_SPEED or abs(vy) > MAX_SPEED:
                    np.clip(qvel, -MAX_SPEED, MAX_SPEED, out=qvel)
                mujoco.mj_step(model, data)
                if solved or t + 1 - began >= limit:
                    ends.append(t)
                    began = t + 1
                    controller.head_for(qpos[0], qpos[1], cells[rng.integers(len(cells))])
            bar.update(count)
    observations[steps] = *qpos, *qvel
    if not ends or ends[-1] != steps - 1:
        ends.append(steps - 1)
    return observations, actions, np.array(ends)


def collect_maze2d(
    maze: str,
    steps: int | None = None,
    seed: int = 0,
    dataset_id: str | None = None,
    *,
    force: bool = False,
    progress: bool = True,
) -> Collected:
    """Collect a Maze2d data set by D4RL's recipe into a local Minari data set.

    The run is cut into episodes where goals were reached; rewards are relabelled for the maze's fixed evaluation goal.

    Args:
        maze: `umaze`, `medium` or `large`.
        steps: Transitions; D4RL's number by default.
        seed: The same seed gives the same data.
        dataset_id: Minari id; `lapo/maze2d-<maze>-v0` by default.
        force: Replace an existing data set.
        progress: Show progress bars.
    """
    dataset_id = dataset_id or f"lapo/maze2d-{maze}-v0"
    goal = goal_of(maze)
    steps = MAZE_STEPS[maze] if steps is None else steps
    check(dataset_id, steps, "--steps", force)
    started = time.perf_counter()
    observations, actions, ends = run_maze2d(maze, steps, seed, progress)
    rewards = goal_reward(observations[:-1], goal)

    def episodes(bar: Bar) -> Iterator[Episode]:
        for first, end in zip(np.concatenate([[0], ends[:-1] + 1]), ends, strict=True):
            yield Episode(observations[first : end + 2], actions[first : end + 1], rewards[first : end + 1], False)
            bar.update()

    description = (
        f"{steps} steps of D4RL's Maze2d way-point controller (seed {seed}) in the {maze} maze, one continuous run cut "
        "where goals were reached, rewards for the fixed evaluation goal. Made by lapo_tf; not D4RL's own file."
    )
    with progress_bar(total=len(ends), desc="writing", unit="episode", disable=not progress) as bar:
        written = write_dataset(
            dataset_id,
            episodes(bar),
            action_space=Box(-1.0, 1.0, (2,), np.float32),
            env_id=f"lapo/Maze2d{maze.capitalize()}-v0",
            algorithm="D4RL way-point controller",
            description=description,
        )
    note = f"{steps / len(ends):.1f} steps between goals"
    return Collected(dataset_id, written.steps, written.episodes, time.perf_counter() - started, note)
