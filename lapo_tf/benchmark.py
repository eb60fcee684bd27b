"""How fast the training loop is on this machine, and how near to the time of its matrix products alone.

python -m lapo_tf.benchmark --threads 1 2 --json speed.json
python -m lapo_tf.benchmark --agents all --d3rlpy --precisions float32

One run measures everything in its table. Each row is a process of its own, because TensorFlow fixes its threads once:
it may use `threads` cores only (`sched_setaffinity`) and sets TensorFlow up as training does (`runtime.configure`). The
processes of one number of threads start one after the other, so that nothing disturbs imports and compilation, then
wait, and the repeats go round them in turn, so that a slow minute of the machine falls on all of them alike. Reported
are medians over the repeats, with the smallest and the largest. Nothing else should run on the machine meanwhile.

- ms/step: `TrainingLoop.run`, the loop that training uses, on random data that lie on the device.
- products: the time of the step's matrix products alone, in float32 (`lapo_tf.training.products`). The list is read
  from the graph of that very loop; the same products, transposed as there, then run in a loop with nothing else, in
  the same processes (same cores, same threads), by XLA and in graph mode. The better of the modes measured is the
  yardstick of all rows with as many threads. It is an estimate and no strict bound: alone, all products are
  independent of each other, so that several cores share them more easily, and their operands are mostly in the
  caches; layouts are each compiler's own choice, in the step and alone.
- ratio: ms/step over products. Only bfloat16 should come below 1.
- import: what `python -m lapo_tf.train` imports, in a fresh interpreter. trace: Python to graph. compile: the first
  call less one step; in graph mode that is TensorFlow's optimisation of the graph.

With a GPU that TensorFlow sees, the rows are one per mode and precision on the GPU, with all cores (float32 products
are then subject to TensorFlow's TF32 setting, in the step and alone alike); `--device cpu` measures the CPU instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal

from tqdm.auto import tqdm

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.config import Precision
from lapo_tf.errors import UserError, command, unknown
from lapo_tf.training.timing import Job, Workload

DESCRIPTION = __doc__ or ""
VERSIONS = ("tensorflow", "keras", "tensorflow-probability", "numpy", "lapo-tf")
CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
"""What decides the speed of products, and whether bfloat16 can pay."""


@dataclass(frozen=True)
class BenchmarkCommand(Workload):
    """Options of the command."""

    agents: tuple[str, ...] = ("lapo",)
    """Algorithms, with their default hyper-parameters; all for all of them."""
    d3rlpy: bool = False
    """Measure d3rlpy's implementation of the same algorithms, too (needs the extra lapo-tf[d3rlpy])."""
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


class Worker:
    """A measuring process, from this one's side."""

    def __init__(self, job: Job) -> None:
        environment = os.environ | ({"CUDA_VISIBLE_DEVICES": "-1"} if job.device == "cpu" else {})
        self.job = job
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in close()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lapo_tf.training.timing", json.dumps(asdict(job))],
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


# The command


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
    from lapo_tf.agents import AGENTS

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
            if options.d3rlpy and agent != "lapo":
                jobs.append(Job(**fixed, mode="d3rlpy", sizes=asdict(AGENTS[agent].Config())))
    return jobs


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
        "cores": len(os.sched_getaffinity(0)),
        "flags": {flag: flag in flags for flag in CPU_FLAGS},
        "gpu": ", ".join(gpus) or None,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in VERSIONS},
        "environment": {name: os.environ[name] for name in ("TF_XLA_FLAGS", "XLA_FLAGS") if name in os.environ},
    }


def measure(jobs: list[Job], steps: int, repeats: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run all jobs: the table's rows, and each agent's products."""
    rows: list[dict[str, Any]] = []
    products: dict[str, Any] = {}
    with tqdm(total=len(jobs) * (1 + repeats), leave=False, unit="run") as bar:
        for threads, agent in dict.fromkeys((job.threads, job.agent) for job in jobs):
            with contextlib.ExitStack() as stack:
                workers, answers = [], []
                for job in (job for job in jobs if (job.threads, job.agent) == (threads, agent)):
                    bar.set_description(f"{agent}, {threads} threads: start {job.mode} {job.precision}")
                    workers.append(stack.enter_context(contextlib.closing(Worker(job))))
                    answers.append(workers[-1].read())
                    bar.update()
                for worker in workers * repeats:
                    bar.set_description(f"{agent}, {threads} threads: {worker.job.mode} {worker.job.precision}")
                    worker.measure("loop", steps)
                    if worker.job.with_products:
                        worker.measure("products", steps)
                    bar.update()
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
    d3rlpy = [median(w.times["loop"]) for w in workers if w.job.mode == "d3rlpy"]
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
        "faster_than_d3rlpy": d3rlpy[0] / median(times) if d3rlpy else None,
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
    compared = any(r["faster_than_d3rlpy"] for r in results["rows"])
    columns = "agent device threads mode precision | ms/step min-max products GFLOP/s ratio steps/s"
    columns += " d3rlpy/ours | import trace compile" if compared else " | import trace compile"
    body: list[list[str]] = [columns.split()]
    for r in results["rows"]:
        ms = f"{r['step_ms']:.2f}", f"{r['step_ms_min']:.2f}-{r['step_ms_max']:.2f}", f"{r['products_ms']:.2f}"
        gflop = results["agents"][r["agent"]]["gflop"]
        speed = f"{gflop / r['products_ms'] * 1e3:.0f}", f"{r['ratio']:.2f}", f"{r['steps_per_s']:.1f}"
        times = [f"{r['faster_than_d3rlpy']:.1f}" if r["faster_than_d3rlpy"] else ""] if compared else []
        start = (f"{r[name]:.1f} s" for name in ("import_s", "trace_s", "compile_s"))
        setting = (r["agent"], r["device"], str(r["threads"]), r["mode"], r["precision"])
        body.append([*setting, "|", *ms, *speed, *times, "|", *start])
    widths = [max(map(len, column)) for column in zip(*body, strict=True)]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)) for cells in body]
    lines += [
        "",
        "products (ms, GFLOP/s): the step's matrix products alone in float32, by the faster of the modes",
    ]
    return "\n".join(lines)


@command
def main() -> None:
    """The command."""
    cores = len(os.sched_getaffinity(0))
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
