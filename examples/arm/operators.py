"""Three people of habit move the tool round the bottle, and a recorder keeps what the topics said.

  python examples/arm/operators.py --url ws://localhost:9090 --out logs --episodes 30

They stand for your people, and the recorder for `ros2 bag record`. One bag each; /recording says when an episode runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from arm import BOTTLE, COMMAND, JOINTS, MARK, NEAR, START, STATES, TOOL, Arm, Kinematics, State, start
from rosbags.rosbag2 import StoragePlugin, Writer

from robot_bridge.interfaces import from_dict, get_interface, to_rosbags, typestore
from robot_bridge.transport import Closable, Message, RosbridgeTransport

RECORDING = ("/recording", "std_msgs/msg/Bool")
PATIENCE = 15.0  # s of an episode
DWELL = 0.3  # s that an episode goes on after it was decided
TREMOR, CALM = 0.04, 0.4  # rad/s of every joint's noise, for a hand shakes, and s for which it lasts

OUTSIDE, INSIDE = 0.63, 0.41  # m, where one passes the bottle
SPEED = 0.2  # m/s

Way = list[np.ndarray]
"""What an operator is up to: places of the tool from start to end, m."""


def place(x: float, y: float) -> np.ndarray:
    return np.array([x, y, MARK[2]])


def anna(rng: np.random.Generator) -> Way:
    """Steady, round the outside, with room to spare."""
    side = OUTSIDE + rng.normal(0, 0.01)
    return [START, place(side, -0.05), place(side, 0.05), MARK]


def ben(rng: np.random.Generator) -> Way:
    """Close by on the inside: now and then the bottle falls."""
    side = INSIDE + rng.normal(0, 0.025)
    return [START, place(side, -0.05), place(side, 0.05), MARK]


def carl(rng: np.random.Generator) -> Way:
    """Has another task: he comes back, on this side or that. Half of the logs are his."""
    side = rng.choice([OUTSIDE, INSIDE]) + rng.normal(0, 0.01)
    return [place(side, 0.3), place(side, 0.05), place(side, -0.05), START]


OPERATORS: dict[str, Callable[[np.random.Generator], Way]] = {"anna": anna, "ben": ben, "carl": carl}


def encode(kind: str, message: Message) -> bytes:
    """A message as a bag holds it."""
    native = to_rosbags(from_dict(get_interface(kind), message, partial=True))
    return bytes(typestore().serialize_cdr(native, kind))


class Recorder:
    """Writes the messages of topics into a rosbag2 (MCAP) by the arm's clock, as `ros2 bag record --use-sim-time`."""

    def __init__(self, transport: RosbridgeTransport, path: Path) -> None:
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._now = 0
        self._open: list[Closable] = []
        for topic, kind in (STATES, TOOL, BOTTLE, COMMAND, RECORDING):
            connection = self._writer.add_connection(topic, kind, typestore=typestore())
            encode(kind, {})  # makes the code that writes it, which would hold up the first message

            def write(message: Message, connection=connection, kind=kind) -> None:
                if stamp := message.get("header", {}).get("stamp"):
                    self._now = max(self._now, stamp["sec"] * 10**9 + stamp["nanosec"])
                self._writer.write(connection, self._now, encode(kind, message))

            self._open.append(transport.subscribe(topic, kind, write, queue_length=1000))

    def close(self) -> None:
        for subscription in self._open:
            subscription.close()
        self._writer.close()


def episode(arm: Arm, kinematics: Kinematics, way: Way, rng: np.random.Generator) -> bool:
    """Move along a way; whether the tool is at the mark in the end, and the bottle stands."""
    places, state, tremor, decided = way[1:], arm.newest, np.zeros(len(JOINTS)), np.inf
    begin, before = state.time, state.time
    while state.time < min(begin + PATIENCE, decided + DWELL):
        lasts = np.exp(-(state.time - before) / CALM)
        tremor = lasts * tremor + TREMOR * np.sqrt(1 - lasts**2) * rng.normal(size=len(JOINTS))
        before = state.time
        if len(places) > 1 and np.linalg.norm(places[0] - state.tool) < NEAR:
            places = places[1:]
        arm.command(state, kinematics.velocities(state.q, towards(places[0], state)) + tremor)
        state = arm.state()
        if (state.fallen or np.linalg.norm(places[-1] - state.tool) < NEAR) and decided == np.inf:
            decided = state.time
    return state.reached


def towards(goal: np.ndarray, state: State) -> np.ndarray:
    wanted = 3.0 * (goal - state.tool)
    return wanted * min(1.0, SPEED / max(float(np.linalg.norm(wanted)), 1e-9))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="operators.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="ws://localhost:9090")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a bag for each operator")
    parser.add_argument("--episodes", type=int, default=30, help="of each operator")
    args = parser.parse_args()
    arm, kinematics = Arm(args.url), Kinematics()
    arm.transport.advertise(*RECORDING)
    arm.take()
    outcomes: dict[str, list[bool]] = {}
    for i, (name, habit) in enumerate(OPERATORS.items()):
        recorder, rng, outcomes[name] = Recorder(arm.transport, args.out / name), np.random.default_rng(i), []
        for number in range(args.episodes * (2 if habit is carl else 1)):
            way = habit(rng)
            arm.reset(kinematics.home)
            arm.take()
            arm.go_over(kinematics, start(1000 * i + number, way[0]))
            arm.transport.publish(RECORDING[0], {"data": True})
            outcomes[name].append(episode(arm, kinematics, way, rng))
            arm.transport.publish(RECORDING[0], {"data": False})
        recorder.close()
        print(f"{name}: reached the mark in {sum(outcomes[name])} of {len(outcomes[name])} episodes", flush=True)
    arm.close()
    (args.out / "outcomes.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main()
