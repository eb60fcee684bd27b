"""Run a simulated robot: `python -m robot_bridge.sim --policy policy/ --url ws://localhost:9090`."""

from __future__ import annotations

import json
from argparse import SUPPRESS
from pathlib import Path

from robot_bridge.errors import ArgumentParser, UserError, command, require
from robot_bridge.node.timing import keep_time
from robot_bridge.robot.config import load_robot
from robot_bridge.robot.description import Description
from robot_bridge.robot.robot import Robot
from robot_bridge.signals import on_ending
from robot_bridge.simulation.environment import Environment, make_environment
from robot_bridge.simulation.model import Model, find_model
from robot_bridge.simulation.simulation import Simulation, plain
from robot_bridge.simulation.world import World
from robot_bridge.transport.connection import add_options, connection, place

DESCRIPTION = """A simulated robot on a ROS graph.

  python -m robot_bridge.server &
  python -m robot_bridge.sim --policy policy/                         # the environment that a policy was trained for
  python -m robot_bridge.sim --model scene.xml --robot my-arm.yaml    # the twin of an arm: MJCF or URDF
  python -m robot_bridge.sim --model universal_robots_ur5e --robot ur5e      # of MuJoCo Menagerie, downloaded once

A twin listens and speaks on the topics that the robot's config names, so the same config drives twin and arm. An
environment does, too, where --robot is given. Needs MuJoCo and the environments: pip install 'lapo-tf[robot,twin]' (no
GPU, and no TensorFlow is loaded). Topics: see `robot_bridge.simulation.simulation`."""


def parser() -> ArgumentParser:
    """The command's options."""
    parser = ArgumentParser(prog="robot_bridge.sim", description=DESCRIPTION)
    parser.add_argument("--policy", type=Path, help="folder of a bundle (python -m lapo_tf.export): its environment")
    parser.add_argument("--task", help=SUPPRESS)  # of versions before bundles named their environment
    parser.add_argument("--env", metavar="ID", help="another environment: a gymnasium id, or my_package:MyArm-v0")
    parser.add_argument("--model", metavar="FILE", help="a MuJoCo XML or URDF, or a robot of MuJoCo Menagerie")
    parser.add_argument("--robot", help="robot config, a file or a name: the topics, controllers and joints")
    add_options(parser)
    parser.add_argument("--lock-step", action="store_true", help="one step for each command, and no time in between")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds per second")
    parser.add_argument("--seed", type=int, default=0, help="episode i is reset with seed + i")
    parser.add_argument("--episodes", type=int, help="end after so many, resetting by itself after each")
    parser.add_argument("--video", type=Path, metavar="FOLDER", help="write a film of every episode")
    parser.add_argument("--viewer", action="store_true", help="show it in a window")
    parser.add_argument(
        "--hold-dead-man", action="store_true", help="hold the robot's dead-man switch; no real arm may hear it"
    )
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the scores as JSON at the end")
    return parser


def twin(model: str, robot: str | None, *, lock_step: bool, drawn: bool) -> tuple[World, Robot]:
    """A model as the robot of a config.

    Raises:
        UserError: no config is given, or one of both cannot be had.
    """
    if robot is None:
        raise UserError("--model needs --robot: the config names the joints, topics and controllers of the arm")
    described = load_robot(robot)
    return Model(find_model(model), described, lock_step=lock_step, drawn=drawn, say=print), described


def environment(
    bundle: Path, env_id: str | None, robot: str | None, *, lock_step: bool, drawn: bool
) -> tuple[World, Robot]:
    """The environment of a policy, as the robot of a config, if one is given.

    Raises:
        UserError: no such bundle, environment or config, or they do not fit.
    """
    policy = Description.read(bundle)
    described = plain(policy) if robot is None else load_robot(robot)
    if mistakes := described.mistakes_with(policy):
        raise UserError(f"--robot {robot} is none for {bundle}: {'; '.join(mistakes)}")
    env = make_environment(policy, env_id, drawn=drawn)
    return Environment(env, policy, described, lock_step=lock_step), described


@command
def main() -> None:
    """The command."""
    args = parser().parse_args()
    if args.task is not None:
        raise UserError(f"--task is gone: export a run of {args.task}, then --policy FOLDER; its bundle names the rest")
    require(args.speed > 0, "--speed", args.speed, "above 0")
    if (args.model is None) == (args.policy is None):
        raise UserError("give --policy FOLDER (its environment), or --model FILE --robot CONFIG (a twin)")
    require(args.env is None or args.model is None, "--env", args.env, "none beside --model")
    shown = {"lock_step": args.lock_step, "drawn": args.video is not None}
    transport = connection(args)
    if args.model is not None:
        world, robot = twin(args.model, args.robot, **shown)
    else:
        world, robot = environment(args.policy, args.env, args.robot, **shown)
    options = {name: getattr(args, name) for name in ("lock_step", "speed", "seed", "video", "viewer", "hold_dead_man")}
    simulation = Simulation(transport, world, robot, **options)
    simulation.open()
    transport.start()
    how = "in lock-step" if args.lock_step else f"at {args.speed:g} x real time"
    print(f"{world.name} at {place(args)}, {how}", flush=True)
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
