"""Every decision of a policy node as a rosbag2 (MCAP), which `python -m lapo_tf.data import bag` reads for training.

    /policy/observation   sensor_msgs/JointState: the observation by name, in `position`
    /policy/action        sensor_msgs/JointState: `position` the action that was executed, in the policy's units;
                          `velocity` the command in SI units; `effort` the policy's wish before the guards
    /policy/decision      diagnostic_msgs/DiagnosticStatus: what the guards said, and the numbers they said it of

Beside the bag lies `layout.yaml`, which the importer takes. What is older than a second is on the disk, in a file that
is whole at any time: a black box that survives its process, without `metadata.yaml` and index then.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer

from robot_bridge.counters import Counters
from robot_bridge.errors import UserError
from robot_bridge.guards.decision import Outcome
from robot_bridge.guards.guard import Level
from robot_bridge.interfaces import from_dict, get_interface, to_rosbags, typestore
from robot_bridge.node.sender import time_message
from robot_bridge.robot.description import Description

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


FLUSH_EVERY = 0.5  # s
# What ends an MCAP file: the end of the data, and a footer that tells of no index.
END = b"\x0f" + struct.pack("<QI", 4, 0) + b"\x02" + struct.pack("<QQQI", 20, 0, 0, 0) + b"\x89MCAP0\r\n"


class DecisionLog:
    """Writes in a thread of its own. What it cannot keep up with is dropped and counted (`dropped.log`)."""

    def __init__(
        self, folder: Path, policy: Description, counters: Counters, joints: Sequence[str] | None = None
    ) -> None:
        """
        Args:
            folder: to be made.
            policy: what it observes and commands.
            counters: counts what is dropped.
            joints: the order of commands; None: the policy's.

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
        self._executed: list[np.ndarray] = []  # commands since the policy was last asked
        self._asked: tuple[float, np.ndarray] | None = None
        self._order = np.array([list(joints or self._joints).index(name) for name in self._joints])
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
        self._file, self._flushed = folder / "bag" / "bag.mcap", 0  # and how many bytes of it are on the disk
        self._thread = threading.Thread(target=self._run, name="decision log", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """The robot is enabled: what was before belongs to no decision."""
        self._executed, self._asked = [], None

    def step(self, asked: float, observation: np.ndarray, wish: np.ndarray) -> None:
        """The policy was asked at a time since the epoch, s, with an observation [d], and wanted [n] in its own units.

        What became of its last wish is the mean of the commands since then.
        """
        if self._asked is not None and self._executed:
            self.action(self._asked[0], np.mean(self._executed, axis=0)[self._order], self._asked[1])
        self._executed, self._asked = [], (asked, wish)
        self.observation(asked, observation)

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
        """What was decided in a tick, with the numbers it was decided by."""
        if values.get("state") == "active":
            self._executed.append(outcome.command)
        else:
            self.begin()
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
                flushed = time.monotonic()
                while (item := self._next(0.2)) is not None:
                    topic, nanoseconds, message = item
                    if topic:
                        self._write(writer, connections[topic], nanoseconds, message)
                    if time.monotonic() - flushed > FLUSH_EVERY:
                        self._flush(writer)
                        flushed = time.monotonic()
        except Exception as error:  # a full disk, above all; it does not stop a robot
            LOGGER.error("the log of decisions ends here: %s", error)
            self._counters.add("dropped.log")
            self._cut()
        while item is not None:
            item = self._queue.get()
            self._counters.add("dropped.log", item is not None)

    def _next(self, seconds: float) -> tuple[str, int, dict[str, Any]] | None:
        """The next message, None at the end; one without a topic if nothing came for some seconds."""
        try:
            return self._queue.get(timeout=seconds)
        except queue.Empty:
            return "", 0, {}

    def _write(self, writer: Writer, connection: Connection, nanoseconds: int, message: dict[str, Any]) -> None:
        try:
            data = self._encode(connection.topic, message)
        except ValueError as error:  # a number that its field cannot hold
            self._counters.add("dropped.log")
            LOGGER.warning("a message of %s was not logged: %s", connection.topic, error)
            return
        writer.write(connection, nanoseconds, data)

    def _cut(self) -> None:
        """Leave what was flushed, as a whole file."""
        with contextlib.suppress(OSError):
            if self._flushed:
                with self._file.open("r+b") as file:
                    file.truncate(self._flushed)
                    file.seek(self._flushed)
                    file.write(END)

    def _flush(self, writer: Writer) -> None:
        """Close the chunk, which rosbags does once it has a megabyte, minutes of decisions; and make the file a whole
        one, as long as nothing more is written over its end."""
        storage: Any = writer.storage
        if storage.chunk.bio.tell():
            storage.close_chunk()
        end = storage.bio.tell()
        storage.bio.write(END)
        storage.bio.flush()
        os.fsync(storage.bio.fileno())
        storage.bio.seek(end)
        self._flushed = end

    def _encode(self, topic: str, message: dict[str, Any]) -> bytes:
        native = to_rosbags(from_dict(self._kinds[topic], message, partial=True, allow_nan=True))
        return bytes(typestore().serialize_cdr(native, TOPICS[topic]))
