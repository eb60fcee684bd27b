"""`python -m robot_bridge.bundle`: a policy bundle of an ONNX file or a SavedModel of one's own."""

from __future__ import annotations

from pathlib import Path

from robot_bridge.errors import ArgumentParser, command, require
from robot_bridge.own_policy.make import Choice, Made, make
from robot_bridge.own_policy.numbers import FILE, read_numbers
from robot_bridge.own_policy.recordings import SOURCES, read_recordings

DESCRIPTION = f"""Make a policy bundle of a model of your own: an ONNX file, or the folder of a SavedModel.

  python -m robot_bridge.bundle --model my.onnx --numbers arm.yaml --out policy/
  python -m robot_bridge.bundle --model act.onnx --numbers arm.yaml --data demos.npz --horizon 25 --out policy/

The bundle runs as one of lapo_tf's does: robot_bridge.check, demo, sim and run take it, with the same guards. The model
has one input and an output of numbers, float32 or float64:

  input    [batch, observation], or with a history [batch, history, observation] or [batch, history * observation],
           oldest observation first; at the beginning, and after every stop or pause, the first one is repeated
  output   [batch, action], or a chunk [batch, chunk, action] or [batch, chunk * action], first action first, one for
           each period of the rate

Observations come as the robot says them, in SI units; normalise them inside the model. After --horizon actions the
model is asked anew, and the rest of the chunk is dropped; after a stop or a pause all of it is.

What the numbers are, --numbers says, YAML or JSON:

{FILE}
The data, if there are any, give the ranges of observations and of actions without one, the threshold of the novelty
guard, and where episodes begin. Without data there is no novelty score. --data is one of:

{SOURCES}"""


def parser() -> ArgumentParser:
    """The command's options."""
    parser = ArgumentParser(prog="robot_bridge.bundle", description=DESCRIPTION)
    parser.add_argument("--model", type=Path, required=True, help="an .onnx file, or the folder of a SavedModel")
    parser.add_argument(
        "--numbers", type=Path, required=True, metavar="FILE", help="names, units and ranges, see above"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the bundle; its files are replaced")
    parser.add_argument("--data", help="what the policy was trained on, see above")
    parser.add_argument("--rate", type=float, metavar="HZ", help="of the policy, in place of the file's")
    parser.add_argument(
        "--history", type=int, metavar="K", help="observations it sees; default: as the input's shape says"
    )
    parser.add_argument("--chunk", type=int, metavar="N", help="actions it plans; default: as the output's shape says")
    parser.add_argument("--horizon", type=int, metavar="H", help="actions executed of a chunk before it is asked anew")
    parser.add_argument("--output", metavar="NAME", help="the output that holds the actions, of a model with several")
    parser.add_argument(
        "--normalised", action="store_true", help="its actions are -1 to 1, for `low` to `high`, and are spread so"
    )
    parser.add_argument("--env", metavar="ID", help="its simulator for robot_bridge.demo: my_package:MyArm-v0")
    return parser


@command
def main() -> None:
    """The command."""
    args = parser().parse_args()
    for name in ("history", "chunk"):
        value = getattr(args, name)
        require(value is None or 1 <= value <= 10_000, f"--{name}", value, "1 to 10000")
    require(args.rate is None or 0.01 <= args.rate <= 10_000, "--rate", args.rate, "0.01 to 10000")
    require(not args.out.is_file(), "--out", args.out, "a folder")
    numbers = read_numbers(args.numbers)
    data = None if args.data is None else read_recordings(args.data, numbers.observed(), numbers.commanded())
    names = ("model", "rate", "history", "chunk", "horizon", "output", "normalised", "env")
    show(make(Choice(**{name: getattr(args, name) for name in names}), numbers, data, args.out), args.out)


def show(made: Made, out: Path) -> None:
    """What was made."""
    d = made.policy.description
    sees = f"sees {d.model.history} x {len(d.observations)} numbers at {d.control_rate:g} Hz"
    plans = f"plans {d.model.chunk} x {len(d.actions)}, of which {d.model.horizon} are executed"
    print(f"policy       {d.task}: {sees}, {plans}")
    for note in made.notes:
        print(f"model        {note}")
    for score in d.novelty:
        print(f"novelty      {score.name}: threshold {score.threshold:.3g} ({score.calibration})")
    if not d.novelty:
        print("novelty      none, for want of --data: only numbers far out of their ranges will be noticed")
    command = "demo" if d.environment.get("id") else "check"
    print(f"bundle       {out}; next: python -m robot_bridge.{command} --policy {out}")


if __name__ == "__main__":
    main()
