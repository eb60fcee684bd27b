"""Our training loop beside d3rlpy's implementations of the same algorithms.

python tools/benchmark/beside_d3rlpy.py --threads 2 --steps 30 --repeats 3   (needs: pip install 'lapo-tf[d3rlpy]')

The table is that of `python -m lapo_tf.benchmark`, with a row of d3rlpy's for each agent it has.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.errors import command
from lapo_tf.training.speed.measure import PROGRAMS, machine, measure, table
from lapo_tf.training.speed.worker import Job, Workload

WORKER = str(Path(__file__).with_name("d3rlpy_worker.py"))
AGENTS = ("bc", "bcq", "plas", "awac", "iql", "cql")


@dataclass(frozen=True)
class Options(Workload):
    """Options of the command."""

    threads: int = 1
    """Cores to measure with."""
    steps: int = 30
    """Steps per repeat."""
    repeats: int = 3
    """Repeats; the median counts."""
    agents: tuple[str, ...] = AGENTS
    """Algorithms."""
    json: Path | None = None
    """Write the results to this file, too."""


@command
def main() -> None:
    """The command."""
    options = parse(Options, default=Options(), description=__doc__ or "")
    runtime.quiet()
    from lapo_tf.agents import AGENTS as OURS

    workload = {name: getattr(options, name) for name in Workload.__dataclass_fields__}
    results: dict[str, Any] = {"machine": machine([]), "workload": workload, "agents": {}, "rows": []}
    for agent in options.agents:
        job = Job(**workload, agent=agent, threads=options.threads, with_products=True)
        jobs = [job, Job(**workload, agent=agent, threads=options.threads, mode="d3rlpy")]
        programs = {**PROGRAMS, "d3rlpy": (WORKER, json.dumps(asdict(OURS[agent].Config())))}
        rows, products = measure(jobs, options.steps, options.repeats, programs)
        results["rows"] += rows
        results["agents"] |= products
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
