"""Write a robot config: `python -m robot_bridge.init --policy policy/ [--urdf arm.urdf] --out my-arm.yaml`."""

from __future__ import annotations

from pathlib import Path

from robot_bridge.draft.document import draft
from robot_bridge.draft.joints import REVIEW
from robot_bridge.draft.urdf import read_urdf
from robot_bridge.errors import ArgumentParser, UserError, command
from robot_bridge.robot.config import load_robot
from robot_bridge.robot.description import Description

DESCRIPTION = """Write a robot config, to review and not to trust, from what a policy bundle knows of its recordings.
What they do not say is marked REVIEW, and python -m robot_bridge.check compares all of it with the robot.

  inputs     the topics that were recorded, with their types, paths and ages
  outputs    of the topics that were recorded as commands: trajectory, velocity, position, effort or gripper
  limits     of the URDF; without one, of what the data did
  guards     all on, at a tenth of the policy's speed

The names come of the layout that the data were imported with (python -m lapo_tf.data import bag --help)."""


def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="robot_bridge.init", description=DESCRIPTION)
    parser.add_argument(
        "--policy", type=Path, required=True, help="folder of the bundle (lapo_tf.export, robot_bridge.bundle)"
    )
    parser.add_argument("--urdf", type=Path, help="the robot's URDF, whose joint limits are taken")
    parser.add_argument("--out", type=Path, required=True, help="the config to write, such as my-arm.yaml")
    parser.add_argument(
        "--joints",
        nargs="+",
        metavar="NAME",
        help="the robot's joints in the order of the policy's actions, where the recordings name none",
    )
    parser.add_argument("--force", action="store_true", help="replace a config that is there")
    return parser


@command
def main() -> None:
    """The command."""
    args = parser().parse_args()
    if args.out.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out is {args.out}: expected a file such as my-arm.yaml")
    if args.out.exists() and not args.force:
        raise UserError(
            f"{args.out} exists, and may have been reviewed: give another --out, or replace it with --force"
        )
    policy = Description.read(args.policy)
    urdf = None if args.urdf is None else read_urdf(args.urdf)
    text = draft(policy, urdf, "" if args.urdf is None else args.urdf.name, args.joints)
    temporary = args.out.with_name(f".{args.out.name}.part")
    try:
        temporary.write_text(text, encoding="utf-8")
        robot = load_robot(temporary)
        temporary.replace(args.out)
    finally:
        temporary.unlink(missing_ok=True)
    print(
        f"config       {args.out}: {len(robot.joints)} joints, {robot.rate:g} Hz, {robot.guards.speed:g} of the speed"
    )
    print(f"inputs       {', '.join(source.topic for source in robot.inputs)}")
    print(f"outputs      {', '.join(f'{output.topic} ({output.kind})' for output in robot.outputs)}")
    for mistake in robot.mistakes_with(policy):
        print(f"note: {mistake}")
    print(f"to review    {text.count(REVIEW)} places, marked REVIEW")
    print(f"next         python -m robot_bridge.check --policy {args.policy} --robot {args.out}")


if __name__ == "__main__":
    main()
