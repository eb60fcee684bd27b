"""Writes training programs for a machine that has a GPU and JAX but no TensorFlow.

python tools/stablehlo/make_programs.py results/programs/kitchen-complete.json OUT --dataset FILE.hdf5

The list holds options of runs as `lapo_tf.train` takes them (task, agent, steps, seed, eval_every, the agent's own
under its name), with a `name` for the program and the `folder` its run shall have; those in results/programs are what
docs/experiments.md reports. `random` instead makes the workload of `lapo_tf.benchmark`, to be timed; `products` its
products alone.

Of every run, OUT gets the compiled loop that `lapo_tf.train` would run, as StableHLO, and its arguments (the data set,
the initial weights); equal arrays are stored once. `train_programs.py` trains them, `evaluate_programs.py` evaluates
what that leaves.
"""

import argparse
import hashlib
import json
import re
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lapo_tf import runtime

runtime.quiet()
runtime.configure("xla")

import tensorflow as tf  # noqa: E402

from lapo_tf.agents import Agent  # noqa: E402
from lapo_tf.training.speed.products import ProductLoop, graph_products  # noqa: E402
from lapo_tf.training.speed.worker import Job, build_loop  # noqa: E402
from lapo_tf.training.start import run_config  # noqa: E402
from lapo_tf.training.trainer import Trainer  # noqa: E402

STEPS = tf.constant(1, tf.int64)


def acting_variables(agent: Agent) -> list[tf.Variable]:
    """The variables that an agent's actions depend on, in the order of its weights."""
    handles = {id(v.handle) for v in agent._act.get_concrete_function().variables}
    return [w.value for w in agent.weights if id(w.value.handle) in handles]


class Store:
    """Arrays in a folder, each distinct one once, compressed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, array: np.ndarray) -> dict[str, Any]:
        """Keep an array; what to find it by."""
        array = np.asarray(array)
        data = array.tobytes()
        name = hashlib.sha256(data).hexdigest()[:16]
        path = self.folder / name
        if not path.exists():
            path.write_bytes(zlib.compress(data, 6))
        return {"file": name, "dtype": str(array.dtype), "shape": list(array.shape)}


def write_program(path: Path, function: Any, store: Store | None, known: Sequence[tf.Variable] = ()) -> dict[str, Any]:
    """Write a compiled function of a number of steps; its part of the manifest.

    Args:
        store: where to put the arguments; without one they are drawn at random where the program runs.
        known: variables to be named in the manifest by their position in this sequence.
    """
    concrete = function.get_concrete_function(tf.TensorSpec([], tf.int64))
    text = function.experimental_get_compiler_ir(STEPS)(stage="stablehlo")
    text = text if isinstance(text, str) else text.decode()
    variables = {id(v.handle): v for v in concrete.graph.variables}
    position = {id(getattr(v, "handle", v)): i for i, v in enumerate(known)}
    arguments = []
    for tensor, _ in concrete.graph.captures:
        variable = variables.get(id(tensor))
        value = variable.numpy() if variable is not None else tensor.numpy()
        entry: dict[str, Any] = store.add(value) if store else {"dtype": str(value.dtype), "shape": list(value.shape)}
        entry["known"] = position.get(id(tensor))
        arguments.append(entry)
    text = re.sub(r" loc\((?:[^()\"]|\"[^\"]*\"|\([^()]*\))*\)", "", re.sub(r"(?m)^#loc.*$", "", text))
    path.write_bytes(zlib.compress(text.encode(), 9))
    # Results that take an argument's place are the variables' new values.
    alias = r"parameter_number = (\d+) : i64\}, output_index = array<i64: (\d+)>"
    written = {int(result): int(parameter) - 1 for parameter, result in re.findall(alias, text)}
    return {"arguments": arguments, "written": written}


def timed(run: dict[str, Any], path: Path, store: Store) -> dict[str, Any]:
    """A program to be timed: the benchmark's workload, or the matrix products of its step."""
    loop = build_loop(Job(**run["random"]))
    entry = {"steps": run["steps"], "timing": True}
    if not run.get("products"):
        return entry | write_program(path, loop._run, store)
    found = graph_products(loop._run.get_concrete_function(tf.TensorSpec([], tf.int64)).graph)
    products = ProductLoop(found, xla=True, shared_operands=False)
    return entry | {"flops": sum(p.flops for p in found)} | write_program(path, products._run, None)


def trained(run: dict[str, Any], path: Path, store: Store) -> dict[str, Any]:
    """A program to be trained."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(run_config(run | {"run_dir": folder}), progress=False)
    loop = trainer.loop
    acting = acting_variables(trainer.agent)
    written = write_program(path, loop._run, store, [*acting, loop.step, *loop.metric_variables])
    trainer.judge.close()
    return {
        "run": run,
        "steps": trainer.config.steps,
        "eval_every": trainer.config.eval_every,
        "acting": len(acting),
        "sums": len(loop.metric_variables),
    } | written


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="list of runs (JSON)")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--dataset", help="a D4RL file or a Minari id for all runs; default: the task's own")
    options = parser.parse_args()
    store, manifest = Store(options.out / "arrays"), {}
    for run in json.loads(options.runs.read_text()):
        name, folder = run.pop("name"), run.pop("folder", None)
        make = timed if "random" in run else trained
        if options.dataset and "random" not in run:
            run["dataset"] = options.dataset
        manifest[name] = {"folder": folder} | make(run, options.out / f"{name}.mlir.z", store)
        print(name, flush=True)
    (options.out / "manifest.json").write_text(json.dumps(manifest))


if __name__ == "__main__":
    main()
