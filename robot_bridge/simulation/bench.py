"""A policy node in a process of its own that moves an arm of two joints, and a record of all that the arm was told.

The arm is an ideal one, behind the simulation's topics and controllers. What is counted is what a real arm would have
had to obey: commands older than `STALE` by their stamps, commands outside of the limits of position, velocity or
acceleration, and commands to move.
"""

from __future__ import annotations

import itertools
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot_bridge.guards.limits import Array, JointLimits
from robot_bridge.guards.settings import GuardSettings
from robot_bridge.node.loop import run
from robot_bridge.node.outputs import senders
from robot_bridge.node.policy_node import EMPTY, STOP_ALL, PolicyNode
from robot_bridge.robot.bundle import ActionEntry, Description, ObservationEntry
from robot_bridge.robot.robot import JOINT_STATE, Input, Output, OutputKind, Robot
from robot_bridge.run import watch_signals
from robot_bridge.server import RosbridgeServer
from robot_bridge.simulation.controllers import Controller, Reference
from robot_bridge.simulation.processes import Watcher
from robot_bridge.simulation.simulation import Simulation
from robot_bridge.simulation.world import Step
from robot_bridge.transport import Message, RosbridgeTransport, TransportError

RATE = 50.0
JOINTS = ("a", "b")
STATES, COMMANDS, WHIMS, FLOOD = "/joint_states", "/arm/commands", "/wanderer", "/flood"
LIMITS = JointLimits(*(np.array([x, x]) for x in (-1.0, 1.0, 1.0, 5.0, 500.0)))
EFFORT = 2.0  # N m, of the policy at most
STALE = 0.25  # s; the transport lets nothing older than 0.2 s go, and the sockets take their time
START_WITHIN = 60.0  # s for a node's process; a busy machine takes its time


def robot(kind: OutputKind) -> Robot:
    """The arm, as a config for this kind of output would describe it."""
    return Robot(
        "arm",
        {joint: joint for joint in JOINTS},
        RATE,
        (Input(STATES, max_age=0.15),),
        (Output(kind, COMMANDS, JOINTS, 0.1),),
        None if kind == "effort" else LIMITS,
        guards=GuardSettings(max_lead=0.3),
    )


class Wanderer:
    """A policy that moves both joints to and fro for ever; see `robot_bridge.robot.bundle.Policy`."""

    def __init__(self, kind: OutputKind) -> None:
        self.effort = kind == "effort"
        self.whim = ""
        quantity, unit = ("effort", "N m") if self.effort else ("velocity", "rad/s")
        self.description = Description(
            task="to and fro",
            control_rate=RATE,
            observations=tuple(ObservationEntry(f"{j}/position", "rad", -1, 1, ()) for j in JOINTS),
            actions=tuple(ActionEntry(j, quantity, unit, 1.0, -EFFORT, EFFORT) for j in JOINTS),
            novelty=(),
            sha256={},
        )

    def infer(self, observation: Array) -> Array:
        """Twice the allowed speed, towards limits that are out of bounds; or what `whim` says: "raise", "nan"."""
        if self.whim == "raise":
            raise ArithmeticError("as asked")
        if self.whim == "nan":
            return np.full(2, np.nan, np.float32)
        there = 1.5 * np.sign(np.sin(2.0 * time.monotonic() * np.array([1.0, 1.3])))
        return np.clip(5.0 * (there - observation), -2.0, 2.0).astype(np.float32)

    def novelty(self, observation: Array, action: Array) -> Array:
        return np.zeros(1)

    def outside(self, observation: Array) -> list[str]:
        return []

    def observation(self) -> Array:
        return np.full(2, np.nan)


def run_node(url: str, kind: OutputKind) -> None:
    """A policy node on the arm, until the process is asked to end."""
    logging.disable()  # what breaks here breaks on purpose
    transport, policy = RosbridgeTransport(url), Wanderer(kind)
    node = PolicyNode(transport, policy, robot(kind), say=lambda line: None)  # type: ignore[arg-type]
    node.open()

    def on_whim(message: Message) -> None:
        policy.whim = message["data"]
        if policy.whim == "slow":
            transport.subscribe(STATES, JOINT_STATE, lambda message: time.sleep(0.02))

    transport.subscribe(WHIMS, "std_msgs/msg/String", on_whim)
    transport.subscribe(FLOOD, JOINT_STATE, lambda message: None)
    transport.start()
    watch_signals(node, lambda line: None)
    run(node)
    node.close()
    transport.close()


class IdealArm:
    """A world of two joints that do at once what they are asked; efforts meet inertia and friction."""

    name, max_steps = "arm", math.inf
    dt = step_dt = ahead = 0.01

    def __init__(self) -> None:
        self.position, self._velocity = np.zeros((2, 2))
        self.path: list[tuple[float, Array]] = []
        """Where it was when: s by this computer's clock, rad."""

    def reset(self, seed: int) -> None:
        """It stays where it is."""

    def step(self, reference: Reference) -> Step:
        pushed = self._velocity + self.dt * (5.0 * reference.effort - 10.0 * self._velocity)
        led = (reference.position - self.position) / self.dt
        choices = [~np.isnan(reference.effort), ~np.isnan(led), ~np.isnan(reference.velocity)]
        self._velocity = np.select(choices, [pushed, led, reference.velocity], 0.0)
        self.position = self.position + self.dt * self._velocity
        self.path.append((time.monotonic(), self.position))
        return Step()

    def last_moved(self, since: float, until: float) -> float | None:
        """When it last moved faster than 0.01 rad/s between two times."""
        part = [(t, q) for t, q in self.path if since <= t <= until]
        moved = [b[0] for a, b in itertools.pairwise(part) if np.abs(b[1] - a[1]).max() > 0.01 * (b[0] - a[0])]
        return moved[-1] if moved else None

    def numbers(self) -> dict[str, float]:
        return {f"{name}/position": float(q) for name, q in zip(JOINTS, self.position, strict=True)}

    def message(self, source: Input) -> Message | None:
        return None

    def truth(self) -> tuple[Array, Array] | None:
        return self.position, self._velocity

    def score(self, total: float) -> float:
        return total

    @property
    def scene(self) -> Any:
        return None

    def frame(self, *, now: bool) -> Array:
        return self.position

    def draw(self, frame: Array) -> Array:
        return frame

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Told:
    """A command: when it came, its age by its stamp (0 without one), whether it is to move, whether it is wrong."""

    time: float
    age: float
    moving: bool
    outside: bool


class Record:
    """What the arm was told."""

    def __init__(self, kind: OutputKind) -> None:
        self.kind = kind
        self.commands: list[Told] = []
        self._last: tuple[float, Array] | None = None  # of the command before: when, and its velocity or position

    def told(self, message: Message, position: Array, clock: float) -> None:
        """A message came; the arm is at `position` and its clock says `clock` s."""
        now, age = time.monotonic(), 0.0
        if self.kind in ("trajectory", "follow"):
            trajectory = message.get("trajectory", message)
            stamp = trajectory["header"]["stamp"]["sec"] + 1e-9 * trajectory["header"]["stamp"]["nanosec"]
            points = np.array([point["positions"] for point in trajectory["points"]])
            age, moving = clock - stamp, np.ptp(np.concatenate([points, position[None]]), axis=0).max() > 0.01
            outside = self.trajectory_outside(points, stamp)
        else:
            values = np.array(message["data"])
            moving = np.abs(values - position if self.kind == "position" else values).max() > 0.01
            outside = self.array_outside(values, now)
        self.commands.append(Told(now, age, bool(moving), outside))

    def array_outside(self, values: Array, now: float) -> bool:
        """Whether an array breaks a limit, in itself or against the one before. A stand (zeros) is always right."""
        if self.kind == "effort":
            return bool((np.abs(values) > EFFORT + 1e-6).any())
        before, self._last = self._last, (now, values)
        if self.kind == "velocity":
            wrong, most = (np.abs(values) > LIMITS.velocity + 1e-6).any(), LIMITS.acceleration
            if not values.any():
                return False
        else:
            wrong = ((values < LIMITS.low - 1e-6) | (values > LIMITS.high + 1e-6)).any()
            most = LIMITS.velocity
        if before is not None and now - before[0] < 0.1:
            ticks = max(1, math.ceil((now - before[0]) * RATE))
            # They carry no stamp: one may have come two ticks later than the next.
            wrong = wrong or (np.abs(values - before[1]) > most * (ticks + 2) / RATE + 1e-3).any()
        return bool(wrong)

    def trajectory_outside(self, points: Array, stamp: float) -> bool:
        """Whether a trajectory breaks a limit, in itself or against the one before."""
        speeds = np.diff(points, axis=0) * RATE
        bad = (points < LIMITS.low - 1e-6) | (points > LIMITS.high + 1e-6)
        wrong = bad.any() or (np.abs(speeds) > LIMITS.velocity + 1e-6).any()
        wrong = wrong or (np.abs(np.diff(speeds, axis=0)) * RATE > LIMITS.acceleration + 1e-3).any()
        before, self._last = self._last, (stamp, speeds[0] if len(speeds) else np.zeros(2))
        if before is not None and 0.0 < stamp - before[0] < 0.1:
            ticks = max(1, round((stamp - before[0]) * RATE))
            allowed = LIMITS.acceleration * (ticks + 1) / RATE + 1e-3  # the stamps are rounded to a tick
            wrong = wrong or (np.abs(self._last[1] - before[1]) > allowed).any()
        return bool(wrong)


class Bench:
    """Server, arm and node, running, the policy enabled."""

    def __init__(self, kind: OutputKind, command_timeout: float) -> None:
        """`command_timeout`: s, of the arm's controller of velocities or efforts."""
        self.kind, self.record = kind, Record(kind)
        self.server = RosbridgeServer(port=0).start()
        self.arm, described = IdealArm(), robot(kind)
        self.transport = RosbridgeTransport(self.server.url)
        options: dict[str, Any] = {"say": lambda line: None, "command_timeout": command_timeout}
        self.simulation = Simulation(self.transport, self.arm, described, **options)
        self.simulation.time = 1000.0  # so that it can be set back
        self.alone = senders(described, None if kind == "effort" else described.setup().limiter, self.transport)[
            0
        ].alone
        """What the node says at its start of what stops the arm when nothing more is sent."""
        self._listen(self.simulation.controllers[COMMANDS])
        self.simulation.open()
        self.transport.start()
        self._thread = threading.Thread(target=self.simulation.run, daemon=True)
        self._thread.start()
        self.watcher = Watcher(self.server.url)
        for topic, message_type in ((WHIMS, "std_msgs/msg/String"), (STOP_ALL, EMPTY)):
            self.watcher.transport.advertise(topic, message_type)
        self.nodes: list[Any] = []
        self.broke = 0.0
        """When something was broken, s by this computer's clock."""
        try:
            self.start_node()
            self.enable(START_WITHIN)
        except BaseException:
            self.close()
            raise

    def _listen(self, controller: Controller) -> None:
        """Record what comes, before the controller sees it."""
        name = {"trajectory": "on_trajectory", "follow": "on_goal"}.get(self.kind, "on_array")
        hear = getattr(controller, name)

        def recorded(message: Message, *handle: Any) -> None:
            self.record.told(message, self.arm.position.copy(), self.simulation.time)
            hear(message, *handle)

        setattr(controller, name, recorded)

    # What can be done to it -------------------------------------------------------------------------------------------

    def start_node(self) -> None:
        """One more policy node."""
        node = multiprocessing.get_context("spawn").Process(target=run_node, args=(self.server.url, self.kind))
        node.daemon = True
        node.start()
        self.nodes.append(node)

    def say_whim(self, whim: str) -> None:
        """Tell the policy what to do; see `Wanderer.infer`, or "slow": a callback beside takes 20 ms."""
        self.watcher.transport.publish(WHIMS, {"data": whim})

    def signal_node(self, number: int) -> None:
        """Send a signal to the latest node's process."""
        os.kill(self.nodes[-1].pid, number)

    def enable(self, within: float = 10.0) -> float:
        """Enable as soon as it is possible; the seconds that took."""
        begin, why = time.monotonic(), ""
        while time.monotonic() - begin < within:
            done, why = self.watcher.call("/policy/enable", 1.0)
            if done:
                return time.monotonic() - begin
            time.sleep(0.05)
        raise TransportError(f"not enabled within {within:g} s: {why}")

    def until_moving(self, within: float = 20.0) -> None:
        """Wait until the arm moves; enables again where a busy machine made the loop stand still."""
        begin = time.monotonic()
        while time.monotonic() - begin < within:
            now = time.monotonic()
            if self.state == "active" and (self.arm.last_moved(now - 0.2, now) or 0.0) > now - 0.1:
                return
            if self.state == "fault":
                self.enable()
            time.sleep(0.02)
        raise TransportError(f"the arm did not move within {within:g} s: {self.watcher.node}")

    @property
    def state(self) -> str:
        """The node's, as it last told."""
        return self.watcher.node.get("state", "")

    def close(self) -> None:
        for node in self.nodes:
            if node.is_alive():
                if hasattr(signal, "SIGCONT"):
                    os.kill(node.pid, signal.SIGCONT)
                node.terminate()
                node.join(5.0)
                node.kill()
        self.watcher.transport.close()
        self.simulation.stop()
        self._thread.join()
        self.simulation.close()
        self.transport.close()
        self.server.stop()
