"""Evaluates what `train_programs.py` left, in the simulator, and writes run folders as `lapo_tf.train` does.

python tools/stablehlo/evaluate_programs.py PROGRAMS TRAINED RUNS [NAME...]     # leaves runs that are there alone

Their checkpoints hold the weights that act, so they can be evaluated and looked at, but training cannot go on from
them: they lack the critics and the optimisers' state.
"""

import argparse
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lapo_tf import runtime

runtime.quiet()

from make_programs import acting_variables  # noqa: E402

from lapo_tf.progress import progress_bar  # noqa: E402
from lapo_tf.training.start import run_config  # noqa: E402
from lapo_tf.training.trainer import Trainer  # noqa: E402


def unpack(data: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The inverse of `train_programs.pack`."""
    planes = np.frombuffer(zlib.decompress(data.tobytes()), np.uint8).reshape(3, -1)
    bits = np.zeros((planes.shape[1], 4), np.uint8)
    bits[:, 1:] = planes.T
    return bits.view(np.float32).reshape(shape)


def evaluate(entry: dict[str, Any], trained: Mapping[str, np.ndarray], log: dict[str, Any], folder: Path) -> None:
    """One run folder."""
    trainer = Trainer(run_config(entry["run"] | {"run_dir": str(folder)}), progress=False)
    path = folder / "config.yaml"
    values = yaml.safe_load(path.read_text())
    values["trained_by"] = f"tools/stablehlo: this loop's StableHLO on {log['device']} by jax {log['jax']}"
    path.write_text(yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=120))
    loop = trainer.loop
    acting = acting_variables(trainer.agent)
    bar = progress_bar(total=None, disable=True)
    for step, seconds in zip(trained["steps"].tolist(), trained["seconds"].tolist(), strict=True):
        for k, variable in enumerate(acting):
            variable.assign(unpack(trained[f"{step}/{k}"], variable.shape))
        for variable, total in zip(loop.metric_variables, trained[f"{step}/sums"], strict=True):
            variable.assign(total)
        loop.step.assign(step)
        trainer.seconds.assign(seconds)  # of training, beside others on the same device
        trainer._rate = 1e3 / log["ms_per_step"]
        trainer._evaluate(bar)
        row = trainer.logger.rows[-1]
        print(f"{folder} {step:,}: {row['eval/normalized_score']:.1f}", flush=True)
    trainer.judge.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=Path, help="what make_programs.py wrote")
    parser.add_argument("trained", type=Path, help="what train_programs.py wrote")
    parser.add_argument("runs", type=Path, help="where the run folders shall be")
    parser.add_argument("names", nargs="*", help="programs; default: all that were trained")
    options = parser.parse_args()
    programs, results, runs = options.programs, options.trained, options.runs
    manifest = json.loads((programs / "manifest.json").read_text())
    for name in options.names or [name for name in manifest if (results / f"{name}.npz").exists()]:
        folder = runs / manifest[name]["folder"]
        if (folder / "config.yaml").exists():
            continue
        with np.load(results / f"{name}.npz") as trained:
            evaluate(manifest[name], trained, json.loads((results / f"{name}.json").read_text()), folder)


if __name__ == "__main__":
    main()
