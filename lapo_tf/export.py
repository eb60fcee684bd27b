"""Make a policy bundle of a trained run: `python -m lapo_tf.export runs/kitchen-complete/lapo/seed0 --out policy/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.errors import command, require

DESCRIPTION = """Make a policy bundle of a trained run, for python -m robot_bridge.run.

The exported model is run beside the trained one on the data's observations, and refused if they differ."""


@dataclass(frozen=True)
class Args:
    """Options of the command."""

    run: tyro.conf.Positional[Path]
    """The run folder, e.g. runs/kitchen-complete/lapo/seed0."""
    out: Path = Path("policy")
    """Folder of the bundle."""
    checkpoint: str | None = None
    """Which weights: best (of the evaluations during training), last, or a step. By itself the best, or the last of a
    run that no simulator judged: held-out errors chose worse than that (docs/select.md)."""
    dataset: str | None = None
    """The training data, where it is not where the run found it."""
    trial_episodes: int = 10
    """Episodes of the exported policy in the task's simulator: its score, and the action score's threshold."""
    offline: bool = False
    """Do without the task's simulator: names and rate from the data, no trial."""
    control_rate: float | None = None
    """Hz at which the robot is to be commanded, where there is no simulator and the data do not say it."""
    saved_model: bool = False
    """Write a TensorFlow SavedModel, too."""
    onnx: bool = False
    """Write policy.onnx, too (needs: pip install 'lapo-tf[onnx]')."""


@command
def main() -> None:
    """The command."""
    args = parse(Args, description=DESCRIPTION)
    require(args.trial_episodes >= 0, "--trial-episodes", args.trial_episodes, "0 or more")
    require(
        args.control_rate is None or args.control_rate > 0, "--control-rate", args.control_rate, "more than 0, in Hz"
    )
    runtime.quiet()
    runtime.configure("xla")
    from lapo_tf.runs.bundle import export
    from lapo_tf.runs.run import load_run
    from lapo_tf.tasks.task import HELD_OUT
    from lapo_tf.training.run_folder import RunFolder

    unjudged = RunFolder.open(args.run).criterion() == HELD_OUT
    run = load_run(args.run, args.checkpoint or ("last" if unjudged else "best"))
    if run.note:
        print(run.note)
    policy = export(
        run,
        args.out,
        dataset=args.dataset,
        trial_episodes=args.trial_episodes,
        offline=args.offline,
        control_rate=args.control_rate,
        saved_model=args.saved_model,
        onnx=args.onnx,
        progress=True,
    )
    d = policy.description
    print(f"policy       {d.task}, {run.config.agent}, step {run.step:,}; {d.control_rate:g} Hz")
    print(f"checked      {d.check['observations']} observations, largest difference {d.check['max_difference']:.2g}")
    if d.score:
        score = f"return {d.score['return']:.4g}"
        if "normalized_score" in d.score:
            score = f"{d.score['normalized_score']:.1f} ± {d.score['normalized_score_std']:.1f}"
        success = f"; success {d.score['success/episodes']:.0%}" if "success/episodes" in d.score else ""
        print(f"score        {score}{success} over {d.score['episodes']} episodes, exported model, seeds from 0")
    for novelty in d.novelty:
        alarms = "" if novelty.alarms is None else f"; {novelty.alarms:.1%} of the steps tried are above"
        print(f"novelty      {novelty.name}: threshold {novelty.threshold:.3g} ({novelty.calibration}){alarms}")
    command, then = ("demo", "") if d.environment.get("id") else ("init", " --out my-robot.yaml")
    print(f"bundle       {args.out}; next: python -m robot_bridge.{command} --policy {args.out}{then}")


if __name__ == "__main__":
    main()
