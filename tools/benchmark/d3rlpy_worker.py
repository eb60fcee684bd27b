"""The measuring process of `beside_d3rlpy.py`: `d3rlpy_worker.py SIZES JOB`, both as JSON."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import Any

from lapo_tf.errors import UserError, command
from lapo_tf.training.speed.worker import Answer, Job, Measures, random_numbers, seconds, work


def start(sizes: dict[str, Any], job: Job, answer: Answer) -> Measures:
    """d3rlpy's own way to do a number of steps: a batch from its replay buffer, then the algorithm's update.

    Sizes of networks, batch and numbers of sampled actions are those of our agent; everything else is d3rlpy's default.
    TensorFlow stays out of this process: its LLVM and PyTorch's do not go together.

    Args:
        sizes: hyper-parameters of our agent.

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

    def encoder(hidden: str) -> Any:
        return d3rlpy.models.encoders.VectorEncoderFactory(hidden_units=list(sizes.get(hidden, ())))

    actor_critic = {f"{name}_encoder_factory": encoder("hidden") for name in ("actor", "critic")}
    vae = {"imitator_encoder_factory": encoder("vae_hidden")}
    options: dict[str, Any] = {
        "bc": {"encoder_factory": encoder("hidden")},
        "bcq": actor_critic | vae | {"n_action_samples": sizes.get("target_samples")},
        "plas": actor_critic | vae | {"warmup_steps": 0},
        "awac": actor_critic,
        "iql": actor_critic | {"value_encoder_factory": encoder("hidden")},
        "cql": actor_critic | {"n_action_samples": sizes.get("samples")},
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
    work(Job(**json.loads(sys.argv[2])), partial(start, json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
