"""A policy node and a robot that obeys it, with a clock and a transport of the tests' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")
from robot_fakes import arm_policy, arm_robot

from robot_bridge.counters import Counters
from robot_bridge.node.policy_node import PolicyNode

DT = 0.02


class Wire:
    """A transport in memory."""

    def __init__(self) -> None:
        self.connected = True
        self.counters = Counters()
        self.subscribers: dict[str, Callable[[dict], None]] = {}
        self.services: dict[str, Callable] = {}
        self.calls: list[tuple[str, Callable]] = []
        self.subscribed: list[str] = []
        self.published: list[tuple[str, dict]] = []
        self.goals: list[tuple[str, dict]] = []
        self.results: list[Callable] = []
        self.feedbacks: list[Callable] = []
        self.cancelled: list[str] = []
        self.takes_goals = True
        self.listeners: list[Callable[[bool], None]] = []

    def close(self) -> None: ...

    def advertise(self, topic: str, kind: str) -> Wire:
        return self

    def publish(self, topic: str, message: dict) -> bool:
        if self.connected:
            self.published.append((topic, message))
        return self.connected

    def subscribe(self, topic: str, kind: str, callback: Callable[[dict], None], **_: Any) -> Wire:
        self.subscribers[topic] = callback
        self.subscribed.append(topic)
        return self

    def call_service(self, name: str, kind: str, request: dict, done: Callable, timeout: float) -> None:
        self.calls.append((name, done))

    def advertise_service(self, name: str, kind: str, handler: Callable) -> Wire:
        self.services[name] = handler
        return self

    def send_goal(self, action: str, kind: str, goal: dict, **options: Any) -> str:
        """A controller that takes every goal says so at once; one that does not, nothing."""
        self.goals.append((action, goal))
        self.results.append(options["result"])
        self.feedbacks.append(options["feedback"])
        if self.takes_goals:
            options["feedback"]({})
        return f"id{len(self.goals)}"

    def cancel_goal(self, action: str, goal_id: str, timeout: float = 5.0) -> bool:
        self.cancelled.append(goal_id)
        return True

    def on_connection(self, callback: Callable[[bool], None]) -> Wire:
        self.listeners.append(callback)
        return self

    def connect(self, connected: bool) -> None:
        self.connected = connected
        for listener in self.listeners:
            listener(connected)


class Bench:
    """A node and a robot that does what it is told, in time of their own."""

    def __init__(self, policy: Any = None, mode: str = "run", name: str = "/policy", **robot: Any) -> None:
        self.now, self.wire, self.said = 100.0, Wire(), []
        self.policy = policy or arm_policy()
        self.robot = arm_robot(**robot)
        options: Any = {"mode": mode, "name": name, "say": self.said.append, "clock": lambda: self.now}
        self.node = PolicyNode(self.wire, self.policy, self.robot, **options)  # type: ignore[arg-type]
        self.node.open()
        self.q = np.zeros(2)
        self.velocities: list[np.ndarray] = []
        self.clock_offset = 0.0
        self.sensor: Callable[[dict], dict | None] = lambda message: message

    def state_message(self) -> dict:
        stamp = self.now + self.clock_offset
        header = {"stamp": {"sec": int(stamp), "nanosec": int(stamp % 1 * 1e9)}}
        return {"header": header, "name": ["a", "b"], "position": self.q.tolist()}

    def step(self, n: int = 1) -> Any:
        """`n` periods: the robot reports, the node decides, the robot moves."""
        for _ in range(n):
            message = self.sensor(self.state_message())
            if message is not None:
                self.wire.subscribers["/joint_states"](message)
            before = len(self.wire.published)
            outcome = self.node.tick(self.now)
            commands = [m["data"] for topic, m in self.wire.published[before:] if topic == "/commands"]
            assert len(commands) <= 1
            velocity = np.array(commands[0]) if commands else np.zeros(2)
            if commands and self.robot.outputs[0].kind == "position":
                velocity = (velocity - self.q) / DT
            self.velocities.append(velocity)
            self.q = self.q + DT * velocity
            self.now += DT
        return outcome

    def sent(self) -> int:
        return sum(topic == "/commands" for topic, _ in self.wire.published)

    def enable(self) -> None:
        self.step()
        assert self.node.enable() == (True, "active")

    def moving(self) -> Bench:
        self.enable()
        self.step(10)
        assert np.abs(self.velocities[-1]).min() > 0.3
        return self


def decelerates(velocities: list[np.ndarray]) -> None:
    """Velocities fall to zero at no more than 5 rad/s², and stay there."""
    assert (np.abs(np.diff(velocities, axis=0)) <= 5.0 * DT + 1e-6).all()
    assert np.abs(velocities[-1]).max() < 1e-5
