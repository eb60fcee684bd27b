"""What happens when something breaks: `python -m robot_bridge.faults --out docs/faults.md`.

A policy node in a process of its own moves a simulated arm through the embedded server, over real sockets, by
each kind of output. One fault after the other is provoked, and it is counted what reached the arm: commands older than
0.25 s by their stamps, commands outside of the limits, and commands to move after a stop that nobody had enabled.

The property: whatever happens, the arm comes to a stand; by what the node does, or by that setting of the arm's
controller which the node names when it starts.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from robot_bridge.errors import ArgumentParser, command, exit_with
from robot_bridge.robot.cartesian import TWISTS
from robot_bridge.robot.robot import OutputKind
from robot_bridge.simulation.bench import RATE, STALE, Bench
from robot_bridge.simulation.controller import COMMAND_TIMEOUT
from robot_bridge.simulation.faults import AFTER, FAULTS, Fault
from robot_bridge.transport import TransportError

KINDS: tuple[OutputKind, ...] = get_args(OutputKind)
TIMED = ("velocity", "effort", *TWISTS)
"""The kinds that go on until their controller's time-out."""
WARM_UP = 1.0  # s of motion before a fault
TRIES = 3
STANDS = 0.5  # s without motion at the end of the watching that are a stand
SLACK = 0.05  # s after the last motion in which the end of the braking still arrives


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


def provoke(kind: OutputKind, names: Sequence[str]) -> Iterator[Result]:
    """Faults, those first in which nothing can be said to the arm. Each finds the arm moving, enabled anew after the
    one before; the bench is another one where that is no fresh start."""
    for cut in (True, False):
        timeout = COMMAND_TIMEOUT if cut else math.inf
        concerned = [name for name in names if FAULTS[name].cut is cut]
        concerned = [name for name in concerned if (kinds := FAULTS[name].kinds) is None or kind in kinds]
        with Benches(kind, timeout) as benches:
            for name in concerned:
                result = _break(benches.moving(), name)
                if FAULTS[name].spoils or not result.recovery.startswith(("moves", "goes on")):
                    benches.close()
                yield result


class Benches:
    """One bench at a time."""

    def __init__(self, kind: OutputKind, command_timeout: float) -> None:
        self._kind, self._timeout = kind, command_timeout
        self._bench: Bench | None = None

    def __enter__(self) -> Benches:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def moving(self) -> Bench:
        """One whose arm moves: the present one, or a new one where that does not.

        Raises:
            TransportError: none does, `TRIES` times: a machine with too much else to do.
        """
        for _ in range(TRIES):
            try:
                return self._moving()
            except TransportError:
                self.close()
        return self._moving()

    def _moving(self) -> Bench:
        if self._bench is None:
            self._bench = Bench(self._kind, self._timeout)
            time.sleep(WARM_UP)
        self._bench.until_moving()
        return self._bench

    def close(self) -> None:
        """End the present one."""
        bench, self._bench = self._bench, None
        if bench is not None:
            bench.close()


def _break(bench: Bench, name: str) -> Result:
    """One fault."""
    fault = FAULTS[name]
    bench.broke = time.monotonic()
    steps = fault.act(bench)
    next(steps)
    next(steps, None)  # it is over
    began, over = bench.broke, time.monotonic()
    time.sleep(AFTER)
    watched = time.monotonic()
    last = bench.arm.last_moved(began, watched)
    stopped = last is None or last < watched - STANDS
    stand = (last or began) + SLACK
    after_stop = [told for told in bench.record.commands if stand < told.time < watched]
    recovery = _recover(bench, fault, watched) if stopped else "goes on"
    if not stopped and bench.arm.last_moved(over, watched) is None:
        recovery = "STANDS"
    commands, bench.record.commands = bench.record.commands, []
    ages = [told.age for told in commands if abs(told.age) < 50.0]  # not of a clock that was set
    return Result(
        name,
        bench.kind,
        fault.must_stop,
        len(commands),
        sum(abs(age) > STALE for age in ages),
        sum(told.outside for told in commands),
        sum(told.moving for told in after_stop) if stopped else 0,
        max(0.0, (last or began) - began) if stopped else None,
        recovery,
        bench.alone,
    )


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
server, breaks one thing after the other, and counts what reached the arm. It does so for every kind of output; a
gripper's joints move together, a twist or a pose moves two axes. Limits: 1 rad/s (m/s), 5 rad/s² (m/s²); inputs may be
0.15 s old; loop and commands at {rate:g} Hz. Made on {cores} cores at a load of
{load:.1f}.

**The property.** Whatever happens, the arm comes to a stand; by what the node does, or by the setting of its controller
that the node names when it starts (last section).

## Time to a stand, s

{stops}

*: by the controller's time-out of {timeout:g} s, which the node asks for when it starts. While nothing can be said to
the arm, a velocity, an effort or a twist goes on without it. In all other rows that controller has no time-out at all.
"goes on": no need to stop, and it did not; "no need": it stopped all the same, as it does where a busy machine makes
messages late. The times count from the fault to the last motion. They include the age that
is tolerated and the braking (0.2 s from full speed); with the connection gone an arm ends its last trajectory by
itself.

## What reached the arm

{counts}

*Stale*: more than {stale:g} s old by its stamp; arrays, twists without a header and grippers' goals have none. *Out of
limits*: of position, velocity or acceleration; of efforts, the policy's bounds; of grippers' goals, their position.
*Unasked*: a command to move, received after the stop and before somebody enabled again.{exceptions}

## What the stop depends on when nothing more is sent, as the node says

{alone}
"""


def table(results: list[Result]) -> str:
    """The results as Markdown."""
    kinds = [kind for kind in KINDS if any(r.kind == kind for r in results)]
    by = {(r.name, r.kind): r for r in results}
    names = [name for name in FAULTS if any(r.name == name for r in results)]
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
    mark = "*" if FAULTS[result.name].cut and result.kind in TIMED else ""
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
        for r in provoke(kind, [name for name in FAULTS if args.only in name]):
            results.append(r)
            stop = "goes on" if r.stop is None else f"stops in {r.stop:.2f} s"
            counts = f"stale {r.stale}, out of limits {r.out_of_limits}, unasked {r.unasked}"
            print(f"{kind:14s} {r.name:40s} {counts}; {stop}; {r.recovery}", flush=True)
    if args.out:
        args.out.write_text(table(results))
    if bad := [f"{r.name} ({r.kind})" for r in results if not r.safe]:
        exit_with(f"not safe: {', '.join(bad)}")


if __name__ == "__main__":
    main()
