"""Logs of a robot, to try the importer with: two operators drive the ball of maze2d-umaze and record bags (MCAP).

    /joint_states                   sensor_msgs/JointState at 100 Hz: positions and velocities of x and y
    /effort_controller/commands     std_msgs/Float64MultiArray at 100 Hz: forces on x and y, from -1 to 1
    /job                            std_msgs/Int32: its number, said when a job begins
    /docked                         std_msgs/Bool, said when it changes: the ball is at the dock

Ann works at one end of the maze, where the dock is, Ben at the other. They meet in the middle; no job leads from one
end to the other. As in real logs, messages are received some milliseconds after their stamps, Ben's driver lists the
joints in another order, and his radio fails for a while.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco is compiled and has no type stubs)

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from lapo_tf.data.bags.reader import Stores, get_typestore
from lapo_tf.data.collectors.maze2d import WaypointController
from lapo_tf.envs.maze2d import GOAL_RADIUS, MAX_SPEED, build_model
from lapo_tf.errors import UserError

RATE = 100  # Hz
SHAKE = 1.0  # standard deviation of the hand's unsteadiness, in units of the largest force
STEADY = 0.9  # share of it that is left a step later
BEGIN = 1_700_000_000 * 10**9  # ns since the epoch
DOCK = (3.0, 1.0)
JOINT_STATES, COMMANDS, JOB, DOCKED = "/joint_states", "/effort_controller/commands", "/job", "/docked"
TYPES = {
    JOINT_STATES: "sensor_msgs/msg/JointState",
    COMMANDS: "std_msgs/msg/Float64MultiArray",
    JOB: "std_msgs/msg/Int32",
    DOCKED: "std_msgs/msg/Bool",
}


@dataclass(frozen=True)
class Operator:
    """Somebody who drives.

    Attributes:
        cells: where jobs lead to, one after the other at random.
        joints: how the driver lists them.
        silence: when the radio fails, as shares of the recording.
    """

    cells: tuple[tuple[int, int], ...]
    joints: tuple[str, str] = ("x", "y")
    silence: tuple[float, float] = (0.0, 0.0)


OPERATORS = {
    "ann": Operator(((3, 1), (3, 2), (3, 3), (2, 3))),
    "ben": Operator(((1, 1), (1, 2), (1, 3), (2, 3)), ("y", "x"), (0.40, 0.41)),
}


def record_maze_logs(folder: Path | str, minutes: float = 5.0, seed: int = 0) -> list[Path]:
    """Let every operator drive for `minutes` of simulated time.

    Args:
        folder: for the bags, `<operator>` each; made where it is missing.
        minutes: per operator.
        seed: the same seed gives the same bags.

    Returns:
        The bags.

    Raises:
        UserError: a bag is there already, or `minutes` is not above 0.
    """
    if minutes <= 0:
        raise UserError(f"minutes is {minutes}: expected a number above 0")
    bags = [Path(folder) / name for name in OPERATORS]
    if there := [str(bag) for bag in bags if bag.exists()]:
        raise UserError(f"{there[0]} exists already: give another folder")
    for number, (bag, operator) in enumerate(zip(bags, OPERATORS.values(), strict=True)):
        rng = np.random.default_rng([seed, number])
        bag.parent.mkdir(parents=True, exist_ok=True)
        _write(bag, operator, *drive(operator, round(minutes * 60 * RATE), rng), rng)
    return bags


def drive(operator: Operator, steps: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A run of jobs: observations [steps, 4] (x, y, velocities), forces [steps, 2], the job's number [steps]."""
    model = build_model("umaze")
    data = mujoco.MjData(model)
    qpos, qvel = data.qpos, data.qvel  # views
    qpos[:] = operator.cells[0] + rng.uniform(-0.1, 0.1, 2)
    controller = WaypointController("umaze", rng)
    observations, forces, jobs = np.empty((steps, 4)), np.empty((steps, 2)), np.empty(steps, np.int64)
    hand = SHAKE * np.sqrt(1 - STEADY**2) * rng.standard_normal((steps, 2))
    for t in range(1, steps):
        hand[t] += STEADY * hand[t - 1]
    done, job, goal = True, -1, operator.cells[0]
    for t in range(steps):
        if done:
            others = [cell for cell in operator.cells if cell != goal]
            job, goal = job + 1, others[rng.integers(len(others))]
            controller.head_for(qpos[0], qpos[1], goal)
        observations[t], jobs[t] = (*qpos, *qvel), job
        *wish, done = controller.act(qpos[0], qpos[1], qvel[0], qvel[1])
        forces[t] = data.ctrl[:] = np.clip(wish + hand[t], -1.0, 1.0)
        np.clip(qvel, -MAX_SPEED, MAX_SPEED, out=qvel)
        mujoco.mj_step(model, data)
    return observations, forces, jobs


def _write(
    bag: Path,
    operator: Operator,
    observations: np.ndarray,
    forces: np.ndarray,
    jobs: np.ndarray,
    rng: np.random.Generator,
) -> None:
    from rosbags.rosbag2 import StoragePlugin, Writer

    store = get_typestore(Stores.ROS2_HUMBLE)
    types: Any = store.types
    order = [("x", "y").index(joint) for joint in operator.joints]
    layout = types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    docked = np.linalg.norm(observations[:, :2] - DOCK, axis=1) <= GOAL_RADIUS
    late = (1e6 * rng.uniform(1.0, 3.0, (len(jobs), 2))).astype(np.int64)  # ns after the stamp, and after that
    silent = range(*(round(share * len(jobs)) for share in operator.silence))
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {topic: writer.add_connection(topic, kind, typestore=store) for topic, kind in TYPES.items()}

        def say(topic: str, time: int, *fields: Any) -> None:
            message = types[TYPES[topic]](*fields)
            writer.write(connections[topic], time, store.serialize_cdr(message, TYPES[topic]))

        for t, (state, force) in enumerate(zip(observations, forces, strict=True)):
            stamp = BEGIN + t * (10**9 // RATE)
            seen = stamp + int(late[t, 0])
            if t == 0 or jobs[t] != jobs[t - 1]:
                say(JOB, seen, int(jobs[t]))
            if t == 0 or docked[t] != docked[t - 1]:
                say(DOCKED, seen, bool(docked[t]))
            if t not in silent:
                time = types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
                header = types["std_msgs/msg/Header"](time, "")
                position, velocity = state[:2][order], state[2:][order]
                say(JOINT_STATES, seen, header, list(operator.joints), position, velocity, np.zeros(0))
            say(COMMANDS, seen + int(late[t, 1]), layout, force)
