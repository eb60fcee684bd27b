"""Everything in one command: `python -m robot_bridge.demo --policy policy/`.

Starts the embedded server, the simulated robot and the policy node, each in a process of its own, enables the policy at
the beginning of every episode, shows what happens, and prints the score through the bridge beside the direct one.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from robot_bridge.errors import ArgumentParser, UserError, command, require
from robot_bridge.node.timing import keep_time
from robot_bridge.robot.description import Description
from robot_bridge.server import RosbridgeServer
from robot_bridge.signals import on_ending
from robot_bridge.simulation.processes import STOP_WITHIN, Processes, Watcher, default_robot, read

DESCRIPTION = """Server, simulated robot and policy node in one command, with their state on one line.

In real time the policy is guarded as on a real arm; --lock-step runs it as lapo_tf.evaluate does, to compare scores.

  python -m robot_bridge.demo --policy policy/ --minutes 10 --report demo.json     measure the loop"""

NUMBERS: tuple[str, ...] = ("loop_rate_hz", "deadline_misses", "jitter_ms", "work_ms", "latency_ms", "round_trip_ms")
NUMBERS += ("asking_ms", "sent", "limited", "holds", "faults")
START_WITHIN = 60.0  # s for the simulation to load
FILM_WITHIN = 300.0  # s for a simulation that has a film to draw yet


def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="robot_bridge.demo", description=DESCRIPTION)
    parser.add_argument(
        "--policy", type=Path, required=True, help="folder of the bundle (lapo_tf.export, robot_bridge.bundle)"
    )
    parser.add_argument(
        "--robot", help="robot config, of the simulation, too; default: one that fits, none in --lock-step"
    )
    parser.add_argument("--env", metavar="ID", help="another environment than the bundle's, see robot_bridge.sim")
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
    require(
        args.robot is None or not args.lock_step, "--robot", args.robot, "none with --lock-step: nothing is limited"
    )
    on_ending(interrupt)  # else the processes outlive it
    description = Description.read(args.policy)
    robot = None if args.lock_step else args.robot or default_robot(description)
    processes, server = Processes(), RosbridgeServer(port=0)
    server.start()
    with tempfile.TemporaryDirectory() as temporary:
        report, results = Path(temporary) / "node.json", Path(temporary) / "sim.json"
        try:
            sim = [
                "--policy",
                str(args.policy),
                "--url",
                server.url,
                "--seed",
                str(args.seed),
                "--results",
                str(results),
            ]
            node = ["--policy", str(args.policy), "--url", server.url, "--report", str(report)]
            sim += ["--lock-step", "--episodes", str(args.episodes)] if args.lock_step else []
            sim += ["--video", str(args.video)] if args.video else []
            sim += ["--viewer"] if args.viewer else []
            sim += ["--env", args.env] if args.env else []
            sim += ["--robot", args.robot, "--hold-dead-man"] if args.robot else []  # nobody else hears the server
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


def interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


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
    if told := [success for success in sim.get("successes", []) if success is not None]:
        known = description.score.get("success/episodes")
        directly = "" if known is None else f"; run directly {known:.0%} of {description.score['episodes']}"
        print(f"{'success through the bridge':26s} {sum(told) / len(told):.0%} of {len(told)}{directly}")
    for key in NUMBERS:
        if key in node:
            print(f"{key:26s} {node[key]}" + ("  (p50/p99/max)" if key.endswith("_ms") else ""))
    print(f"{'machine':26s} {machine['cores']} cores, load {machine['load']:.1f} before, {machine['seconds']:.0f} s")
    if report:
        values = {"machine": machine, "sim": sim, "node": node, "direct": description.score}
        report.write_text(json.dumps(values, indent=1))


if __name__ == "__main__":
    main()
