"""Commands as messages: what each kind of output sends for a guarded command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from robot_bridge.node.guards import Outcome
from robot_bridge.node.limits import Motion, MotionLimiter
from robot_bridge.robot.robot import OUTPUT_TYPES, Output, Robot
from robot_bridge.transport import Closable, Transport

FOLLOW_TIMEOUT = 2.0  # s


def time_message(seconds: float) -> dict[str, int]:
    """A builtin_interfaces Time or Duration."""
    nanoseconds = round(seconds * 1e9)
    return {"sec": nanoseconds // 10**9, "nanosec": nanoseconds % 10**9}


def plan(limiter: MotionLimiter, command: np.ndarray, steps: int) -> list[Motion]:
    """Motions, one every `dt`: what comes next, going on for `steps` in all, then braking to a stand."""
    ahead = MotionLimiter(limiter.limits, limiter.dt)
    ahead.motion, ahead.low, ahead.high = limiter.motion, limiter.low, limiter.high
    motions = [limiter.motion] + [ahead.step(command) for _ in range(steps - 1)]
    zero = np.zeros_like(command)
    while not motions[-1].still:
        motions.append(ahead.step(zero))
    return motions


class Sender:
    """Sends the commands of one output."""

    def __init__(self, output: Output, robot: Robot, transport: Transport) -> None:
        self.output, self.type = output, OUTPUT_TYPES[output.kind]
        self._transport = transport
        joints = list(robot.joints)
        self._index = np.array([joints.index(name) for name in output.joints])
        self.names = [robot.joints[name] for name in output.joints]
        self._steps = max(1, round(output.horizon * robot.rate))
        self._every = max(1, self._steps // 2) if output.kind == "follow" else 1
        self._tick = 0
        self._advertised: Closable | None = None

    def open(self) -> None:
        """Advertise; actions need nothing."""
        if self.output.kind != "follow":
            self._advertised = self._transport.advertise(self.output.topic, self.type)

    def close(self) -> None:
        """Undo `open`."""
        if self._advertised is not None:
            self._advertised.close()

    def send(self, outcome: Outcome, limiter: MotionLimiter | None, stamp: float) -> bool:
        """Send a command now or never; False if it was dropped. `stamp`: the robot's clock, s, or 0."""
        kind, topic = self.output.kind, self.output.topic
        if kind in ("trajectory", "follow"):
            self._tick += 1
            if self._tick % self._every:  # goals are slower: one every half horizon
                return True
            assert limiter is not None
            trajectory = self.trajectory(plan(limiter, outcome.command, self._steps), limiter.dt, stamp)
            if kind == "trajectory":
                return self._transport.publish(topic, trajectory)
            goal = {"trajectory": trajectory}
            self._transport.send_goal(topic, self.type, goal, result=_ignore, timeout=FOLLOW_TIMEOUT)
            return True
        values = outcome.command
        if kind == "position" and outcome.motion is not None:
            values = outcome.motion.position
        return self._transport.publish(topic, {"data": values[self._index].tolist()})

    def trajectory(self, motions: list[Motion], dt: float, stamp: float) -> dict[str, Any]:
        """A JointTrajectory. With a stamp, a controller refuses it once its end is past: it cannot act late."""
        points = [
            {
                "positions": motion.position[self._index].tolist(),
                "velocities": motion.velocity[self._index].tolist(),
                "time_from_start": time_message((k + 1) * dt),
            }
            for k, motion in enumerate(motions)
        ]
        points[-1]["velocities"] = [0.0] * len(self.names)
        return {"header": {"stamp": time_message(stamp)}, "joint_names": self.names, "points": points}


def received(output: Output, names: list[str]) -> Callable[[dict[str, Any]], np.ndarray]:
    """What another controller's message on this output commands, [joints]: velocities, positions or efforts."""

    def read(message: dict[str, Any]) -> np.ndarray:
        if output.kind == "trajectory":
            point = dict(zip(message["joint_names"], message["points"][0]["velocities"], strict=True))
            return np.array([point[name] for name in names], np.float64)
        return np.array(message["data"], np.float64)

    return read


def _ignore(values: dict[str, Any] | None, status: int, error: str | None) -> None:
    """Results of goals: the next one pre-empts, and what matters is measured."""
