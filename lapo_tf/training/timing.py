"""The measuring process of `lapo_tf.benchmark`: `python -m lapo_tf.training.timing JOB`, a job as JSON.

It answers one line of JSON about its start, then one to each line "loop STEPS" or "products STEPS" on standard input.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

from lapo_tf.config import Precision
from lapo_tf.errors import UserError, command

Mode = Literal["xla", "graph", "d3rlpy"]
"""How a step is run: by XLA, as a TensorFlow graph, or by d3rlpy's implementation of the same algorithm."""


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
    mode: Mode = "xla"
    precision: Precision = "float32"
    with_products: bool = False
    """Whether this process also times the products alone."""
    sizes: dict[str, Any] = field(default_factory=dict)
    """For d3rlpy: the hyper-parameters of our agent, whose sizes it is to have."""


def work(job: Job) -> None:
    """Set up, report, then measure on demand until standard input closes."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # so that nothing a library prints can pass for an answer

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    measures = start_d3rlpy(job, answer) if job.mode == "d3rlpy" else start_loop(job, answer)
    for line in sys.stdin:
        name, steps = line.split()
        answer(seconds=seconds(partial(measures[name], int(steps))))


def start_loop(job: Job, answer: Callable[..., None]) -> dict[str, Callable[[int], Any]]:
    """Import and compile the training loop of a job and answer how long that took; what can be measured of it."""
    begun = time.perf_counter()
    from lapo_tf import runtime

    runtime.quiet()
    import tensorflow as tf

    import lapo_tf.training.trainer  # noqa: F401  all that training needs

    import_s = time.perf_counter() - begun
    runtime.configure(job.mode, job.threads)  # type: ignore[arg-type]
    from lapo_tf.training.products import Product, ProductLoop, graph_products

    loop = build_loop(job)
    trace_s = seconds(lambda: loop._run.get_concrete_function(tf.TensorSpec([], tf.int64)))
    first_s = seconds(lambda: loop.run(1))
    loop.run(1)
    step_s = seconds(lambda: loop.run(3)) / 3
    measures: dict[str, Callable[[int], Any]] = {"loop": loop.run}
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


def start_d3rlpy(job: Job, answer: Callable[..., None]) -> dict[str, Callable[[int], Any]]:
    """d3rlpy's own way to do a number of steps: a batch from its replay buffer, then the algorithm's update.

    Sizes of networks, batch and numbers of sampled actions are those of our agent; everything else is d3rlpy's default.
    TensorFlow stays out of this process: its LLVM and PyTorch's do not go together.

    Raises:
        UserError: d3rlpy is not installed, or does not have the algorithm.
    """
    begun = time.perf_counter()
    try:
        import d3rlpy
        import torch
    except ImportError as error:
        raise UserError(f"comparing needs d3rlpy ({error}): pip install 'lapo-tf[d3rlpy]'") from None
    import numpy as np

    import_s = time.perf_counter() - begun
    torch.set_num_threads(job.threads)
    ours = job.sizes

    def encoder(hidden: str) -> Any:
        return d3rlpy.models.encoders.VectorEncoderFactory(hidden_units=list(ours.get(hidden, ())))

    actor_critic = {f"{name}_encoder_factory": encoder("hidden") for name in ("actor", "critic")}
    vae = {"imitator_encoder_factory": encoder("vae_hidden")}
    options: dict[str, Any] = {
        "bc": {"encoder_factory": encoder("hidden")},
        "bcq": actor_critic | vae | {"n_action_samples": ours.get("target_samples")},
        "plas": actor_critic | vae | {"warmup_steps": 0},
        "awac": actor_critic,
        "iql": actor_critic | {"value_encoder_factory": encoder("hidden")},
        "cql": actor_critic | {"n_action_samples": ours.get("samples")},
    }
    config = getattr(d3rlpy.algos, f"{job.agent.upper()}Config")(batch_size=job.batch_size, **options[job.agent])
    n, uniform = job.transitions, random_numbers()
    ends = (np.arange(n) % 1000 == 999).astype(np.float32)
    data = d3rlpy.dataset.MDPDataset(uniform(n, job.obs_dim), uniform(n, job.act_dim), uniform(n), 0 * ends, ends)
    algorithm = config.create(device="cuda:0" if job.device == "gpu" else "cpu:0")
    algorithm.build_with_dataset(data)

    def run(steps: int) -> None:
        for _ in range(steps):
            algorithm.update(data.sample_transition_batch(job.batch_size))
        if job.device == "gpu":
            torch.cuda.synchronize()

    answer(import_s=import_s, trace_s=0.0, compile_s=seconds(lambda: run(1)), products=[])
    return {"loop": run}


@command
def main() -> None:
    """The command."""
    work(Job(**json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
