"""Measures jobs in processes of their own, in turn, and makes a table of them; `lapo_tf.benchmark` explains it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from lapo_tf import runtime
from lapo_tf.errors import UserError
from lapo_tf.progress import progress_bar
from lapo_tf.training.speed.worker import Job

WORKER = ("-m", "lapo_tf.training.speed.worker")
PROGRAMS: Mapping[str, Sequence[str]] = {"xla": WORKER, "graph": WORKER}
"""Python's arguments that start the measuring process of a mode, but for the job."""
VERSIONS = ("tensorflow", "keras", "tensorflow-probability", "numpy", "lapo-tf")
CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
"""What decides the speed of products, and whether bfloat16 can pay."""


class Worker:
    """A measuring process, from this one's side."""

    def __init__(self, job: Job, program: Sequence[str]) -> None:
        environment = os.environ | ({"CUDA_VISIBLE_DEVICES": "-1"} if job.device == "cpu" else {})
        self.job = job
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in close()
        self.process = subprocess.Popen(
            [sys.executable, *program, json.dumps(asdict(job))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )
        self.times: dict[str, list[float]] = {"loop": [], "products": []}

    def read(self) -> dict[str, Any]:
        """The next answer."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        last = (self.errors.read().strip().splitlines() or ["no message"])[-1]
        if last.startswith("error: "):  # it was told in one line already
            raise UserError(last.removeprefix("error: "))
        raise UserError(
            f"measuring {self.job.mode} {self.job.precision} on {self.job.threads} threads ended with status {code} "
            f"({last[:300]}); leave it out with --modes, --precisions or --threads"
        )

    def measure(self, what: str, steps: int) -> None:
        """Time one repeat."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # read() says what became of the process
            print(what, steps, file=self.process.stdin, flush=True)
        self.times[what].append(self.read()["seconds"] / steps)

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.communicate()
        self.errors.close()


def find_gpus() -> list[str]:
    """Names of the GPUs that TensorFlow sees."""
    runtime.quiet()
    import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return [gpu.get("device_name", "GPU") for gpu in details]


def machine(gpus: list[str]) -> dict[str, Any]:
    """What the numbers depend on."""
    info: dict[str, str] = {}
    with contextlib.suppress(OSError):  # Linux only
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            info[key.strip()] = value.strip()
    flags = info.get("flags", "").split()
    return {
        "cpu": info.get("model name", platform.processor()),
        "cores": runtime.cores(),
        "flags": {flag: flag in flags for flag in CPU_FLAGS},
        "gpu": ", ".join(gpus) or None,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in VERSIONS},
        "environment": {name: os.environ[name] for name in ("TF_XLA_FLAGS", "XLA_FLAGS") if name in os.environ},
    }


def measure(
    jobs: Sequence[Job], steps: int, repeats: int, programs: Mapping[str, Sequence[str]] = PROGRAMS
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run all jobs: the table's rows, and each agent's products.

    The processes of one agent and number of threads start one after the other, so that nothing disturbs imports and
    compilation. Then the repeats go round them in turn, so that a slow minute of the machine falls on all alike.
    """
    rows: list[dict[str, Any]] = []
    products: dict[str, Any] = {}
    with progress_bar(total=len(jobs) * (1 + repeats), leave=False, unit="run") as runs:
        for threads, agent in dict.fromkeys((job.threads, job.agent) for job in jobs):
            with contextlib.ExitStack() as stack:
                workers, answers = [], []
                for job in (job for job in jobs if (job.threads, job.agent) == (threads, agent)):
                    runs.set_description(f"{agent}, {threads} threads: start {job.mode} {job.precision}")
                    workers.append(stack.enter_context(contextlib.closing(Worker(job, programs[job.mode]))))
                    answers.append(workers[-1].read())
                    runs.update()
                for worker in workers * repeats:
                    runs.set_description(f"{agent}, {threads} threads: {worker.job.mode} {worker.job.precision}")
                    worker.measure("loop", steps)
                    if worker.job.with_products:
                        worker.measure("products", steps)
                    runs.update()
            rows += [row(worker, answer, workers) for worker, answer in zip(workers, answers, strict=True)]
            found = next(answer["products"] for answer in answers if answer["products"])
            products[agent] = {
                "products": sum(p["count"] for p in found),
                "gflop": sum(p["flops"] * p["count"] for p in found) / 1e9,
                "product_list": found,
            }
    return rows, products


def row(worker: Worker, answer: dict[str, Any], workers: list[Worker]) -> dict[str, Any]:
    """One row of the table."""
    job, times = worker.job, worker.times["loop"]
    alone = {w.job.mode: w.times["products"] for w in workers if w.job.with_products}
    best = min(alone, key=lambda mode: median(alone[mode]))
    return {
        "agent": job.agent,
        "device": job.device,
        "threads": job.threads,
        "mode": job.mode,
        "precision": job.precision,
        "step_ms": median(times) * 1e3,
        "step_ms_min": min(times) * 1e3,
        "step_ms_max": max(times) * 1e3,
        "products_ms": median(alone[best]) * 1e3,
        "products_ms_min": min(alone[best]) * 1e3,
        "products_ms_max": max(alone[best]) * 1e3,
        "products_mode": best,
        "ratio": median(times) / median(alone[best]),
        "steps_per_s": 1.0 / median(times),
        "import_s": answer["import_s"],
        "trace_s": answer["trace_s"],
        "compile_s": answer["compile_s"],
    }


def table(results: dict[str, Any]) -> str:
    """The results for people."""
    where, load = results["machine"], results["workload"]
    flags = " ".join(flag for flag, has in where["flags"].items() if has)
    lines = [
        f"machine  {where['gpu'] or where['cpu']}, {where['cores']} cores ({flags})",
        "versions " + ", ".join(f"{name} {number}" for name, number in where["versions"].items()),
        f"step     observations {load['obs_dim']}, actions {load['act_dim']}, batch {load['batch_size']}",
    ]
    lines += [
        f"         {agent}: {found['products']} matrix products, {found['gflop']:.3f} GFLOP"
        for agent, found in results["agents"].items()
    ]
    lines.append("")
    columns = "agent device threads mode precision | ms/step min-max products GFLOP/s ratio steps/s"
    body: list[list[str]] = [f"{columns} | import trace compile".split()]
    for r in results["rows"]:
        ms = f"{r['step_ms']:.2f}", f"{r['step_ms_min']:.2f}-{r['step_ms_max']:.2f}", f"{r['products_ms']:.2f}"
        gflop = results["agents"][r["agent"]]["gflop"]
        speed = f"{gflop / r['products_ms'] * 1e3:.0f}", f"{r['ratio']:.2f}", f"{r['steps_per_s']:.1f}"
        start = (f"{r[name]:.1f} s" for name in ("import_s", "trace_s", "compile_s"))
        setting = (r["agent"], r["device"], str(r["threads"]), r["mode"], r["precision"])
        body.append([*setting, "|", *ms, *speed, "|", *start])
    widths = [max(map(len, column)) for column in zip(*body, strict=True)]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)) for cells in body]
    lines += [
        "",
        "products (ms, GFLOP/s): the step's matrix products alone in float32, by the faster of the modes",
    ]
    return "\n".join(lines)
