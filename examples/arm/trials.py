"""Let a policy node try the task again and again, from starts that nobody recorded, and count.

  python examples/arm/trials.py --url ws://localhost:9090 --episodes 20 --out lapo.json

The node runs beside it (python -m robot_bridge.run) and is enabled and disabled as an operator would.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from arm import Arm, Kinematics, start

from robot_bridge.transport import Message

LIMIT = 10.0  # s of a trial
FIRST = 5000  # number of the first start
MACHINE = ("timing:", "dead_man:", "stale:", "connection")  # reasons of a busy computer, not of a policy
AGAIN = 2  # such trials for each that counts, at most; then they count, too


class Node:
    """The policy node, as its operator sees it."""

    def __init__(self, arm: Arm) -> None:
        self._arm = arm
        self.state, self.reason = "", ""
        arm.transport.subscribe("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", self._listen)

    def _listen(self, message: Message) -> None:
        self.state, _, self.reason = message["status"][0]["message"].partition(": ")

    def enable(self) -> None:
        """As soon as it is there and has nothing against it.

        Raises:
            SystemExit: it still has after half a minute.
        """
        why = ""
        if not until(lambda: (answer := self._arm.call("/policy/enable"))[0] or not (why := answer[1]), 30.0):
            raise SystemExit(f"the policy is not enabled: {why}")
        until(lambda: self.state == "active", 2.0)

    def disable(self) -> None:
        """And wait until the arm stands."""
        self._arm.call("/policy/disable")
        until(lambda: self.state in ("inactive", "fault"), 5.0)


def until(condition: Callable[[], bool], within: float) -> bool:
    """Wait for something; whether it came within so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def trial(arm: Arm, node: Node, kinematics: Kinematics, number: int) -> dict[str, Any]:
    """One trial from a numbered start: how it ended, after how many s, and the places of the tool."""
    arm.reset(kinematics.home)
    arm.take()
    arm.go(kinematics.reach(start(FIRST + number)))
    arm.give()
    time.sleep(0.3)  # until its last trajectory has ended
    node.enable()
    state = arm.state()
    begin, path, ended = state.time, [state.tool], ""
    while not ended:
        state = arm.state()
        path.append(state.tool)
        if state.fallen:
            ended = "the bottle fell"
        elif state.reached:
            ended = "reached"
        elif node.state == "fault":
            ended = "stopped by a guard"
        elif state.time - begin > LIMIT:
            ended = "too late"
    reason = node.reason if node.state == "fault" else ""
    node.disable()
    path = np.round(path[::4], 4).tolist()
    return {"ended": ended, "reason": reason, "seconds": round(state.time - begin, 2), "path": path}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="trials.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="ws://localhost:9090")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    arm, kinematics, trials = Arm(args.url), Kinematics(), []
    node = Node(arm)
    if not until(lambda: bool(node.state), 60.0):  # it starts only where nobody else commands the arm
        raise SystemExit("no policy node is heard: start python -m robot_bridge.run first")
    number, disturbed = 0, 0
    while number < args.episodes:
        tried = trial(arm, node, kinematics, number)
        print(f"trial {number + 1}: {tried['ended']} after {tried['seconds']:.1f} s  {tried['reason']}", flush=True)
        if tried["reason"].startswith(MACHINE) and disturbed < AGAIN * args.episodes:
            disturbed += 1  # that says nothing of the policy: once more
            continue
        trials.append(tried)
        number += 1
    arm.close()
    args.out.write_text(json.dumps(trials))
    reached = sum(tried["ended"] == "reached" for tried in trials)
    print(
        f"reached: {reached} of {args.episodes}; {disturbed} were stopped because this computer was busy, and repeated"
    )


if __name__ == "__main__":
    main()
