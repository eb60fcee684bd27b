"""`python -m robot_bridge.latency`: how quick, and how safe in a failure, the way over a rosbridge is."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from robot_bridge.errors import ArgumentParser, UserError, command, require
from robot_bridge.transport import RosbridgeTransport

DESCRIPTION = """Measure a rosbridge: before the first run on a robot, and whenever something seems slow.

  python -m robot_bridge.latency --url ws://robot:9090     the robot's, at 100, 500 and 1000 messages/s
  python -m robot_bridge.latency                           an embedded server, started for it
  python -m robot_bridge.latency --faults                  an embedded server that is killed and stopped; 1 minute
  python -m robot_bridge.latency --out latency.txt         keep what is printed

A JointState goes to the server and back to this process ("once"), or on to a second process which sends it back through
the server ("echo": as a state goes to a policy and comes back as a command). What was dropped did not arrive. The
topics are named /robot_bridge_latency_… and disturb nobody."""

Say = Callable[[str], None]
TYPE = "sensor_msgs/msg/JointState"
STALE = 0.5  # s; a message that arrives older than this is counted as stale
FAULT_RATE = 100.0  # messages/s


def joint_state(number: int, joints: int) -> dict[str, Any]:
    """A JointState that carries `number`."""
    values = (np.sin(np.arange(joints) + number) * 2).tolist()
    return {
        "header": {"stamp": {"sec": number, "nanosec": 0}, "frame_id": ""},
        "name": [f"joint{i + 1}" for i in range(joints)],
        "position": values,
        "velocity": values,
        "effort": values,
    }


@dataclass
class Times:
    """When messages were sent and came back, by number, s."""

    sent: dict[int, float] = field(default_factory=dict)
    back: dict[int, float] = field(default_factory=dict)
    dropped: str = ""
    """What this process dropped, and why."""

    def summary(self, seconds: float) -> str:
        """p50, p99 and max in ms, and the rate and share that arrived."""
        if not self.back:
            return f"{'nothing arrived':>35}"
        trips = 1000 * np.array([self.back[i] - self.sent[i] for i in self.back])
        p50, p99 = np.quantile(trips, [0.5, 0.99])
        share = 100 * len(self.back) / len(self.sent)
        return (
            f"{p50:8.1f} {p99:8.1f} {trips.max():8.1f} {len(self.back) / seconds:9.0f} {share:7.1f} %  {self.dropped}"
        )


def pace(rate: float, seconds: float) -> Iterator[int]:
    """Numbers at `rate` per second, on absolute deadlines."""
    begin = time.monotonic()
    for number in range(round(rate * seconds)):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        yield number


def measure(url: str, rate: float, seconds: float, joints: int, queue_length: int, *, echo: bool) -> Times:
    """Publish at `rate` for `seconds`, and receive it again: from the server, or from an echoing process behind it.

    Raises:
        UserError: no connection, or nothing comes back.
    """
    prefix = f"/robot_bridge_latency_{uuid.uuid4().hex[:8]}"
    times = Times()
    transport = RosbridgeTransport(url)

    def back(message: dict[str, Any]) -> None:
        times.back[message["header"]["stamp"]["sec"]] = time.monotonic()

    def send(number: int) -> None:
        times.sent[number] = time.monotonic()
        transport.publish(f"{prefix}/there", joint_state(number, joints))

    process = echoing(url, prefix, queue_length) if echo else None
    try:
        transport.start()
        transport.subscribe(f"{prefix}/back" if echo else f"{prefix}/there", TYPE, back, queue_length=queue_length)
        transport.advertise(f"{prefix}/there", TYPE)
        end = time.monotonic() + 15
        while not times.back:
            if time.monotonic() > end:
                raise UserError(f"nothing came back from {url.split('?')[0]} within 15 s: see the server's log")
            send(0)
            time.sleep(0.1)
        time.sleep(0.5)
        times.sent.clear()
        times.back.clear()
        for number in pace(rate, seconds):
            send(number + 1)
        time.sleep(1.0)
    finally:
        transport.close()
        if process:
            process.kill()
            process.communicate()
    times.back.pop(0, None)
    counts = transport.counters.snapshot().items()
    times.dropped = ", ".join(f"{name} {n}" for name, n in counts if name.startswith(("dropped", "received", "lost")))
    return times


def echoing(url: str, prefix: str, queue_length: int) -> subprocess.Popen[bytes]:
    """Start the second process."""
    return subprocess.Popen(
        [sys.executable, "-m", "robot_bridge.latency", "--echo", prefix, "--queue-length", str(queue_length)],
        stdin=subprocess.PIPE,
        env=os.environ | {"ROSBRIDGE_URL": url},  # not an argument: it may hold a token
    )


def run_echo(prefix: str, queue_length: int) -> None:
    """The second process: send back what comes, until the first one is gone."""
    transport = RosbridgeTransport(os.environ["ROSBRIDGE_URL"])
    transport.advertise(f"{prefix}/back", TYPE)

    def send_back(message: dict[str, Any]) -> None:
        transport.publish(f"{prefix}/back", message)

    transport.subscribe(f"{prefix}/there", TYPE, send_back, queue_length=queue_length)
    transport.start(timeout=15)
    sys.stdin.read()
    transport.close()


# Faults ---------------------------------------------------------------------------------------------------------------


class Server:
    """An embedded server in a process of its own, on one port."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it (again)."""
        arguments = ["--port", str(self.port), "--quiet", *self._options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "robot_bridge.server", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise UserError("the embedded server did not start: run python -m robot_bridge.server to see why")
        self.port = int(line.split()[2].rpartition(":")[2])

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.communicate()


class PatientReader:
    """A subscriber that never gives up a connection by itself, as a controller behind a rosbridge does not: it gets
    everything that the server ever sends."""

    def __init__(self, url: str, topic: str) -> None:
        self._url, self._topic = url, topic
        self._end = threading.Event()
        self.arrivals: list[tuple[float, float]] = []
        """When messages arrived, and how old they were, s."""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._end.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._end.wait(0.02):
            with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                self._connection()

    def _connection(self) -> None:
        with connect(self._url, compression=None, ping_interval=None, open_timeout=30, close_timeout=0.1) as websocket:
            websocket.send(json.dumps({"op": "subscribe", "topic": self._topic, "type": "std_msgs/msg/Float64"}))
            while not self._end.is_set():
                with contextlib.suppress(TimeoutError):
                    message = json.loads(websocket.recv(0.1))
                    now = time.monotonic()
                    if message["op"] == "publish":
                        self.arrivals.append((now, now - message["msg"]["data"]))


def fault(kind: str, seconds: float, *options: str) -> str:
    """Stream commands while a server is killed or stopped for `seconds`; a line of the table."""
    server = Server(*options)
    transport = RosbridgeTransport(server.url)
    reader = PatientReader(server.url, "/command")
    over: list[float] = []
    begun: list[float] = []
    noticed: list[float] = []
    transport.on_connection(lambda connected: noticed.append(time.monotonic()) if not connected else None)

    def act() -> None:
        begun.append(time.monotonic())
        if kind == "killed":
            server.kill()
            time.sleep(seconds)
            server.start()
        else:
            server.process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            server.process.send_signal(signal.SIGCONT)
        over.append(time.monotonic())

    try:
        transport.start()
        transport.advertise("/command", "std_msgs/msg/Float64")
        timer = threading.Timer(1.0, act)
        timer.start()
        sent = 0
        for _ in pace(FAULT_RATE, seconds + 5.0):
            sent += transport.publish("/command", {"data": time.monotonic()})
        timer.join()
        time.sleep(0.3)
    finally:
        transport.close()
        reader.close()
        server.kill()
    arrivals = reader.arrivals
    stale = [age for _, age in arrivals if age > STALE]
    fresh_after = [when for when, age in arrivals if when > over[0] and age <= STALE]
    last_before = max((when for when, age in arrivals if when < over[0] and age <= STALE), default=float("nan"))
    first_after = min(fresh_after, default=float("nan"))
    name = f"{kind} {seconds:g} s" + (", delivers" if options else "")
    return (
        f"{name:22} {noticed[0] - begun[0]:9.2f} {first_after - last_before:10.2f} {first_after - over[0]:11.2f} "
        f"{len(stale):7d} {max(stale, default=0):9.1f} {transport.counters['dropped']:9d}"
    )


# Command --------------------------------------------------------------------------------------------------------------


def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="robot_bridge.latency", description=DESCRIPTION)
    parser.add_argument("--url", help="ws://host:9090, with ?token=… where needed; default: an embedded server")
    parser.add_argument("--rates", type=float, nargs="+", default=[100, 500, 1000], help="messages per second")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long at each rate")
    parser.add_argument("--joints", type=int, default=9, help="of the JointState")
    parser.add_argument("--queue-length", type=int, default=10, help="messages that may wait for a receiver")
    parser.add_argument("--faults", action="store_true", help="measure outages instead, of an embedded server")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write what is printed there, too")
    parser.add_argument("--echo", metavar="PREFIX", help="used by the command itself: be the second process")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.ERROR)
    if args.echo:
        run_echo(args.echo, args.queue_length)
        return
    require(all(0 < rate <= 10_000 for rate in args.rates), "--rates", args.rates, "0 to 10,000 messages/s")
    require(args.seconds > 0, "--seconds", args.seconds, "more than 0")
    require(args.joints > 0, "--joints", args.joints, "1 or more")
    require(args.queue_length > 0, "--queue-length", args.queue_length, "1 or more")
    require(not (args.faults and args.url), "--url", args.url, "none with --faults, which needs a server of its own")
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    say(f"{platform.machine()}, {os.cpu_count()} cores{load}, Python {platform.python_version()}")
    if args.faults:
        faults(say)
    else:
        latencies(say, args.url, args.rates, args.seconds, args.joints, args.queue_length)
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")


def latencies(
    say: Say, url: str | None, rates: Sequence[float], seconds: float, joints: int, queue_length: int
) -> None:
    """Print the table of round trips."""
    server = None if url else Server()
    target = url or (server.url if server else "")
    say(f"{joints}-joint JointState through {target.split('?')[0]}, {seconds:g} s at each rate; times in ms\n")
    say(f"{'rate/s':>7} {'way':5} {'p50':>8} {'p99':>8} {'max':>8} {'arrived/s':>9} {'of sent':>9}  dropped here")
    try:
        for rate in rates:
            for kind in ("once", "echo"):
                times = measure(target, rate, seconds, joints, queue_length, echo=kind == "echo")
                say(f"{rate:7.0f} {kind:5} {times.summary(seconds)}")
    finally:
        if server:
            server.kill()


def faults(say: Say) -> None:
    """Print the table of outages."""
    say(
        f"commands at {FAULT_RATE:g}/s to a subscriber that waits for ever; times in s, stale: older than {STALE:g} s\n"
    )
    heads = f"{'noticed':>9} {'silence':>10} {'back after':>11} {'stale':>7} {'oldest':>9} {'not sent':>9}"
    say(f"{'server':22} {heads}")
    for kind, seconds in (("killed", 2.0), ("killed", 8.0), ("stopped", 6.0)):
        say(fault(kind, seconds))
    say(fault("stopped", 2.0, "--stall-limit", "inf"))
    say(
        "\nkilled: silence includes the start of the new process. delivers: the server passes on, once it wakes up,"
        "\nwhat was on the way when it was stopped, as a rosbridge_server does: the receiver has to look at the stamps"
    )


if __name__ == "__main__":
    main()
