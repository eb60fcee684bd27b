"""Everything in one command: `python -m robot_bridge.demo --policy policy/`.

Starts the embedded server, the simulated robot and the policy node, each in a process of its own, enables the policy at
the beginning of every episode, shows what happens, and prints the score through the bridge beside the direct one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robot_bridge.errors import ArgumentParser, UserError, command, require
from robot_bridge.node.diagnostics import DIAGNOSTICS, DIAGNOSTICS_TYPE
from robot_bridge.node.policy_node import TRIGGER
from robot_bridge.node.timing import keep_time
from robot_bridge.robot.bundle import Description
from robot_bridge.server import RosbridgeServer
from robot_bridge.transport import Message, RosbridgeTransport

DESCRIPTION = """Server, simulated robot and policy node in one command, with their state on one line.

In real time the policy is guarded as on a real arm; --lock-step runs it as lapo_tf.evaluate does, to compare scores.

  python -m robot_bridge.demo --policy policy/ --minutes 10 --report demo.json     measure the loop"""

NUMBERS: tuple[str, ...] = ("loop_rate_hz", "deadline_misses", "jitter_ms", "work_ms", "latency_ms", "round_trip_ms")
NUMBERS += ("sent", "limited", "holds", "faults")
START_WITHIN = 60.0  # s for the simulation to load
STOP_WITHIN = 8.0  # s for a process to end by itself
FILM_WITHIN = 300.0  # s for a simulation that has a film to draw yet


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


def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="robot_bridge.demo", description=DESCRIPTION)
    parser.add_argument("--policy", type=Path, required=True, help="folder of the bundle (python -m lapo_tf.export)")
    parser.add_argument("--robot", help="robot config; default: sim-kitchen, or none in --lock-step")
    parser.add_argument("--episodes", type=int, default=3, help="episodes to run")
    parser.add_argument("--minutes", type=float, help="begin episodes for so long, however many they are")
    parser.add_argument("--seed", type=int, default=0, help="episode i is reset with seed + i")
    parser.add_argument("--lock-step", action="store_true", help="no real time: exactly as lapo_tf.evaluate")
    parser.add_argument("--viewer", action="store_true", help="show the simulation in a window")
    parser.add_argument("--video", type=Path, metavar="FOLDER", help="film every episode")
    parser.add_argument("--log", type=Path, metavar="FOLDER", help="log every decision as a bag (MCAP)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the numbers of the end as JSON")
    return parser


@command
def main() -> None:
    """The command."""
    args = parser().parse_args()
    require(args.episodes > 0, "--episodes", args.episodes, "1 or more")
    require(args.minutes is None or args.minutes > 0, "--minutes", args.minutes, "above 0")
    require(
        args.minutes is None or not args.lock_step, "--minutes", args.minutes, "none with --lock-step: no time runs"
    )
    description = Description.read(args.policy)
    robot = args.robot or default_robot(description, args.lock_step)
    processes, server = Processes(), RosbridgeServer(port=0)
    server.start()
    with tempfile.TemporaryDirectory() as temporary:
        report, results = Path(temporary) / "node.json", Path(temporary) / "sim.json"
        try:
            sim = ["--task", description.task, "--url", server.url, "--seed", str(args.seed), "--results", str(results)]
            node = ["--policy", str(args.policy), "--url", server.url, "--report", str(report)]
            sim += ["--lock-step", "--episodes", str(args.episodes)] if args.lock_step else []
            sim += ["--video", str(args.video)] if args.video else []
            sim += ["--viewer"] if args.viewer else []
            node += ["--lock-step"] if args.lock_step else ["--robot", str(robot)]
            node += ["--log", str(args.log)] if args.log else []
            processes.start("sim", sim)
            watcher = Watcher(server.url)
            print(f"server at {server.url}; simulation and policy node in their own processes; Ctrl-C ends all")
            machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "seconds": 0.0}
            began = time.monotonic()
            try:
                wait_for_simulation(processes, watcher)
                processes.start("run", node)
                keep_time()
                began = time.monotonic()
                watch(processes, watcher, args.episodes, args.minutes, args.lock_step)
            except KeyboardInterrupt:
                print("\nending…")
            finally:
                machine["seconds"] = round(time.monotonic() - began, 1)
                watcher.transport.close()
                processes.stop_all(FILM_WITHIN if args.video else STOP_WITHIN)
            finish(description, read(results), read(report), machine, args.report)
        finally:
            processes.stop_all()
            server.stop()


def default_robot(description: Description, lock_step: bool) -> str | None:
    """The config for a task's simulation."""
    if lock_step:
        return None
    for beginning, name in (("kitchen-", "sim-kitchen"), ("maze2d-", "sim-maze")):
        if description.task.startswith(beginning):
            return name
    raise UserError(f"no config comes along for {description.task} in real time: give --robot, or --lock-step")


def check_alive(processes: Processes) -> None:
    """Raises UserError if a process has failed, with its last words."""
    if (name := processes.failed()) is not None:
        raise UserError(f"{name} ended with: " + " / ".join(processes.lines[name][-3:]))


def wait_for_simulation(processes: Processes, watcher: Watcher) -> None:
    """So that the node's loop does not run beside a simulation that loads with all cores."""
    end = time.monotonic() + START_WITHIN
    while not watcher.sim:
        check_alive(processes)
        if time.monotonic() > end:
            raise UserError(f"the simulation says nothing for {START_WITHIN:g} s")
        time.sleep(0.1)


def watch(processes: Processes, watcher: Watcher, episodes: int, minutes: float | None, lock_step: bool) -> None:
    """Enable, look on and reset until all episodes are done, or the last one that began within `minutes`."""
    began, enabled, shown = time.monotonic(), -1, 0.0
    live = sys.stdout.isatty()
    while True:
        time.sleep(0.1)
        check_alive(processes)
        sim, now = watcher.sim, time.monotonic()
        enough = now - began > 60 * minutes if minutes else len(sim.get("scores", ())) >= episodes
        if (enough and sim.get("done")) or (lock_step and processes.ended("sim")):
            return
        if sim and not lock_step:
            if sim["done"] and watcher.node.get("state") == "active":
                watcher.call("/policy/disable")
            elif sim["done"] and watcher.node.get("state") != "stopping":  # what it says while it stops would count
                watcher.call("/sim/reset")
                watcher.sim = {}
            elif enabled != sim["number"] and watcher.call("/policy/enable")[0]:
                enabled = sim["number"]
        if time.monotonic() - shown > (0.2 if live else 5.0):
            shown = time.monotonic()
            text = watcher.line(shown - began)
            print(
                f"\r{text[: os.get_terminal_size().columns - 1]}" if live else text,
                end="" if live else "\n",
                flush=True,
            )


def read(path: Path) -> dict[str, Any]:
    """What a process reported at its end."""
    return json.loads(path.read_text()) if path.is_file() else {}


def finish(
    description: Description, sim: dict[str, Any], node: dict[str, Any], machine: dict[str, Any], report: Path | None
) -> None:
    """The numbers at the end."""
    scores = dict(zip(sim.get("seeds", []), sim.get("scores", []), strict=False))
    direct = dict(zip(description.score.get("seeds", []), description.score.get("scores", []), strict=False))
    both = [seed for seed in scores if seed in direct]
    print()
    for name, some in (
        ("score through the bridge", list(scores.values())),
        ("  on seeds known directly", [scores[seed] for seed in both]),
        ("  run directly, same seeds", [direct[seed] for seed in both]),
        ("run directly, all", list(direct.values())),
    ):
        if some:
            print(f"{name:26s} {sum(some) / len(some):.1f} of {len(some)} ({', '.join(f'{s:.0f}' for s in some)})")
    for key in NUMBERS:
        if key in node:
            print(f"{key:26s} {node[key]}" + ("  (p50/p99/max)" if key.endswith("_ms") else ""))
    print(f"{'machine':26s} {machine['cores']} cores, load {machine['load']:.1f} before, {machine['seconds']:.0f} s")
    if report:
        values = {"machine": machine, "sim": sim, "node": node, "direct": description.score}
        report.write_text(json.dumps(values, indent=1))


if __name__ == "__main__":
    main()
