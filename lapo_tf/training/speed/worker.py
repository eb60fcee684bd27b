"""The measuring process of `lapo_tf.benchmark`: `python -m lapo_tf.training.speed.worker JOB`, a job as JSON.

It answers one line of JSON about its start, then one to each line "loop STEPS" or "products STEPS" on standard input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from lapo_tf.config import Precision
from lapo_tf.errors import command


@dataclass(frozen=True)
class Workload:
    """What a step works on."""

    obs_dim: int = 60
    """Dimensions of the observation."""
    act_dim: int = 9
    """Dimensions of the action."""
    batch_size: int = 512
    """Transitions in a batch."""
    transitions: int = 100_000
    """Size of the random data set."""


@dataclass(frozen=True)
class Job(Workload):
    """One row of the table, measured by one process."""

    agent: str = "lapo"
    device: Literal["cpu", "gpu"] = "cpu"
    threads: int = 1
    mode: str = "xla"
    """How a step is run: xla or graph."""
    precision: Precision = "float32"
    with_products: bool = False
    """Whether this process also times the products alone."""


Answer = Callable[..., None]
"""Tells the benchmark values by their names."""
Measures = dict[str, Callable[[int], Any]]
"""What can be measured, as functions of the number of steps."""


def work(job: Job, start: Callable[[Job, Answer], Measures]) -> None:
    """Set up by `start`, which reports, then measure on demand until standard input closes."""
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # so that nothing a library prints can pass for an answer

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    measures = start(job, answer)
    for line in sys.stdin:
        name, steps = line.split()
        answer(seconds=seconds(partial(measures[name], int(steps))))


def start_loop(job: Job, answer: Answer) -> Measures:
    """Import and compile the training loop of a job and answer how long that took; what can be measured of it."""
    begun = time.perf_counter()
    from lapo_tf import runtime

    runtime.quiet()
    import tensorflow as tf

    import lapo_tf.training.trainer  # noqa: F401  all that training needs

    import_s = time.perf_counter() - begun
    runtime.configure(job.mode, job.threads)  # type: ignore[arg-type]
    from lapo_tf.training.speed.products import Product, ProductLoop, graph_products

    loop = build_loop(job)
    trace_s = seconds(lambda: loop._run.get_concrete_function(tf.TensorSpec([], tf.int64)))
    first_s = seconds(lambda: loop.run(1))
    loop.run(1)
    step_s = seconds(lambda: loop.run(3)) / 3
    measures: Measures = {"loop": loop.run}
    found: list[Product] = []
    if job.with_products:
        found = graph_products(loop._run.get_concrete_function(tf.TensorSpec([], tf.int64)).graph)
        measures["products"] = ProductLoop(found, xla=job.mode == "xla", shared_operands=job.device == "cpu").run
        measures["products"](2)
    answer(
        import_s=import_s,
        trace_s=trace_s,
        compile_s=max(first_s - step_s, 0.0),
        products=[asdict(p) | {"flops": p.flops, "count": count} for p, count in Counter(found).items()],
    )
    return measures


def seconds(action: Callable[[], Any]) -> float:
    """Wall time of a call."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def random_numbers() -> Callable[..., Any]:
    """Float32 arrays of any shape, uniform in [-1, 1]."""
    import numpy as np

    random = np.random.default_rng(0)
    return lambda *shape: random.uniform(-1.0, 1.0, shape).astype(np.float32)


def build_loop(job: Job) -> Any:
    """The training loop of a job, on random data.

    PLAS is measured in its second phase, when the policy learns.
    """
    import numpy as np

    from lapo_tf.agents import AGENTS, AgentSpec
    from lapo_tf.data.dataset import Episode, Source, from_episodes
    from lapo_tf.training.loop import TrainingLoop, scaling_of

    uniform = random_numbers()
    n = job.transitions
    episode = Episode(uniform(n + 1, job.obs_dim), uniform(n, job.act_dim), uniform(n), terminated=False)
    data = from_episodes([episode], Source("random"))
    bound = np.ones(job.act_dim, np.float32)
    make: Any = AGENTS[job.agent]
    config = make.Config(vae_steps=0) if job.agent == "plas" else make.Config().for_run(1_000_000)
    spec = AgentSpec(
        job.obs_dim, job.act_dim, scaling_of(data, -bound, bound, config, make.action_units), 0, job.precision
    )
    return TrainingLoop(make(config, spec), data, batch_size=job.batch_size, seed=0, compile=job.mode)  # type: ignore[arg-type]


@command
def main() -> None:
    """The command."""
    work(Job(**json.loads(sys.argv[1])), start_loop)


if __name__ == "__main__":
    main()
