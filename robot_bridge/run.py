"""Run a policy on a robot: `python -m robot_bridge.run --policy policy/ --robot franka --url ws://robot:9090`."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from robot_bridge.errors import ArgumentParser, UserError, command, require
from robot_bridge.node.decision_log import DecisionLog
from robot_bridge.node.loop import run, run_lock_step
from robot_bridge.node.peers import require_alone
from robot_bridge.node.policy_node import WORDS, Mode, PolicyNode
from robot_bridge.node.timing import keep_time, percentiles
from robot_bridge.page.server import OperatorPage
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.config import load_robot
from robot_bridge.robot.robot import Robot, simulated
from robot_bridge.signals import on_ending
from robot_bridge.transport import Transport
from robot_bridge.transport.connection import add_options, connection, place

DESCRIPTION = """Run a policy on a robot, guarded.

Nothing moves before it is enabled: type enable (or call the service /policy/enable). After any fault it stands until it
is enabled again. Other words: disable, stop, status; go_to_start moves slowly to where the training data begin. Ctrl-C,
a hang-up and the like decelerate, then end. First try it with --dry-run, then with --shadow beside the present
controller."""


def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="robot_bridge.run", description=DESCRIPTION)
    parser.add_argument(
        "--policy", type=Path, required=True, help="folder of the bundle (lapo_tf.export, robot_bridge.bundle)"
    )
    parser.add_argument("--robot", help="config file, or name of one that comes along, e.g. franka")
    add_options(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="decide and log, send nothing")
    how.add_argument("--shadow", action="store_true", help="send nothing, compare with what the outputs carry now")
    how.add_argument(
        "--lock-step",
        action="store_true",
        help="one command per observation of a locked simulation, unlimited; needs no --robot",
    )
    parser.add_argument("--name", default="policy", help="of the node; services: /NAMESPACE/NAME/enable, …")
    parser.add_argument("--namespace", default="", help="of the node, such as /left; for several robots on one bridge")
    parser.add_argument("--enable", action="store_true", help="enable at once (for simulations)")
    parser.add_argument("--speed", type=float, help="share of the policy's speed, instead of the config's")
    parser.add_argument("--duration", type=float, help="seconds after which to stop")
    parser.add_argument(
        "--log", type=Path, metavar="FOLDER", help="log every decision as a bag (MCAP); {time} becomes the present time"
    )
    parser.add_argument("--keep-logs", type=int, metavar="N", help="with {time} in --log: remove all but the newest N")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write counts and timing as JSON at the end")
    parser.add_argument(
        "--page",
        metavar="[HOST:]PORT",
        help="serve a page with the state and buttons, e.g. 8080; for a phone: 0.0.0.0:8080",
    )
    return parser


def load(policy: Path, robot: str | None, speed: float | None = None) -> tuple[Policy, Robot]:
    """The policy and its robot (None: a simulation in lock-step).

    Raises:
        UserError: one of them is wrong, or they do not fit each other.
    """
    loaded = Policy.load(policy)
    chosen = simulated(loaded.description) if robot is None else load_robot(robot)
    if mistakes := chosen.mistakes_with(loaded.description):
        raise UserError(f"{robot} cannot run {policy}: " + "; ".join(mistakes))
    if speed is not None:
        require(0 < speed <= 1, "--speed", speed, "above 0 and at most 1")
        chosen = replace(chosen, guards=replace(chosen.guards, speed=speed))
    return loaded, chosen


def full_name(namespace: str, name: str) -> str:
    """The node's name in full: /left/policy.

    Raises:
        UserError: it is no name.
    """
    full = "/".join(["", *filter(None, namespace.split("/")), name])
    if not re.fullmatch(r"(/[A-Za-z_][A-Za-z0-9_]*)+", full):
        raise UserError(f"'{full}' is no name of a node: expected letters, digits and _, such as --namespace /left")
    return full


def foreground() -> bool:
    """Whether the keyboard is this program's: not a background job's, which would be stopped for reading it."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # no terminal any more, or none that knows of jobs
        return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty() and os.name != "posix"


def listen(node: PolicyNode, say: Callable[[str], None]) -> None:
    """Take words from the keyboard, while it is this program's, in a thread of its own."""

    def obey(word: str) -> None:
        if word in WORDS:
            success, message = getattr(node, word)()
            say(f"{word}: {'' if success else 'refused, '}{message}")
        elif word == "status":
            for value in node.diagnostics_message()["status"][0]["values"]:
                say(f"  {value['key']:24s} {value['value']}")
        elif word:
            say(f"words: {', '.join(WORDS)}, status")

    def read() -> None:
        while True:
            try:
                line = sys.stdin.readline() if foreground() else None
            except OSError:  # sent to the background while it read
                line = None
            if line == "":
                return
            if line is None:
                time.sleep(0.5)
            else:
                obey(line.strip())

    threading.Thread(target=read, name="keyboard", daemon=True).start()


def enable_when_ready(node: PolicyNode, timeout: float = 30.0, say: Callable[[str], None] = print) -> None:
    """Enable as soon as everything is there, in a thread of its own."""

    def wait() -> None:
        deadline, why = time.monotonic() + timeout, ""
        while time.monotonic() < deadline:
            done, why = node.enable()
            if done:
                return
            time.sleep(0.1)
        say(f"not enabled: {why}")

    threading.Thread(target=wait, name="enable", daemon=True).start()


class Printer:
    """Prints in a thread of its own: a terminal that was stopped (Ctrl-S), or a full pipe, must not stop the loop."""

    def __init__(self) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(1000)
        self._thread = threading.Thread(target=self._run, name="printer", daemon=True)
        self._thread.start()

    def __call__(self, line: str) -> None:
        """Print a line, soon; it is dropped where a thousand are waiting already."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(line)

    def close(self) -> None:
        """Print what is left, if that is possible within a second."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(1.0)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError, ValueError):  # the terminal is gone: nobody reads it
                print(line, flush=True)


def summary(node: PolicyNode) -> dict[str, object]:
    """What is worth knowing at the end."""
    counts = {**node.counts, "faults": node.states.faults}
    values: dict[str, object] = {"state": node.state, "reason": node.reason, **counts, **node.timing.summary()}
    if trips := getattr(node.transport, "round_trips", None):  # real rclpy has no pings
        values["round_trip_ms"] = percentiles(np.array(trips))
    if took := node.inference.plan.took:
        values["asking_ms"] = percentiles(np.array(took))
    values["miss_rate"] = node.timing.miss_rate
    values["transport"] = node.transport.counters.snapshot()
    values["observer"] = node.observer.counters.snapshot() | node.observer.complaints
    if node.mode == "shadow":
        values["shadow_difference"] = node.shadow.summary()
    return values


def check_writable(args: Namespace) -> None:
    """See at the start that what is to be written at the end has a place.

    Raises:
        UserError: it has none.
    """
    for option, path in (("--log", args.log), ("--report", args.report)):
        if path is None:
            continue
        folder = path.absolute().parent
        if option == "--log":
            folder = next(parent for parent in path.absolute().parents if parent.exists())
            require(not path.exists(), option, path, "a folder that does not exist yet")
        require(folder.is_dir(), option, path, f"a file in a folder that exists ({folder} does not)")
        require(os.access(folder, os.W_OK), option, path, f"a place where one may write ({folder} is none)")
        require(option == "--log" or not path.is_dir(), option, path, "a file, not a folder")


def log_folder(log: Path | None, keep: int | None) -> Path | None:
    """Where to log, with `{time}` filled in; older logs are removed until `keep` - 1 are left.

    Raises:
        UserError: `keep` is no number of logs, or there is no `{time}` to tell them apart.
    """
    if keep is not None:
        require(keep > 0, "--keep-logs", keep, "1 or more")
        require(log is not None and "{time}" in log.name, "--keep-logs", keep, "--log FOLDER/{time}")
    if log is None or "{time}" not in log.name:
        return log
    if keep is not None:
        before, after = log.name.split("{time}", 1)
        found = sorted(p for p in log.parent.glob("*") if p.name.startswith(before) and p.name.endswith(after))
        logs = [path for path in found if (path / "layout.yaml").is_file()]  # and nothing else
        for old in logs[: max(0, len(logs) - keep + 1)]:
            shutil.rmtree(old, ignore_errors=True)
    return log.with_name(log.name.replace("{time}", time.strftime("%Y-%m-%d-%H%M%S")))


def watch_signals(node: PolicyNode, say: Callable[[str], None]) -> None:
    """Have the arm brought to a stand whatever the process is asked to do, but by SIGKILL and SIGSTOP."""

    def apart(function: Callable[[], object]) -> None:
        # In a thread of its own: a handler runs in the midst of the loop, which may hold the lock.
        threading.Thread(target=function, daemon=True).start()

    def end() -> None:
        if node.ending:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        say("decelerating…")
        apart(node.shut_down)

    def freeze(*_: object) -> None:
        say("Ctrl-Z would freeze the loop: the robot is stopped instead")
        apart(node.stop)

    on_ending(end)
    for name, handler in (("SIGTSTP", freeze), ("SIGTTIN", signal.SIG_IGN), ("SIGTTOU", signal.SIG_IGN)):
        if hasattr(signal, name):  # the last two freeze a job that is in the background
            signal.signal(getattr(signal, name), handler)


@command
def main() -> None:
    """The command."""
    args = parser().parse_args()
    if args.robot is None and not args.lock_step:
        raise UserError("--robot is missing: expected a config, e.g. --robot franka (or --lock-step for a simulation)")
    check_writable(args)
    args.log = log_folder(args.log, args.keep_logs)
    name = full_name(args.namespace, args.name)
    policy, robot = load(args.policy, args.robot, args.speed)
    mode: Mode = "dry-run" if args.dry_run else "shadow" if args.shadow else "run"
    page = open_page(args.page)
    transport = connection(args)
    printer = Printer()

    def say(line: str) -> None:
        printer(line)
        if page is not None:
            page.note(line)

    transport.start()
    try:
        require_alone(transport, name, robot, commands=mode == "run", say=say)
        node = make_node(transport, policy, robot, name, mode, args.log, say)
    except BaseException:
        transport.close()
        printer.close()
        raise
    if page is not None:
        page.show(node)
        printer(f"page: {page.url}")
    printer(f"{policy.description.task} on {robot.name} at {place(args)}, {robot.rate:g} Hz, {mode}")
    if not policy.description.novelty:
        printer("novelty: none, the bundle was made without data; only numbers far out of their ranges are noticed")
    if mode == "run" and not args.lock_step:
        for sender in node.senders:
            printer(f"if nothing more is sent: {sender.alone}")
    watch_signals(node, say)
    if args.enable or mode != "run":
        enable_when_ready(node, say=say)
    if sys.stdin is not None and sys.stdin.isatty():
        listen(node, printer)
    keep_time()
    try:
        if args.lock_step:
            run_lock_step(node)
        else:
            run(node, args.duration)
    finally:
        node.close()  # the log first
        if page is not None:
            page.close()
        result = summary(node)
        if args.report:
            args.report.write_text(json.dumps(result, indent=1))
        transport.close()
        for key, value in result.items():
            printer(f"{key:24s} {value}")
        printer.close()


def open_page(where: str | None) -> OperatorPage | None:
    """The operator's page at `[HOST:]PORT`, if it is wanted; its token may be given by ROBOT_BRIDGE_PAGE_TOKEN.

    Raises:
        UserError: that is no address, or it cannot be had.
    """
    if where is None:
        return None
    host, _, port = where.rpartition(":")
    require(port.isdecimal() and int(port) <= 65535, "--page", where, "a port, or HOST:PORT, such as 8080")
    return OperatorPage(host.strip("[]") or "127.0.0.1", int(port), os.environ.get("ROBOT_BRIDGE_PAGE_TOKEN") or None)


def make_node(
    transport: Transport,
    policy: Policy,
    robot: Robot,
    name: str,
    mode: Mode,
    log: Path | None,
    say: Callable[[str], None],
) -> PolicyNode:
    """The node, declared."""

    def log_to(node: PolicyNode) -> DecisionLog:
        assert log is not None
        return DecisionLog(log, policy.description, node.observer.counters, list(robot.joints))

    node = PolicyNode(transport, policy, robot, name=name, mode=mode, log_to=None if log is None else log_to, say=say)
    node.open()
    return node


if __name__ == "__main__":
    main()
