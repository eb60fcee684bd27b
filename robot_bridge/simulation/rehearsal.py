"""A rehearsal: server, simulated robot and policy node, with faults to provoke and a record of what moved.

with Rehearsal("policy/") as rehearsal:
    rehearsal.wait(1.0)
    rehearsal.enable()
    rehearsal.wait(3.0)
    rehearsal.sensor("silent")
    rehearsal.wait_for("fault")
print(rehearsal.record.states)

Simulation and node run in processes of their own, as in `robot_bridge.demo`, so that a notebook does not hold them up.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robot_bridge.errors import UserError
from robot_bridge.node.diagnostics import DIAGNOSTICS, DIAGNOSTICS_TYPE
from robot_bridge.robot.config import load_robot
from robot_bridge.robot.description import Description
from robot_bridge.robot.robot import JOINT_STATE, OUTPUT_TYPES
from robot_bridge.robot.units import QUANTITIES
from robot_bridge.server import RosbridgeServer
from robot_bridge.simulation.processes import Processes, Watcher, default_robot, read
from robot_bridge.transport import Message

START_WITHIN = 120.0  # s for the child processes; a busy machine takes its time
LOCK_STEP_WITHIN = 600.0  # s for an episode
POLL = 0.02  # s
QUEUE = 100  # messages kept where the record falls behind
Quantity = Literal["velocity", "position"]
Sensor = Literal["good", "silent", "frozen", "nan", "mistyped", "reversed", "elsewhere"]


@dataclass
class Record:
    """What came over the bridge, at times in seconds since the record began."""

    joints: list[str]
    """In the order of the numbers below."""
    commands: list[tuple[float, list[float]]] = field(default_factory=list)
    """What the node commanded, a number per joint: a velocity (rad/s, m/s) or an effort, as the robot's config says."""
    positions: list[tuple[float, list[float]]] = field(default_factory=list)
    """Where the simulated joints really were, rad or m, whatever the sensor said."""
    velocities: list[tuple[float, list[float]]] = field(default_factory=list)
    """How fast they really moved, rad/s or m/s."""
    states: list[tuple[float, str, str]] = field(default_factory=list)
    """The node's states and their reasons, as they changed."""
    events: list[tuple[float, str]] = field(default_factory=list)
    """What was done to the robot."""
    end: float = 0.0

    def commanded(self, joint: str) -> tuple[np.ndarray, np.ndarray]:
        """Times [n] and values [n] of a joint's commands."""
        return _column(self.commands, self.joints.index(joint))

    def moved(self, joint: str, quantity: Quantity = "velocity") -> tuple[np.ndarray, np.ndarray]:
        """Times [n] and velocities or positions [n] of a joint."""
        rows = self.velocities if quantity == "velocity" else self.positions
        return _column(rows, self.joints.index(joint))

    def when(self, event: str) -> float:
        """When something was first done to the robot."""
        return next(time for time, what in self.events if what == event)

    def speeds(self, begin: float = 0.0, end: float = np.inf) -> dict[str, float]:
        """The highest speed of each joint between two times; 0 if nothing was heard."""
        rows = [np.abs(values) for time, values in self.velocities if begin <= time <= end]
        highest = np.max(rows, axis=0) if rows else np.zeros(len(self.joints))
        return dict(zip(self.joints, highest.tolist(), strict=True))


def _column(rows: list[tuple[float, list[float]]], i: int) -> tuple[np.ndarray, np.ndarray]:
    return np.array([t for t, _ in rows]), np.array([values[i] for _, values in rows])


class Rehearsal:
    """Starts on entering, ends all on leaving; nothing moves before `enable`.

    Attributes:
        record: what has happened so far.
        server: the embedded server, which can be killed, frozen and started again.
    """

    def __init__(self, policy: Path | str, robot: str | None = None, *, seed: int = 0) -> None:
        """
        Args:
            policy: a bundle's folder.
            robot: a config; default: that of the task's simulation, which must be commanded by an array.
            seed: of the first episode.

        Raises:
            UserError: no such bundle, or no config for its task.
        """
        self._policy = str(policy)
        description = Description.read(Path(policy))
        self._seed = seed
        self._robot = robot or default_robot(description)
        output = load_robot(self._robot).outputs[0]
        if output.kind not in QUANTITIES:
            raise UserError(f"{self._robot} is commanded by {output.kind}: expected velocity, position or effort")
        self._output = output
        self.record = Record(list(output.joints))
        self.server = RosbridgeServer(port=0)
        self._processes = Processes()
        self._watcher: Watcher
        self._began = time.monotonic()

    def __enter__(self) -> Rehearsal:
        self.server.start()
        try:
            at = ["--url", self.server.url]
            self._processes.start("sim", ["--policy", self._policy, "--seed", str(self._seed), *at])
            self._watcher = Watcher(self.server.url)
            self._until(lambda: bool(self._watcher.sim), START_WITHIN, "the simulation says nothing")
            self._processes.start("run", ["--policy", self._policy, "--robot", self._robot, *at])
            self._until(lambda: bool(self._watcher.node), START_WITHIN, "the policy node says nothing")
            transport = self._watcher.transport
            self._began = time.monotonic()
            kind = OUTPUT_TYPES[self._output.kind]
            transport.subscribe(self._output.topic, kind, self._on_command, queue_length=QUEUE)
            transport.subscribe("/sim/truth", JOINT_STATE, self._on_truth, queue_length=QUEUE)
            transport.subscribe(DIAGNOSTICS, DIAGNOSTICS_TYPE, self._on_node, queue_length=QUEUE)
            transport.advertise("/sim/sensor", "std_msgs/msg/String")
            self._until(lambda: bool(self.record.states and self.record.velocities), START_WITHIN, "nothing is heard")
            _, state, reason = self.record.states[-1]
            self._began, self.record = time.monotonic(), Record(self.record.joints, states=[(0.0, state, reason)])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.record.end = self._now()
        if hasattr(self, "_watcher"):
            self._watcher.transport.close()
        self._processes.stop_all()
        self.server.stop()

    # What can be done to it -------------------------------------------------------------------------------------------

    def enable(self, within: float = 10.0) -> None:
        """Let the policy move the robot.

        Raises:
            UserError: the node refuses for so long, with its reason.
        """
        deadline, why = time.monotonic() + within, "no answer"
        while time.monotonic() < deadline:
            begin = self._now()
            done, why = self._watcher.call("/policy/enable")
            if done:
                self.record.events.append((begin, "enabled"))
                return
            time.sleep(0.1)
        raise UserError(f"not enabled within {within:g} s: {why}")

    def disable(self) -> None:
        """Let it decelerate and stand."""
        self.record.events.append((self._now(), "disabled"))
        self._watcher.call("/policy/disable")

    def sensor(self, sensor: Sensor) -> None:
        """What becomes of the joints' measured state from now on."""
        self.record.events.append((self._now(), f"sensor {sensor}"))
        self._watcher.transport.publish("/sim/sensor", {"data": sensor})

    def wait(self, seconds: float) -> None:
        """Let it run."""
        time.sleep(seconds)
        self._check()

    def wait_for(self, state: str, within: float = 20.0) -> None:
        """Let it run until the node is in a state: inactive, active, stopping or fault.

        Raises:
            UserError: it does not come.
        """
        self._until(lambda: self.record.states[-1][1] == state, within, f"the node is not in state '{state}'")

    # Listening --------------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _on_command(self, message: Message) -> None:
        self.record.commands.append((self._now(), message["data"]))

    def _on_truth(self, message: Message) -> None:
        now = self._now()
        self.record.positions.append((now, message["position"]))
        self.record.velocities.append((now, message["velocity"]))

    def _on_node(self, message: Message) -> None:
        state, _, reason = message["status"][0]["message"].partition(": ")
        if not self.record.states or (state, reason) != self.record.states[-1][1:]:
            self.record.states.append((self._now(), state, reason))

    def _until(self, condition: Any, within: float, otherwise: str) -> None:
        deadline = time.monotonic() + within
        while not condition():
            self._check()
            if time.monotonic() > deadline:
                raise UserError(f"{otherwise} after {within:g} s")
            time.sleep(POLL)

    def _check(self) -> None:
        if (name := self._processes.failed()) is not None:
            raise UserError(f"{name} ended with: " + " / ".join(self._processes.lines[name][-3:]))


def lock_step(policy: Path | str, episodes: int = 1, seed: int = 0) -> dict[int, float]:
    """A bundle's normalized scores through server, simulation and node in lock-step, by the seeds of the episodes.

    Args:
        policy: the bundle's folder.
        episodes: how many.
        seed: episode i is reset with `seed + i`, as by `lapo_tf.evaluate`.

    Raises:
        UserError: no such bundle, or a process that failed.
    """
    processes = Processes()
    with tempfile.TemporaryDirectory() as temporary, RosbridgeServer(port=0) as server:
        results = Path(temporary) / "sim.json"
        at = ["--url", server.url, "--lock-step"]
        sim = [
            "--policy",
            str(policy),
            "--seed",
            str(seed),
            "--episodes",
            str(episodes),
            "--results",
            str(results),
            *at,
        ]
        try:
            processes.start("sim", sim)
            processes.start("run", ["--policy", str(policy), *at])
            deadline = time.monotonic() + LOCK_STEP_WITHIN * episodes
            while not processes.ended("sim"):
                if (name := processes.failed()) is not None:
                    break
                if time.monotonic() > deadline:
                    raise UserError(f"the simulation is not done after {LOCK_STEP_WITHIN * episodes:g} s")
                time.sleep(POLL)
            if (name := processes.failed()) is not None:
                raise UserError(f"{name} ended with: " + " / ".join(processes.lines[name][-3:]))
        finally:
            processes.stop_all()
        found = read(results)
    return dict(zip(found["seeds"], found["scores"], strict=True))
