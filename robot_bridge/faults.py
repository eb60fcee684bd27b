"""What happens when something breaks: `python -m robot_bridge.faults --out docs/faults.md`.

A policy node moves a simulated two-joint arm through the embedded server, over real sockets. One fault after the other
is provoked, and it is counted what reached the arm: commands older than `STALE` by their stamps, commands outside of
the limits of position, velocity or acceleration, and commands to move after a stop that nobody had enabled.

The arm does as a joint trajectory controller does: it follows the newest trajectory, refuses one whose end is past, and
stands at its end.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from robot_bridge.errors import ArgumentParser, command, exit_with
from robot_bridge.guards.limits import JointLimits
from robot_bridge.guards.settings import GuardSettings
from robot_bridge.node.outputs import time_message
from robot_bridge.node.policy_node import PolicyNode
from robot_bridge.robot.bundle import ActionEntry, Description, ObservationEntry
from robot_bridge.robot.robot import Input, Output, Robot
from robot_bridge.server import RosbridgeServer
from robot_bridge.transport import Message, RosbridgeTransport, TransportError

STALE = 0.25  # s; the transport lets nothing older than 0.2 s go, and the sockets take their time
LIMITS = JointLimits(*(np.array([x, x]) for x in (-1.0, 1.0, 1.0, 5.0, 500.0)))
RATE = 50.0
JOINTS = ("a", "b")
WARM_UP, AFTER = 1.5, 1.5  # s of motion before a fault, and of watching after it
STATES, COMMANDS = "/joint_states", "/arm/joint_trajectory"


class Wanderer:
    """A policy that moves both joints to and fro for ever; see `robot_bridge.robot.bundle.Policy`."""

    description = Description(
        task="to and fro",
        control_rate=RATE,
        observations=tuple(ObservationEntry(f"{j}/position", "rad", -1, 1, ()) for j in JOINTS),
        actions=tuple(ActionEntry(j, "velocity", "rad/s", 1.0, -2, 2) for j in JOINTS),
        novelty=(),
        sha256={},
    )

    def infer(self, observation: np.ndarray) -> np.ndarray:
        """Twice the allowed speed, towards limits that are out of bounds."""
        there = 1.5 * np.sign(np.sin(2.0 * time.monotonic() * np.array([1.0, 1.3])))
        return np.clip(5.0 * (there - observation), -2.0, 2.0).astype(np.float32)

    def novelty(self, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        return np.zeros(1)

    def outside(self, observation: np.ndarray) -> list[str]:
        return []

    def observation(self) -> np.ndarray:
        return np.full(2, np.nan)


class Arm:
    """The simulated arm: reports at 100 Hz, follows trajectories, and remembers all that it was told."""

    def __init__(self, url: str) -> None:
        self.transport = RosbridgeTransport(url)
        self.q = np.zeros(2)
        self.path: list[tuple[float, np.ndarray]] = []
        self.commands: list[tuple[float, float, bool]] = []  # when it was received, its age, whether it is to move
        self.clock_offset = 0.0
        self.out_of_limits = 0
        self.sensor: Callable[[Message], Message | None] = lambda message: message
        self._times, self._points = np.zeros(1), np.zeros((1, 2))
        self._last: tuple[float, np.ndarray] | None = None
        self._lock, self._ending = threading.Lock(), threading.Event()
        self.transport.advertise(STATES, "sensor_msgs/msg/JointState")
        self.transport.subscribe(COMMANDS, "trajectory_msgs/msg/JointTrajectory", self._on_command, queue_length=100)
        self.transport.start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _on_command(self, message: Message) -> None:
        now = time.time() + self.clock_offset
        stamp = message["header"]["stamp"]["sec"] + 1e-9 * message["header"]["stamp"]["nanosec"]
        points = np.array([point["positions"] for point in message["points"]])
        offsets = [p["time_from_start"]["sec"] + 1e-9 * p["time_from_start"]["nanosec"] for p in message["points"]]
        times = stamp + np.array(offsets)
        moving = bool(np.ptp(np.concatenate([points, self.q[None]]), axis=0).max() > 0.01)
        self.commands.append((now - self.clock_offset, now - stamp, moving))
        self.out_of_limits += self._outside(points, stamp)
        with self._lock:
            if times[-1] > now:
                self._times = np.concatenate([[now - 1e-6], times[times > now]])
                self._points = np.concatenate([self.q[None], points[times > now]])

    def _outside(self, points: np.ndarray, stamp: float) -> bool:
        """Whether a command breaks a limit, in itself or against the one before."""
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

    def _run(self) -> None:
        while not self._ending.wait(0.01):
            now = time.time() + self.clock_offset
            with self._lock:
                q = np.array([np.interp(now, self._times, column) for column in self._points.T])
            if self._times[0] > 0.0:
                self.q = q
            self.path.append((now - self.clock_offset, self.q.copy()))
            header = {"stamp": time_message(now), "frame_id": ""}
            message = self.sensor({"header": header, "name": list(JOINTS), "position": self.q.tolist()})
            if message is not None:
                with contextlib.suppress(ValueError):  # NaN, which JSON lacks
                    self.transport.publish(STATES, message)

    def last_moved(self, since: float, until: float) -> float | None:
        """When it last moved faster than 0.01 rad/s between two times."""
        part = [(t, q) for t, q in self.path if since <= t <= until]
        moved = [b[0] for a, b in itertools.pairwise(part) if np.abs(b[1] - a[1]).max() > 0.01 * (b[0] - a[0])]
        return moved[-1] if moved else None

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self.transport.close()


class Bench:
    """Server, arm and node, running."""

    def __init__(self) -> None:
        self.server = RosbridgeServer(port=0).start()
        self.arm = Arm(self.server.url)
        self.transport = RosbridgeTransport(self.server.url)
        robot = Robot(
            "arm",
            {joint: joint for joint in JOINTS},
            RATE,
            (Input(STATES, max_age=0.15),),
            (Output("trajectory", COMMANDS, JOINTS, 0.1),),
            LIMITS,
            guards=GuardSettings(max_lead=0.3),
        )
        policy = Wanderer()
        self.node = PolicyNode(self.transport, policy, robot, say=lambda line: None)  # type: ignore[arg-type]
        self.node.open()
        self.transport.start()
        self._thread = threading.Thread(target=self.node.run, daemon=True)
        self._thread.start()
        self.enable()

    def enable(self, within: float = 10.0) -> float:
        """Enable as soon as it is possible; the seconds that took."""
        begin, why = time.monotonic(), ""
        while time.monotonic() - begin < within:
            done, why = self.node.enable()
            if done:
                return time.monotonic() - begin
            time.sleep(0.02)
        raise TransportError(f"not enabled within {within:g} s: {why}")

    def until_moving(self, within: float = 20.0) -> None:
        """Wait until the arm moves; enables again where a busy machine made the loop stand still."""
        begin = time.monotonic()
        while time.monotonic() - begin < within:
            now = time.time()
            if self.node.state == "active" and (self.arm.last_moved(now - 0.2, now) or 0.0) > now - 0.05:
                return
            if self.node.state == "fault":
                self.enable()
            time.sleep(0.01)
        raise TransportError(f"the arm did not move within {within:g} s: {self.node.reason}")

    def close(self) -> None:
        self.node.shut_down()
        self._thread.join()
        self.node.close()
        self.transport.close()
        self.arm.close()
        self.server.stop()


Fault = Callable[[Bench], Iterator[None]]


def _kill(seconds: float) -> Fault:
    def fault(bench: Bench) -> Iterator[None]:
        bench.server.kill()
        time.sleep(seconds)
        bench.server.start()
        yield

    return fault


def _freeze(bench: Bench) -> Iterator[None]:
    bench.server.freeze(6.0)
    time.sleep(6.0)
    yield


def _sensor(change: Callable[[Message], Message | None]) -> Fault:
    def fault(bench: Bench) -> Iterator[None]:
        bench.arm.sensor = change
        time.sleep(AFTER)
        yield
        bench.arm.sensor = lambda message: message

    return fault


def _repeat(bench: Bench) -> Iterator[None]:
    first: list[Message] = []

    def again(message: Message) -> Message:
        first.append(message)
        return first[0]

    return _sensor(again)(bench)


def _flood(bench: Bench) -> Iterator[None]:
    ending = threading.Event()
    sender = RosbridgeTransport(bench.server.url)
    sender.advertise("/flood", "sensor_msgs/msg/JointState")
    sender.start()
    bench.transport.subscribe("/flood", "sensor_msgs/msg/JointState", lambda message: None)

    def flood() -> None:
        message = {"header": {"stamp": {"sec": 1, "nanosec": 0}, "frame_id": ""}, "name": ["x"] * 9}
        while not ending.wait(0.005):
            for _ in range(5):
                sender.publish("/flood", message | {"position": [0.0] * 9})

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    time.sleep(AFTER)
    yield
    ending.set()
    thread.join()
    sender.close()


def _slow_callback(bench: Bench) -> Iterator[None]:
    subscription = bench.transport.subscribe(STATES, "sensor_msgs/msg/JointState", lambda message: time.sleep(0.02))
    time.sleep(AFTER)
    yield
    subscription.close()


def _fuzz(bench: Bench) -> Iterator[None]:
    rng = random.Random(0)
    good = ['{"op":"publish","topic":"/joint_states","msg":{"name":["a"],"position":[1e999]}}', '{"op":"subscribe"}']
    end = time.monotonic() + AFTER
    while time.monotonic() < end:
        with contextlib.suppress(WebSocketException, OSError), connect(bench.server.url, open_timeout=1.0) as websocket:
            for _ in range(20):
                text = bytearray(rng.choice(good).encode())
                text[rng.randrange(len(text))] = rng.randrange(256)
                websocket.send(bytes(text) if rng.random() < 0.5 else text.decode(errors="replace"))
                time.sleep(0.002)
    yield


def _jump(bench: Bench) -> Iterator[None]:
    bench.arm.clock_offset = -100.0
    time.sleep(AFTER)
    yield
    bench.arm.clock_offset = 0.0


def _reverse(message: Message) -> Message:
    return message | {"name": message["name"][::-1], "position": message["position"][::-1]}


FAULTS: dict[str, tuple[Fault, bool]] = {
    "server killed, 2 s": (_kill(2.0), True),
    "server killed, 8 s": (_kill(8.0), True),
    "server frozen, 6 s": (_freeze, True),
    "sensor stopped": (_sensor(lambda message: None), True),
    "sensor says NaN": (_sensor(lambda m: m | {"position": [float("nan"), 0.0]}), True),
    "sensor says null (NaN of a rosbridge)": (_sensor(lambda m: m | {"position": [None, 0.0]}), True),
    "sensor of wrong types": (_sensor(lambda m: m | {"position": ["0.1", {}]}), True),
    "sensor repeats its last message": (_repeat, True),
    "joint order changed": (_sensor(_reverse), False),
    "robot's clock jumps by 100 s": (_jump, False),
    "flood of 1,000 messages/s": (_flood, False),
    "slow callback (20 ms at 100 Hz) beside": (_slow_callback, False),
    "malformed frames": (_fuzz, False),
}
"""Each fault, and whether the robot has to stop for it."""


@dataclass(frozen=True)
class Result:
    """What a fault did. `stop` is s from its beginning to the last motion, None where it went on."""

    name: str
    must_stop: bool
    commands: int
    stale: int
    out_of_limits: int
    unasked: int
    stop: float | None
    recovery: str

    @property
    def safe(self) -> bool:
        """Whether nothing reached the robot that should not have, and it stopped if it had to."""
        return not (self.stale or self.out_of_limits or self.unasked) and (self.stop is not None or not self.must_stop)


def provoke(name: str) -> Result:
    """One fault, from a fresh start."""
    fault, must_stop = FAULTS[name]
    bench = Bench()
    try:
        time.sleep(WARM_UP)
        bench.until_moving()
        began = time.time()
        steps = fault(bench)
        next(steps)
        next(steps, None)  # it is over
        over = time.time()
        time.sleep(AFTER)
        watched = time.time()
        stopped = bench.node.state in ("fault", "inactive")
        last = bench.arm.last_moved(began, watched)
        unasked = sum(moving and (last or began) < t < watched for t, _, moving in bench.arm.commands) if stopped else 0
        if stopped:
            waited = bench.enable() + AFTER
            time.sleep(1.0)
            moved = bench.arm.last_moved(watched, time.time()) is not None
            recovery = f"moves again when enabled, {'' if moved else 'NOT '}within {waited:.1f} s of its end"
        else:
            moving = bench.arm.last_moved(over, watched) is not None
            recovery = "goes on" if moving else "STANDS, although active"
        ages = np.array([age for _, age, _ in bench.arm.commands])
        return Result(
            name,
            must_stop,
            len(ages),
            int((np.abs(ages[_near(ages)]) > STALE).sum()),
            bench.arm.out_of_limits,
            unasked,
            max(0.0, (last or began) - began) if stopped else None,
            recovery,
        )
    finally:
        bench.close()


def _near(ages: np.ndarray) -> np.ndarray:
    """Commands whose stamps are of this clock, not of one that jumped by 100 s on purpose."""
    return np.abs(ages) < 50.0


TABLE = """# Faults, provoked

`python -m robot_bridge.faults` moves a two-joint arm through the embedded server, breaks one thing after the other, and
counts what reached the arm. Limits: 1 rad/s, 5 rad/s²; inputs may be 0.15 s old; loop and commands at {rate:g} Hz.
Made on {cores} cores at a load of {load:.1f}.

| fault | commands in all | stale | out of limits | unasked after the stop | time to stop | afterwards |
|---|---|---|---|---|---|---|
{rows}

*Stale*: more than {stale:g} s old by its stamp. *Unasked*: a command to move, received after the stop and before
somebody enabled again. *Time to stop*: from the fault to the last motion, which includes the age that is tolerated and
the braking (0.2 s from full speed); with the connection gone the arm ends its last trajectory by itself.
"""


def table(results: list[Result]) -> str:
    """The results as Markdown."""
    rows = "\n".join(
        f"| {r.name} | {r.commands} | {r.stale} | {r.out_of_limits} | {r.unasked} | "
        f"{'no need' if r.stop is None and not r.must_stop else 'NEVER' if r.stop is None else f'{r.stop:.2f} s'} | "
        f"{r.recovery} |"
        for r in results
    )
    return TABLE.format(rows=rows, rate=RATE, stale=STALE, cores=os.cpu_count(), load=os.getloadavg()[1])


def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="robot_bridge.faults", description=__doc__ or "")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table (Markdown) there")
    parser.add_argument("--only", metavar="TEXT", default="", help="only faults with this in their names")
    return parser


@command
def main() -> None:
    """The command."""
    args = parser().parse_args()
    results = []
    for name in FAULTS:
        if args.only in name:
            results.append(provoke(name))
            r = results[-1]
            stop = "goes on" if r.stop is None else f"stops in {r.stop:.2f} s"
            counts = f"stale {r.stale}, out of limits {r.out_of_limits}, unasked {r.unasked}"
            print(f"{name:40s} {counts}; {stop}; {r.recovery}", flush=True)
    if args.out:
        args.out.write_text(table(results))
    if bad := [r.name for r in results if not r.safe]:
        exit_with(f"not safe: {', '.join(bad)}")


if __name__ == "__main__":
    main()
