"""Run a simulated robot: `python -m robot_bridge.sim --policy policy/ --url ws://localhost:9090`."""

from __future__ import annotations

import json
from pathlib import Path

from robot_bridge.errors import ArgumentParser, command, require
from robot_bridge.node.timing import keep_time
from robot_bridge.robot.bundle import Description
from robot_bridge.signals import on_ending
from robot_bridge.simulation.environment import make_environment
from robot_bridge.simulation.simulation import Simulation
from robot_bridge.transport.connection import add_options, connection, place

DESCRIPTION = """The simulator that a policy was trained for, as a robot on a ROS graph.

  python -m robot_bridge.server &
  python -m robot_bridge.sim --policy policy/

The bundle names the environment and its numbers; --env takes another one of the same numbers. Needs the environments:
pip install 'lapo-tf[robot]' (no GPU, and no TensorFlow is loaded). Topics: see `robot_bridge.simulation.simulation`."""


def parser() -> ArgumentParser:
    """The command's options."""
    parser = ArgumentParser(prog="robot_bridge.sim", description=DESCRIPTION)
    parser.add_argument("--policy", type=Path, required=True, help="folder of the bundle (python -m lapo_tf.export)")
    parser.add_argument("--env", metavar="ID", help="another environment: a gymnasium id, or my_package:MyArm-v0")
    add_options(parser)
    parser.add_argument("--lock-step", action="store_true", help="one step for each command, and no time in between")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds per second")
    parser.add_argument("--seed", type=int, default=0, help="episode i is reset with seed + i")
    parser.add_argument("--episodes", type=int, help="end after so many, resetting by itself after each")
    parser.add_argument("--video", type=Path, metavar="FOLDER", help="write a film of every episode")
    parser.add_argument("--viewer", action="store_true", help="show it in a window")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the scores as JSON at the end")
    return parser


@command
def main() -> None:
    """The command."""
    args = parser().parse_args()
    require(args.speed > 0, "--speed", args.speed, "above 0")
    policy = Description.read(args.policy)
    transport = connection(args)
    env = make_environment(policy, args.env, drawn=args.video is not None)
    options = {name: getattr(args, name) for name in ("lock_step", "speed", "seed", "video", "viewer")}
    simulation = Simulation(transport, env, policy, **options)
    simulation.open()
    transport.start()
    how = "in lock-step" if args.lock_step else f"at {args.speed:g} x real time"
    print(f"{policy.task} at {place(args)}, {how}", flush=True)
    on_ending(simulation.stop)
    keep_time()
    try:
        simulation.run(args.episodes)
    finally:
        if args.results:
            args.results.write_text(json.dumps(simulation.status(), indent=1))
        simulation.close()
        transport.close()


if __name__ == "__main__":
    main()
