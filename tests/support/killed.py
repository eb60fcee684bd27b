"""python killed.py POINT N FOLDER: trains the probe task, and kills itself the N-th time that it comes to a point.

Points:
    loop           before a call of the compiled loop
    evaluation     in the midst of one
    checkpoint     when half of its data is on the disk
    half NAME      before a file is moved to its place, with half its contents
    after NAME     after it was
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import probe
import tensorflow as tf

from lapo_tf.training.loop import TrainingLoop
from lapo_tf.training.rollout import Evaluator
from lapo_tf.training.run_folder import replacing
from lapo_tf.training.trainer import Trainer

OPTIONS: dict[str, Any] = {"steps": 100, "eval_every": 20, "checkpoint_minutes": 1e-9}


def main(point: str, number: int, folder: Path) -> None:
    """Train until the point."""
    count = 0

    def due(name: str) -> bool:
        nonlocal count
        count += name == point
        return name == point and count == number

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def halve(path: Path) -> None:
        os.truncate(path, path.stat().st_size // 2)

    leave, write = replacing.__exit__, tf.train.Checkpoint.write
    run, evaluate = TrainingLoop.run, Evaluator.run

    def left(self: replacing, kind: object, *rest: object) -> None:
        name = "checkpoint folder" if self.path.name.startswith("step-") else self.path.name
        if due(f"half {name}"):
            if self.temporary.is_file():
                halve(self.temporary)
            die()
        leave(self, kind, *rest)
        if due(f"after {name}"):
            die()

    def written(self: Any, path: str, *rest: Any) -> Any:
        done = write(self, path, *rest)
        if due("checkpoint"):
            (data,) = Path(path).parent.glob("*.data-*")
            halve(data)
            die()
        return done

    def loop(self: TrainingLoop, steps: int) -> None:
        if due("loop"):
            die()
        run(self, min(steps, 10))

    def evaluated(self: Evaluator, policy: Any, *rest: Any) -> Any:
        return evaluate(self, lambda rows: die() if due("evaluation") else policy(rows), *rest)

    for owner, name, patched in (
        (replacing, "__exit__", left),
        (tf.train.Checkpoint, "write", written),
        (TrainingLoop, "run", loop),
        (Evaluator, "run", evaluated),
    ):
        setattr(owner, name, patched)
    Trainer(probe.config(folder, **OPTIONS), dataset=probe.dataset(), log=probe.quiet, progress=False).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
