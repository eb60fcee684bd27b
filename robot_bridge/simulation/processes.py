"""A simulation and a policy node as processes of their own, and a client that looks on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robot_bridge.errors import UserError
from robot_bridge.node.diagnostics import DIAGNOSTICS, DIAGNOSTICS_TYPE
from robot_bridge.node.policy_node import TRIGGER
from robot_bridge.robot.config import config_dir, load_robot
from robot_bridge.robot.description import Description
from robot_bridge.transport import Message, RosbridgeTransport

STOP_WITHIN = 8.0  # s for a process to end by itself


class Processes:
    """Child processes that end together."""

    def __init__(self) -> None:
        self._children: dict[str, subprocess.Popen[str]] = {}
        self.lines: dict[str, list[str]] = {}

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """`python -m robot_bridge.<name>` with its output kept."""
        child = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", f"robot_bridge.{name}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the demo only, which ends them in order
        )
        self._children[name], self.lines[name] = child, []
        threading.Thread(target=self._read, args=(name, child), daemon=True).start()

    def _read(self, name: str, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            self.lines[name].append(line.rstrip())

    def failed(self) -> str | None:
        """The name of a process that ended with an error."""
        return next((name for name, child in self._children.items() if child.poll() not in (None, 0)), None)

    def ended(self, name: str) -> bool:
        """Whether it has ended."""
        return self._children[name].poll() is not None

    def stop(self, name: str, within: float = STOP_WITHIN) -> None:
        """Ask it to end, and wait; kill it if it does not."""
        child = self._children[name]
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
        try:
            child.wait(within)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def stop_all(self, within: float = STOP_WITHIN) -> None:
        """The last started first."""
        for name in reversed(list(self._children)):
            self.stop(name, within)


class Watcher:
    """Follows the simulation and the node as one more client."""

    def __init__(self, url: str) -> None:
        self.transport = RosbridgeTransport(url)
        self.sim: dict[str, Any] = {}
        self.node: dict[str, str] = {}
        self.transport.subscribe("/sim/status", "std_msgs/msg/String", self._on_sim)
        self.transport.subscribe(DIAGNOSTICS, DIAGNOSTICS_TYPE, self._on_node)
        self.transport.start()

    def _on_sim(self, message: Message) -> None:
        self.sim = json.loads(message["data"])

    def _on_node(self, message: Message) -> None:
        self.node = {value["key"]: value["value"] for value in message["status"][0]["values"]}

    def call(self, service: str, timeout: float = 5.0) -> tuple[bool, str]:
        """Call a Trigger service and wait for its answer."""
        done, answers = threading.Event(), []

        def answered(values: Message | None, error: str | None) -> None:
            answers.append((values is not None and values["success"], error or str(values and values["message"])))
            done.set()

        self.transport.call_service(service, TRIGGER, {}, answered, timeout)
        done.wait(timeout + 1.0)
        return answers[0] if answers else (False, "no answer")

    def line(self, seconds: float) -> str:
        """All on one line."""
        sim, node = self.sim, self.node
        return (
            f"{seconds:6.1f} s  episode {sim.get('episode', sim.get('number', '-'))}  step {sim.get('steps', 0):4d}  "
            f"return {sim.get('score', 0.0):5.1f}  {node.get('state', '-'):9s} {node.get('guards', '')[:40]:40s} "
            f"misses {node.get('deadline_misses', '-')}"
        )


def default_robot(policy: Description) -> str:
    """The config among those that come along for simulations that fits a policy.

    Raises:
        UserError: there is none.
    """
    for path in sorted(config_dir().glob("sim-*.yaml")):
        if not load_robot(path).mistakes_with(policy):
            return path.stem
    raise UserError(f"no config comes along for {policy.task} in real time: give --robot, or --lock-step")


def read(path: Path) -> dict[str, Any]:
    """What a process reported at its end."""
    return json.loads(path.read_text()) if path.is_file() else {}
