"""How fast the training loop is on this machine, and how near to the time of its matrix products alone.

python -m lapo_tf.benchmark --threads 1 2 --json speed.json
python -m lapo_tf.benchmark --agents all --precisions float32

One run measures everything in its table. Each row is a process of its own, because TensorFlow fixes its threads once:
it may use `threads` cores only (on Linux) and sets TensorFlow up as training does (`runtime.configure`). The processes
of one number of threads start one after the other, so that nothing disturbs imports and compilation. Then the repeats
go round them in turn, so that a slow minute of the machine falls on all alike. Reported are medians over the repeats,
with the smallest and the largest. Nothing else should run on the machine meanwhile.

- ms/step: `TrainingLoop.run`, the loop that training uses, on random data that lie on the device.
- products: the time of the step's matrix products alone, in float32. The list is read from the graph of that very
  loop; the same products, transposed as there, then run in a loop with nothing else, in the same processes (same cores,
  same threads), by XLA and in graph mode. The better of the modes measured is the yardstick of all rows with as many
  threads. It is an estimate and no strict bound: alone, all products are independent of each other, so that several
  cores share them more easily, and their operands are mostly in the caches; layouts are each compiler's own choice, in
  the step and alone.
- ratio: ms/step over products. Only bfloat16 should come below 1.
- import: what `python -m lapo_tf.train` imports, in a fresh interpreter. trace: Python to graph. compile: the first
  call less one step; in graph mode that is TensorFlow's optimisation of the graph.

With a GPU that TensorFlow sees, the rows are one per mode and precision on the GPU, with all cores (float32 products
are then subject to TensorFlow's TF32 setting, in the step and alone alike); `--device cpu` measures the CPU instead.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.config import Precision
from lapo_tf.errors import UserError, command, unknown
from lapo_tf.training.speed.measure import find_gpus, machine, measure, table
from lapo_tf.training.speed.worker import Job, Workload

DESCRIPTION = __doc__ or ""


@dataclass(frozen=True)
class BenchmarkCommand(Workload):
    """Options of the command."""

    agents: tuple[str, ...] = ("lapo",)
    """Algorithms, with their default hyper-parameters; all for all of them."""
    steps: int = 200
    """Steps per repeat."""
    repeats: int = 5
    """Repeats; the median counts."""
    threads: tuple[int, ...] = ()
    """Numbers of cores to measure with. Default: one, and all that this process may use."""
    modes: tuple[Literal["xla", "graph"], ...] = ("xla", "graph")
    """Ways to compile the loop."""
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    """Arithmetic of the hidden layers' products."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to measure; auto: on the GPU if TensorFlow sees one, otherwise on the CPU."""
    json: Path | None = None
    """Write the results to this file, too."""


def check(options: BenchmarkCommand, cores: int) -> BenchmarkCommand:
    """The options with `threads` and all agents filled in, or a `UserError`."""
    for name in ("obs_dim", "act_dim", "batch_size", "transitions", "steps", "repeats"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)} is too small: expected at least 1")
    for name in ("modes", "precisions"):
        if not getattr(options, name):
            raise UserError(f"--{name} is empty: expected at least one")
    for threads in options.threads:
        if not 1 <= threads <= cores:
            raise UserError(f"--threads {threads}: expected 1 to {cores}, the cores that this process may use")
    runtime.quiet()
    from lapo_tf.agents import AGENTS  # here, so that other mistakes are told at once

    agents = tuple(AGENTS) if options.agents == ("all",) else options.agents
    for agent in agents:
        if agent not in AGENTS:
            raise unknown("agent", agent, [*AGENTS, "all"])
    return replace(options, agents=agents, threads=tuple(dict.fromkeys(options.threads or (1, cores))))


def plan(options: BenchmarkCommand, device: Literal["cpu", "gpu"], cores: int) -> list[Job]:
    """The rows to measure."""
    workload = {name: getattr(options, name) for name in Workload.__dataclass_fields__}
    jobs = []
    for threads in options.threads if device == "cpu" else (cores,):
        for agent in dict.fromkeys(options.agents):
            fixed = workload | {"agent": agent, "device": device, "threads": threads}
            jobs += [
                Job(**fixed, mode=mode, precision=precision, with_products=not i)
                for mode in dict.fromkeys(options.modes)
                for i, precision in enumerate(dict.fromkeys(options.precisions))
            ]
    return jobs


@command
def main() -> None:
    """The command."""
    cores = runtime.cores()
    options = check(parse(BenchmarkCommand, default=BenchmarkCommand(), description=DESCRIPTION), cores)
    gpus = find_gpus() if options.device != "cpu" else []
    if options.device == "gpu" and not gpus:
        raise UserError(
            "--device gpu: TensorFlow sees no GPU; install lapo-tf[gpu] and the driver, or use --device cpu"
        )
    rows, products = measure(plan(options, "gpu" if gpus else "cpu", cores), options.steps, options.repeats)
    results = {
        "machine": machine(gpus),
        "workload": {name: getattr(options, name) for name in Workload.__dataclass_fields__},
        "agents": products,
        "steps": options.steps,
        "repeats": options.repeats,
        "rows": rows,
    }
    print(table(results))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
