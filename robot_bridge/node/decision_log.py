"""Every decision of a policy node as a rosbag2 (MCAP), which `python -m lapo_tf.data import bag` reads for training.

    /policy/observation   sensor_msgs/JointState: the observation by name, in `position`
    /policy/action        sensor_msgs/JointState: `position` the action that was executed, in the policy's units;
                          `velocity` the command in SI units; `effort` the policy's wish before the guards
    /policy/decision      diagnostic_msgs/DiagnosticStatus: what the guards said, and the numbers they said it of

Beside the bag lies `layout.yaml`, which the importer takes.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from robot_bridge.counters import Counters
from robot_bridge.errors import UserError
from robot_bridge.interfaces import from_dict, get_interface, to_rosbags, typestore
from robot_bridge.node.guards import Level, Outcome
from robot_bridge.node.outputs import time_message
from robot_bridge.robot.bundle import Description

LOGGER = logging.getLogger(__name__)

TOPICS = {
    "/policy/observation": "sensor_msgs/msg/JointState",
    "/policy/action": "sensor_msgs/msg/JointState",
    "/policy/decision": "diagnostic_msgs/msg/DiagnosticStatus",
}

LAYOUT = """# python -m lapo_tf.data import bag {bag} --layout {layout} --id own/my-robot-v0
# An action carries the stamp of the observation it answers, so it is moved on into the middle of its step.
rate: {rate:g}
time: header
observation:
  policy: {{topic: /policy/observation, field: position, joints: [{observations}], resample: linear}}
action:
  policy: {{topic: /policy/action, field: position, joints: [{actions}], low: {low}, high: {high},
           shift: {shift}}}
episodes:
  gap: 2.0
"""


class DecisionLog:
    """Writes in a thread of its own. What it cannot keep up with is dropped and counted (`dropped.log`)."""

    def __init__(self, folder: Path, policy: Description, counters: Counters) -> None:
        """
        Raises:
            UserError: the folder exists, or cannot be made.
        """
        if folder.exists():
            raise UserError(f"{folder} exists already: give another --log")
        folder.mkdir(parents=True)
        self._observations = [entry.name for entry in policy.observations]
        self._joints = [action.joint for action in policy.actions]
        self._scale = np.array([action.scale for action in policy.actions])
        self._queue: queue.Queue[tuple[str, int, dict[str, Any]] | None] = queue.Queue(1000)
        self._counters = counters
        (folder / "layout.yaml").write_text(
            LAYOUT.format(
                bag=folder / "bag",
                layout=folder / "layout.yaml",
                shift=0.5 / policy.control_rate,
                rate=policy.control_rate,
                observations=", ".join(f"'{entry.name}'" for entry in policy.observations),
                actions=", ".join(f"'{entry.joint}'" for entry in policy.actions),
                low=[entry.low for entry in policy.actions],
                high=[entry.high for entry in policy.actions],
            )
        )
        self._kinds = {topic: get_interface(kind) for topic, kind in TOPICS.items()}
        for topic in TOPICS:  # makes the code that writes them: later, that would hold up the loop
            self._encode(topic, {})
        self._writer = Writer(folder / "bag", version=9, storage_plugin=StoragePlugin.MCAP)
        self._thread = threading.Thread(target=self._run, name="decision log", daemon=True)
        self._thread.start()

    def observation(self, decided: float, values: np.ndarray) -> None:
        """The observation [d] of a decision, made at that time since the epoch, s."""
        header = {"stamp": time_message(decided)}
        self._put("/policy/observation", {"header": header, "name": self._observations, "position": values.tolist()})

    def action(self, decided: float, command: np.ndarray, wish: np.ndarray) -> None:
        """What became of that decision: the command [n] in SI units, and the policy's wish [n] in its own."""
        message = {
            "header": {"stamp": time_message(decided)},
            "name": self._joints,
            "position": (command / self._scale).tolist(),
            "velocity": command.tolist(),
            "effort": wish.tolist(),
        }
        self._put("/policy/action", message)

    def decision(self, outcome: Outcome, values: dict[str, Any]) -> None:
        """What the guards said of a tick, with the numbers they said it of."""
        message = {
            "level": int(min(outcome.level, Level.HOLD)),
            "name": "decision",
            "message": outcome.reason,
            "values": [{"key": k, "value": str(v)} for k, v in values.items()],
        }
        self._put("/policy/decision", message)

    def _put(self, topic: str, message: dict[str, Any]) -> None:
        try:
            self._queue.put_nowait((topic, time.time_ns(), message))
        except queue.Full:
            self._counters.add("dropped.log")

    def close(self) -> None:
        """Write what is left and close the bag."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        item: tuple[str, int, dict[str, Any]] | None = ("", 0, {})
        try:
            with self._writer as writer:
                connections = {
                    topic: writer.add_connection(topic, kind, typestore=typestore()) for topic, kind in TOPICS.items()
                }
                while (item := self._queue.get()) is not None:
                    topic, nanoseconds, message = item
                    writer.write(connections[topic], nanoseconds, self._encode(topic, message))
        except OSError as error:  # a full disk does not stop a robot
            LOGGER.error("the log of decisions ends here: %s", error)
            self._counters.add("dropped.log")
        while item is not None:
            item = self._queue.get()
            self._counters.add("dropped.log", item is not None)

    def _encode(self, topic: str, message: dict[str, Any]) -> bytes:
        native = to_rosbags(from_dict(self._kinds[topic], message, partial=True, allow_nan=True))
        return bytes(typestore().serialize_cdr(native, TOPICS[topic]))
