"""Run a policy on a robot: `python -m robot_bridge.run --policy policy/ --robot franka --url ws://robot:9090`."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from robot_bridge.errors import ArgumentParser, UserError, command, require
from robot_bridge.node.decision_log import DecisionLog
from robot_bridge.node.policy_node import Mode, PolicyNode
from robot_bridge.node.timing import keep_time, percentiles
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.config import load_robot
from robot_bridge.robot.robot import Robot, simulated
from robot_bridge.transport.connection import add_options, connection, place

DESCRIPTION = """Run a policy on a robot, guarded.

Nothing moves before it is enabled: type enable (or call the service /policy/enable). After any fault it stands until it
is enabled again. Other words: disable, stop, status. Ctrl-C decelerates, then ends. First try it with --dry-run, then
with --shadow beside the present controller."""

SHUT_DOWN_WITHIN = 5.0  # s for decelerating, after which the process ends anyway


def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="robot_bridge.run", description=DESCRIPTION)
    parser.add_argument("--policy", type=Path, required=True, help="folder of the bundle (python -m lapo_tf.export)")
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
    parser.add_argument("--enable", action="store_true", help="enable at once (for simulations)")
    parser.add_argument("--speed", type=float, help="share of the policy's speed, instead of the config's")
    parser.add_argument("--duration", type=float, help="seconds after which to stop")
    parser.add_argument("--log", type=Path, metavar="FOLDER", help="log every decision as a bag (MCAP)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write counts and timing as JSON at the end")
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
        import dataclasses

        require(0 < speed <= 1, "--speed", speed, "above 0 and at most 1")
        chosen = dataclasses.replace(chosen, speed=speed)
    return loaded, chosen


def listen(node: PolicyNode) -> None:
    """Take words from the keyboard, in a thread of its own."""

    def read() -> None:
        for line in sys.stdin:
            word = line.strip()
            if word in ("enable", "disable", "stop"):
                success, message = getattr(node, word)()
                print(f"{word}: {'' if success else 'refused, '}{message}", flush=True)
            elif word == "status":
                for value in node.diagnostics()["status"][0]["values"]:
                    print(f"  {value['key']:24s} {value['value']}", flush=True)
            elif word:
                print("words: enable, disable, stop, status", flush=True)

    threading.Thread(target=read, name="keyboard", daemon=True).start()


def enable_when_ready(node: PolicyNode, timeout: float = 30.0) -> None:
    """Enable as soon as everything is there, in a thread of its own."""

    def wait() -> None:
        deadline, why = time.monotonic() + timeout, ""
        while time.monotonic() < deadline:
            done, why = node.enable()
            if done:
                return
            time.sleep(0.1)
        print(f"not enabled: {why}", flush=True)

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
            print(line, flush=True)


def summary(node: PolicyNode) -> dict[str, object]:
    """What is worth knowing at the end."""
    values: dict[str, object] = {"state": node.state, "reason": node.reason, **node.counts, **node.timing.summary()}
    if trips := getattr(node.transport, "round_trips", None):  # real rclpy has no pings
        values["round_trip_ms"] = percentiles(np.array(trips))
    values["miss_rate"] = node.timing.miss_rate
    values["transport"] = node.transport.counters.snapshot()
    values["observer"] = node.observer.counters.snapshot()
    if node.differences:
        differences = np.abs(node.differences)
        values["shadow_difference"] = {
            joint: f"mean {mean:.4f}, max {most:.4f}"
            for joint, mean, most in zip(node.robot.joints, differences.mean(0), differences.max(0), strict=False)
        }
    return values


@command
def main() -> None:
    """The command."""
    args = parser().parse_args()
    if args.robot is None and not args.lock_step:
        raise UserError("--robot is missing: expected a config, e.g. --robot franka (or --lock-step for a simulation)")
    policy, robot = load(args.policy, args.robot, args.speed)
    mode: Mode = "dry-run" if args.dry_run else "shadow" if args.shadow else "run"
    transport = connection(args)
    log, printer = args.log, Printer()
    node = PolicyNode(
        transport,
        policy,
        robot,
        mode=mode,
        log_to=None if log is None else lambda n: DecisionLog(log, policy.description, n.observer.counters),
        say=printer,
    )
    node.open()
    try:
        transport.start()
    except UserError:
        node.close()  # finishes the log
        raise
    printer(f"{policy.description.task} on {robot.name} at {place(args)}, {robot.rate:g} Hz, {mode}")

    def interrupt(*_: object) -> None:
        if node.ending:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        printer("decelerating…")
        # In a thread of its own: a handler runs in the midst of the loop, which may hold the lock.
        threading.Thread(target=node.shut_down, daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    if args.enable or mode != "run":
        enable_when_ready(node)
    if sys.stdin.isatty():
        listen(node)
    keep_time()
    try:
        if args.lock_step:
            node.run_lock_step()
        else:
            node.run(args.duration)
    finally:
        result = summary(node)
        if args.report:
            args.report.write_text(json.dumps(result, indent=1))
        node.close()
        transport.close()
        printer.close()
    for key, value in result.items():
        print(f"{key:24s} {value}")


if __name__ == "__main__":
    main()
