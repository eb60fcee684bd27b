"""What happens when something breaks: `python -m robot_bridge.faults --out docs/faults.md`.

A policy node in a process of its own moves a simulated two-joint arm through the embedded server, over real sockets, by
each kind of output. One fault after the other is provoked, and it is counted what reached the arm: commands older than
0.25 s by their stamps, commands outside of the limits, and commands to move after a stop that nobody had enabled.

The property: whatever happens, the arm comes to a stand; by what the node does, or by that setting of the arm's
controller which the node names when it starts.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from robot_bridge.errors import ArgumentParser, command, exit_with
from robot_bridge.node.policy_node import STOP_ALL
from robot_bridge.robot.robot import GRIPPERS, OutputKind
from robot_bridge.simulation.bench import FLOOD, RATE, STALE, START_WITHIN, Bench
from robot_bridge.simulation.controllers import COMMAND_TIMEOUT
from robot_bridge.transport import RosbridgeTransport, TransportError

KINDS: tuple[OutputKind, ...] = tuple(kind for kind in get_args(OutputKind) if kind not in GRIPPERS)
"""Those that move an arm: a gripper ends its last goal and keeps its grip."""
WARM_UP, AFTER = 1.0, 1.5  # s of motion before a fault, and of watching after it
STANDS = 0.5  # s without motion at the end of the watching that are a stand

SLACK = 0.05  # s after the last motion in which the end of the braking still arrives

Act = Callable[[Bench], Iterator[None]]


@dataclass(frozen=True)
class Fault:
    """Something that breaks.

    Attributes:
        act: breaks it, yields, mends it.
        must_stop: whether the arm has to stop for it.
        cut: whether nothing can be said to the arm meanwhile: where commands carry no end of their own, its controller
            then has the time-out that the node asks for at its start; otherwise it has none.
        gone: whether the node's process has ended.
    """

    act: Act
    must_stop: bool = True
    cut: bool = False
    gone: bool = False


def _wait(seconds: float = AFTER) -> Iterator[None]:
    time.sleep(seconds)
    yield


def _kill(seconds: float) -> Act:
    def act(bench: Bench) -> Iterator[None]:
        bench.server.kill()
        time.sleep(seconds)
        bench.server.start()
        yield

    return act


def _freeze(bench: Bench) -> Iterator[None]:
    bench.server.freeze(6.0)
    return _wait(6.0)


def _sensor(state: str) -> Act:
    def act(bench: Bench) -> Iterator[None]:
        bench.simulation.sensor = state
        yield from _wait()
        bench.simulation.sensor = "good"

    return act


def _whim(whim: str) -> Act:
    def act(bench: Bench) -> Iterator[None]:
        bench.say_whim(whim)
        yield from _wait()
        bench.say_whim("")

    return act


def _signal(*signals: tuple[int, float]) -> Act:
    def act(bench: Bench) -> Iterator[None]:
        for number, seconds in signals:
            bench.signal_node(number)
            time.sleep(seconds)
        yield

    return act


def _second_node(bench: Bench) -> Iterator[None]:
    first, begin = bench.watcher.node["node"], time.monotonic()
    bench.start_node()
    while bench.watcher.node["node"] == first and time.monotonic() - begin < START_WITHIN:
        time.sleep(0.01)
    bench.broke = time.monotonic()  # it took its time to start
    time.sleep(AFTER)
    for node in bench.nodes:  # the second has taken the services over: neither is of use any more
        node.kill()
    yield


def _stop(bench: Bench) -> Iterator[None]:
    bench.watcher.transport.publish(STOP_ALL, {})
    return _wait()


def _flood(bench: Bench) -> Iterator[None]:
    ending = threading.Event()
    sender = RosbridgeTransport(bench.server.url)
    sender.advertise(FLOOD, "sensor_msgs/msg/JointState")
    sender.start()

    def flood() -> None:
        message = {"header": {"stamp": {"sec": 1, "nanosec": 0}, "frame_id": ""}, "name": ["x"] * 9}
        while not ending.wait(0.005):
            for _ in range(5):
                sender.publish(FLOOD, message | {"position": [0.0] * 9})

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    time.sleep(AFTER)
    yield
    ending.set()
    thread.join()
    sender.close()


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


def _jump(seconds: float) -> Act:
    def act(bench: Bench) -> Iterator[None]:
        bench.simulation.time += seconds
        return _wait()

    return act


def _signals() -> dict[str, Fault]:
    """What may befall the node's process, where the platform has such signals (Windows has not)."""
    if not hasattr(signal, "SIGSTOP"):
        return {}
    return {
        "node killed (SIGKILL)": Fault(_signal((signal.SIGKILL, AFTER)), cut=True, gone=True),
        "node frozen, 3 s": Fault(_signal((signal.SIGSTOP, 3.0), (signal.SIGCONT, 0.5)), cut=True),
        "node frozen, 0.25 s": Fault(_signal((signal.SIGSTOP, 0.25), (signal.SIGCONT, 0.5))),
        "terminal hangs up (SIGHUP)": Fault(_signal((signal.SIGHUP, AFTER)), gone=True),
    }


FAULTS: dict[str, Fault] = {
    "server killed, 2 s": Fault(_kill(2.0), cut=True),
    "server killed, 8 s": Fault(_kill(8.0), cut=True),
    "server frozen, 6 s": Fault(_freeze, cut=True),
    **_signals(),
    "second node of the same name": Fault(_second_node, gone=True),
    "policy raises": Fault(_whim("raise")),
    "policy says NaN": Fault(_whim("nan")),
    "stop on its topic": Fault(_stop),
    "sensor stopped": Fault(_sensor("silent")),
    "sensor says null (NaN of a rosbridge)": Fault(_sensor("nan")),
    "sensor of wrong types": Fault(_sensor("mistyped")),
    "sensor repeats its last message": Fault(_sensor("frozen")),
    "joint order changed": Fault(_sensor("reversed"), must_stop=False),
    "robot's clock set back by 100 s": Fault(_jump(-100.0), must_stop=False),
    "flood of 1,000 messages/s": Fault(_flood, must_stop=False),
    "slow callback (20 ms at 100 Hz) beside": Fault(_whim("slow"), must_stop=False),
    "malformed frames": Fault(_fuzz, must_stop=False),
}


@dataclass(frozen=True)
class Result:
    """What a fault did to an output of one kind.

    Attributes:
        stop: s from its beginning to the last motion, None where the arm went on.
        alone: what the node says at its start of what stops the arm when nothing more is sent.
    """

    name: str
    kind: str
    must_stop: bool
    commands: int
    stale: int
    out_of_limits: int
    unasked: int
    stop: float | None
    recovery: str
    alone: str = ""

    @property
    def safe(self) -> bool:
        """Whether nothing reached the robot that should not have, and it stopped if it had to."""
        return not (self.stale or self.out_of_limits or self.unasked) and (self.stop is not None or not self.must_stop)


def provoke(name: str, kind: OutputKind) -> Result:
    """One fault, from a fresh start."""
    fault = FAULTS[name]
    bench = Bench(kind, COMMAND_TIMEOUT if fault.cut else math.inf)
    try:
        time.sleep(WARM_UP)
        bench.until_moving()
        bench.broke = time.monotonic()
        steps = fault.act(bench)
        next(steps)
        next(steps, None)  # it is over
        began = bench.broke
        over = time.monotonic()
        time.sleep(AFTER)
        watched = time.monotonic()
        last = bench.arm.last_moved(began, watched)
        stopped = last is None or last < watched - STANDS
        stand = (last or began) + SLACK
        after_stop = [told for told in bench.record.commands if stand < told.time < watched]
        recovery = _recover(bench, fault, watched) if stopped else "goes on"
        if not stopped and bench.arm.last_moved(over, watched) is None:
            recovery = "STANDS"
        ages = [told.age for told in bench.record.commands if abs(told.age) < 50.0]  # not of a clock that was set
        return Result(
            name,
            kind,
            fault.must_stop,
            len(bench.record.commands),
            sum(abs(age) > STALE for age in ages),
            sum(told.outside for told in bench.record.commands),
            sum(told.moving for told in after_stop) if stopped else 0,
            max(0.0, (last or began) - began) if stopped else None,
            recovery,
            bench.alone,
        )
    finally:
        bench.close()


def _recover(bench: Bench, fault: Fault, since: float) -> str:
    """Enable again, a new node if the old one is gone; whether the arm moves."""
    if fault.gone:
        bench.nodes[-1].join(5.0)
        bench.start_node()
    try:
        bench.enable(30.0)
        bench.until_moving()
    except TransportError as error:
        return f"does NOT move again: {error}"
    return f"moves when {'started and ' if fault.gone else ''}enabled again"


TABLE = """# Faults, provoked

`python -m robot_bridge.faults` lets a policy node, in a process of its own, move a two-joint arm through the embedded
server, breaks one thing after the other, and counts what reached the arm. It does so for every kind of output. Limits:
1 rad/s, 5 rad/s²; inputs may be 0.15 s old; loop and commands at {rate:g} Hz. Made on {cores} cores at a load of
{load:.1f}.

**The property.** Whatever happens, the arm comes to a stand; by what the node does, or by the setting of its controller
that the node names when it starts (last section).

## Time to a stand, s

{stops}

*: by the controller's time-out of {timeout:g} s, which the node asks for when it starts. While nothing can be said to
the arm, a velocity or an effort goes on without it. In all other rows that controller has no time-out at all.
"goes on": no need to stop, and it did not; "no need": it stopped all the same, as it does where a busy machine makes
messages late. The times count from the fault to the last motion. They include the age that
is tolerated and the braking (0.2 s from full speed); with the connection gone an arm ends its last trajectory by
itself.

## What reached the arm

{counts}

*Stale*: more than {stale:g} s old by its stamp; arrays have none. *Out of limits*: of position, velocity or
acceleration; of efforts, the policy's bounds. *Unasked*: a command to move, received after the stop and before somebody
enabled again.{exceptions}

## What the stop depends on when nothing more is sent, as the node says

{alone}
"""


def table(results: list[Result]) -> str:
    """The results as Markdown."""
    kinds = [kind for kind in KINDS if any(r.kind == kind for r in results)]
    by = {(r.name, r.kind): r for r in results}
    names = list(dict.fromkeys(r.name for r in results))
    rows = [f"| {name} | " + " | ".join(_stop_cell(by.get((name, kind))) for kind in kinds) + " |" for name in names]
    counts = [
        f"| {kind} | "
        + " | ".join(
            f"{sum(getattr(r, what) for r in results if r.kind == kind)}"
            for what in ("commands", "stale", "out_of_limits", "unasked")
        )
        + " |"
        for kind in kinds
    ]
    odd = [f"{r.kind}, {r.name}: {r.recovery}" for r in results if "NOT" in r.recovery or "STANDS" in r.recovery]
    said = "\n".join(f"- {odd}" for odd in odd)
    texts = [f"- {kind}: {next(r.alone for r in results if r.kind == kind)}." for kind in kinds]
    return TABLE.format(
        stops="\n".join([_header("fault", kinds), *rows]),
        counts="\n".join([_header("output", ["commands in all", "stale", "out of limits", "unasked"]), *counts]),
        exceptions=f" After each stop the arm moved when enabled again{', but:' if odd else '.'}"
        + ("\n\n" + said if odd else ""),
        alone="\n".join(texts),
        rate=RATE,
        stale=STALE,
        timeout=COMMAND_TIMEOUT,
        cores=os.cpu_count(),
        load=os.getloadavg()[1],
    )


def _header(first: str, others: Sequence[str]) -> str:
    return f"| {' | '.join([first, *others])} |\n{'|---' * (1 + len(others))}|"


def _stop_cell(result: Result | None) -> str:
    if result is None:
        return "-"
    if result.stop is None:
        return "**NEVER**" if result.must_stop else "goes on"
    mark = "*" if FAULTS[result.name].cut and result.kind in ("velocity", "effort") else ""
    return f"{result.stop:.2f}{mark}" + ("" if result.must_stop else ", no need")


def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="robot_bridge.faults", description=__doc__ or "")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the tables (Markdown) there")
    parser.add_argument("--only", metavar="TEXT", default="", help="only faults with this in their names")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this kind of output; may be repeated")
    return parser


@command
def main() -> None:
    """The command."""
    args = parser().parse_args()
    logging.getLogger("robot_bridge").setLevel(logging.CRITICAL)  # what breaks here breaks on purpose
    results = []
    for kind in args.kind or KINDS:
        for name in FAULTS:
            if args.only in name:
                results.append(provoke(name, kind))
                r = results[-1]
                stop = "goes on" if r.stop is None else f"stops in {r.stop:.2f} s"
                counts = f"stale {r.stale}, out of limits {r.out_of_limits}, unasked {r.unasked}"
                print(f"{kind:10s} {name:40s} {counts}; {stop}; {r.recovery}", flush=True)
    if args.out:
        args.out.write_text(table(results))
    if bad := [f"{r.name} ({r.kind})" for r in results if not r.safe]:
        exit_with(f"not safe: {', '.join(bad)}")


if __name__ == "__main__":
    main()
