"""A policy node in a process of its own that moves an arm, and a record of all that the arm was told.

The arm is an ideal one, behind the simulation's topics and controllers. What is counted is what a real arm would have
had to obey: commands older than `STALE` by their stamps, commands outside of the limits of position, velocity or
acceleration, and commands to move.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from typing import Any

import numpy as np

from robot_bridge.guards.limits import Array
from robot_bridge.node.loop import run as run_loop
from robot_bridge.node.outputs import senders
from robot_bridge.node.policy_node import EMPTY, STOP_ALL, PolicyNode
from robot_bridge.robot.description import ActionEntry, Description, ObservationEntry
from robot_bridge.robot.robot import ACTIONS, GRIPPERS, JOINT_STATE, OutputKind
from robot_bridge.run import watch_signals
from robot_bridge.server import RosbridgeServer
from robot_bridge.simulation.bench_arm import COMMANDS, EFFORT, MOVED, RATE, IdealArm, robot
from robot_bridge.simulation.bench_record import Record
from robot_bridge.simulation.controller import Controller
from robot_bridge.simulation.processes import Watcher
from robot_bridge.simulation.simulation import Simulation
from robot_bridge.transport import Message, RosbridgeTransport, TransportError

WHIMS, FLOOD = "/wanderer", "/flood"
STALE = 0.25  # s; the transport lets nothing older than 0.2 s go, and the sockets take their time
START_WITHIN = 60.0  # s for a node's process; a busy machine takes its time


class Wanderer:
    """A policy that moves both joints to and fro for ever; see `robot_bridge.robot.bundle.Policy`."""

    def __init__(self, kind: OutputKind) -> None:
        self.whim = ""
        quantity, unit = ("effort", "N m") if kind == "effort" else ("velocity", "rad/s")
        # A gripper goes by the mean of its fingers, which must not move against each other.
        self._rhythm = np.array([1.0, 1.0 if kind in GRIPPERS else 1.3])
        self.description = Description(
            task="to and fro",
            control_rate=RATE,
            observations=tuple(ObservationEntry(f"{j}/position", "rad", -1, 1, ()) for j in MOVED),
            actions=tuple(ActionEntry(j, quantity, unit, 1.0, -EFFORT, EFFORT) for j in MOVED),
            novelty=(),
            sha256={},
        )

    def infer(self, observation: Array) -> Array:
        """Twice the allowed speed, towards limits that are out of bounds; or what `whim` says: "raise", "nan"."""
        if self.whim == "raise":
            raise ArithmeticError("as asked")
        if self.whim == "nan":
            return np.full(2, np.nan, np.float32)
        there = 1.5 * np.sign(np.sin(2.0 * time.monotonic() * self._rhythm))
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
    state = node.robot.inputs[0]

    def on_whim(message: Message) -> None:
        policy.whim = message["data"]
        if policy.whim == "slow":
            transport.subscribe(state.topic, state.type, lambda message: time.sleep(0.02))

    transport.subscribe(WHIMS, "std_msgs/msg/String", on_whim)
    transport.subscribe(FLOOD, JOINT_STATE, lambda message: None)
    transport.start()
    watch_signals(node, lambda line: None)
    run_loop(node)
    node.close()
    transport.close()


class Bench:
    """Server, arm and node, running, the policy enabled."""

    def __init__(self, kind: OutputKind, command_timeout: float) -> None:
        """`command_timeout`: s, of the arm's controller of velocities or efforts."""
        self.kind, self.record = kind, Record(kind)
        self.server = RosbridgeServer(port=0).start()
        described = robot(kind)
        self.arm = IdealArm(described)
        self.transport = RosbridgeTransport(self.server.url)
        options: dict[str, Any] = {"say": lambda line: None, "command_timeout": command_timeout, "hold_dead_man": True}
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
        name = "on_trajectory" if self.kind == "trajectory" else "on_goal" if self.kind in ACTIONS else "on_array"
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
