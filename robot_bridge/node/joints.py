"""Joints commanded on a topic: a number for each, or a trajectory of them all."""

from __future__ import annotations

import numpy as np

from robot_bridge.guards.decision import Outcome
from robot_bridge.guards.guard import Level
from robot_bridge.guards.limits import Array
from robot_bridge.guards.motion import Motion, MotionLimiter
from robot_bridge.node.sender import TopicSender, time_message
from robot_bridge.robot.robot import Output, Robot
from robot_bridge.transport import Message, Transport


def plan(limiter: MotionLimiter, motion: Motion, command: Array, steps: int) -> list[Motion]:
    """Motions, one every `dt`, from `motion` on: `steps` in all with the command [n], then braking to a stand."""
    motions = [motion]
    for _ in range(steps - 1):
        motions.append(limiter.step(motions[-1], command))
    zero = np.zeros_like(command)
    while not motions[-1].still:
        motions.append(limiter.step(motions[-1], zero))
    return motions


class ArraySender(TopicSender):
    """A number per joint in a Float64MultiArray: velocities, efforts or positions. It carries no stamp."""

    @property
    def alone(self) -> str:
        topic, kind = self.output.topic, self.output.kind
        if kind == "position":
            return f"{topic}: its controller holds the last position; the arm stops with a jolt, as its driver allows"
        return (
            f"{topic}: the arm goes on with its last {kind} until the command time-out of the controller or the driver "
            f"behind {topic} zeroes it. ros2_control's group controllers have none: see that the driver has"
        )

    def commanded(self, outcome: Outcome) -> Array:
        motion = outcome.memory.motion
        if self.output.kind == "position" and motion is not None:
            return motion.position[self.index]
        return outcome.command[self.index]

    def send(self, outcome: Outcome, stamp: float, now: float) -> bool:
        said = self.unit[self.output.kind].said(self.commanded(outcome))
        return self.transport.publish(self.output.topic, {"data": said.tolist()})

    def halt(self) -> bool:
        if self.output.kind == "position":  # it holds its last one by itself, and an older one must not be said again
            return True
        stand = np.zeros(len(self.names))
        return self.transport.publish(self.output.topic, {"data": self.unit[self.output.kind].said(stand).tolist()})

    def heard(self, message: Message, elapsed: float) -> Array | None:
        values = np.array(message["data"], np.float64)
        return self.unit[self.output.kind].meant(values) if values.shape == self.index.shape else None


class TrajectorySender(TopicSender):
    """A JointTrajectory on a topic: a horizon ahead, then braking. It ends standing: nothing need be said to stop."""

    def __init__(self, output: Output, robot: Robot, limiter: MotionLimiter | None, transport: Transport) -> None:
        super().__init__(output, robot, limiter, transport)
        if limiter is None:
            raise ValueError(f"{output.topic}: trajectories need limits")
        self.rules, self.steps = limiter, output.steps(robot.rate)

    @property
    def ends_after(self) -> float:
        return self.steps * self.rules.dt

    @property
    def alone(self) -> str:
        within = self.ends_after + float(self.rules.limits.stopping_time.max())
        return f"{self.output.topic}: the arm stands within {within:.2f} s, where its last trajectory ends"

    def message(self, outcome: Outcome, stamp: float) -> Message:
        """A JointTrajectory. With a stamp, a controller refuses it once its end is past: it cannot act late."""
        assert outcome.memory.motion is not None
        steps = 1 if outcome.level >= Level.HOLD else self.steps  # a halt brakes now, not a horizon ahead
        motions = plan(self.rules, outcome.memory.motion, outcome.command, steps)
        places, speeds = self.unit["position"], self.unit["velocity"]
        points = [
            {
                "positions": places.said(motion.position[self.index]).tolist(),
                "velocities": speeds.said(motion.velocity[self.index]).tolist(),
                "time_from_start": time_message((k + 1) * self.rules.dt),
            }
            for k, motion in enumerate(motions)
        ]
        points[-1]["velocities"] = speeds.said(np.zeros(len(self.names))).tolist()
        return {"header": {"stamp": time_message(stamp)}, "joint_names": self.names, "points": points}

    def send(self, outcome: Outcome, stamp: float, now: float) -> bool:
        return self.transport.publish(self.output.topic, self.message(outcome, stamp))

    def commanded(self, outcome: Outcome) -> Array:
        assert outcome.memory.motion is not None
        return outcome.memory.motion.position[self.index]

    def heard(self, message: Message, elapsed: float) -> Array | None:
        if not message["points"]:
            return None
        order = [message["joint_names"].index(name) for name in self.names]
        times = [p["time_from_start"]["sec"] + 1e-9 * p["time_from_start"]["nanosec"] for p in message["points"]]
        positions = np.array([point["positions"] for point in message["points"]], np.float64)[:, order]
        return self.unit["position"].meant(np.array([np.interp(elapsed, times, column) for column in positions.T]))
