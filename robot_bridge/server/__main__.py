"""`python -m robot_bridge.server`: a rosbridge server with no ROS behind it."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from robot_bridge.errors import ArgumentParser, command
from robot_bridge.server.server import LOOPBACK, RosbridgeServer
from robot_bridge.signals import on_ending

DESCRIPTION = """A rosbridge v2 server with no ROS behind it.

Its clients are the graph: what one publishes or offers, the others see. Made for simulations, tests and notebooks;
roslibpy, npm's roslib and robot_bridge connect to it as to a rosbridge_server.

  python -m robot_bridge.server                                   on this computer only, at ws://127.0.0.1:9090
  ROSBRIDGE_TOKEN=secret python -m robot_bridge.server --host 0.0.0.0    for others too, who connect to
                                                                  ws://this-computer:9090/?token=secret

Stop it with Ctrl-C."""


def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="robot_bridge.server", description=DESCRIPTION)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for the whole network")
    parser.add_argument("--port", type=int, default=9090, help="0 takes a free one")
    parser.add_argument(
        "--token",
        help="what clients must present; better set ROSBRIDGE_TOKEN, which other users of the computer cannot see",
    )
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        help="a web page's origin that may connect, e.g. https://app.example.org, beside those of this computer",
    )
    parser.add_argument("--max-size", type=int, default=10 * 2**20, help="largest message, bytes")
    parser.add_argument("--service-timeout", type=float, default=5.0, help="seconds a service may take by default")
    parser.add_argument("--stall-limit", type=float, default=1.0, help="drop what is unread after standing still, s")
    parser.add_argument("--no-types", action="store_true", help="pass messages on as they come, check nothing")
    parser.add_argument("--quiet", action="store_true", help="no status lines")
    faults = parser.add_argument_group("faults, to test clients with")
    faults.add_argument("--delay", type=float, default=0.0, help="seconds that everything sent is late")
    faults.add_argument(
        "--blocking-calls",
        action="store_true",
        help="a call or goal holds up its client, as rosbridge_server by default",
    )
    faults.add_argument("--silent-goals", action="store_true", help="never answer goals that nobody takes, likewise")
    faults.add_argument("--silent-errors", action="store_true", help="do not tell clients their mistakes, likewise")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    token = args.token or os.environ.get("ROSBRIDGE_TOKEN") or None
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    server = RosbridgeServer(
        host=args.host,
        port=args.port,
        token=token,
        origins=args.origin,
        max_size=args.max_size,
        service_timeout=args.service_timeout,
        stall_limit=args.stall_limit,
        **({} if args.no_types else type_checks()),
    )
    server.faults.delay = args.delay
    server.faults.blocking_calls = args.blocking_calls
    server.faults.silent_goals = args.silent_goals
    server.faults.silent_errors = args.silent_errors
    stop = threading.Event()
    on_ending(stop.set)
    with server:
        if args.host not in LOOPBACK and token is None:
            print("warning: everybody on the network can move the robot; set ROSBRIDGE_TOKEN", file=sys.stderr)
        print(f"listening on {server.url}" + (", token required" if token else ""), flush=True)
        if args.quiet:
            stop.wait()
        else:
            report(server, stop)
    print("stopped", flush=True)


def type_checks() -> dict[str, Any]:
    """The options that have the server read messages by their types and tell their definitions."""
    from robot_bridge.server.types import definitions, reader

    return {"reader": reader, "definitions": definitions}


def report(server: RosbridgeServer, stop: threading.Event) -> None:
    """A status line each second on a terminal, each 10 s elsewhere, until `stop`."""
    live = sys.stdout.isatty()
    before, last = server.counters.snapshot(), time.monotonic()
    while not stop.wait(1.0 if live else 10.0):
        counts, now = server.counters.snapshot(), time.monotonic()
        rate = {key: (counts.get(key, 0) - before.get(key, 0)) / (now - last) for key in ("received", "sent")}
        graph = ", ".join(f"{n} {name if n != 1 else name[:-1]}" for name, n in server.graph.items())
        troubles = [
            f"{name} {server.counters[name]}" for name in ("dropped", "refused", "stalls") if server.counters[name]
        ]
        line = ", ".join([graph, f"{rate['received']:.0f}/s in", f"{rate['sent']:.0f}/s out", *troubles])
        print(f"\r\033[K{line}" if live else line, end="" if live else "\n", flush=True)
        before, last = counts, now
    if live:
        print()


if __name__ == "__main__":
    main()
