"""Writes training programs for a machine that has a GPU and JAX but no TensorFlow.

python docs/gpu/make_programs.py runs.json OUT

`runs.json` lists options of runs as `lapo_tf.train` takes them: a task, an agent, `steps`, `seed`, `eval_every`, the
agent's own options under its name, and `run_dir`. Of every run, OUT gets the compiled loop that `lapo_tf.train` would
run, as StableHLO, and its arguments (the data set, the initial weights); equal arrays are stored once.
`train_programs.py` trains them, `evaluate_programs.py` evaluates what that leaves.
"""

import hashlib
import json
import re
import sys
import zlib
from pathlib import Path

import numpy as np

from lapo_tf import runtime
from lapo_tf.config import build_config, task_config

runtime.quiet()
runtime.configure("xla")

import tensorflow as tf  # noqa: E402

from lapo_tf.timing import Job, build_loop  # noqa: E402
from lapo_tf.training.products import ProductLoop, graph_products  # noqa: E402
from lapo_tf.training.trainer import Trainer  # noqa: E402

STEPS = tf.constant(1, tf.int64)


def config_of(run):
    """The config of an entry of runs.json, on top of the task's and the agent's own."""
    agent = run.get("agent", "lapo")
    return build_config(run, build_config({"task": run["task"], "agent": agent} | task_config(run["task"], agent)))


def acting_variables(agent):
    """The variables that an agent's actions depend on, in the order of its weights."""
    handles = {id(v.handle) for v in agent._act.get_concrete_function().variables}
    return [w.value for w in agent.weights if id(w.value.handle) in handles]


class Store:
    """Arrays in a folder, each distinct one once, compressed."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, array):
        """Keep an array; what to find it by."""
        array = np.asarray(array)
        data = array.tobytes()
        name = hashlib.sha256(data).hexdigest()[:16]
        path = self.folder / name
        if not path.exists():
            path.write_bytes(zlib.compress(data, 6))
        return {"file": name, "dtype": str(array.dtype), "shape": list(array.shape)}


def write_program(name, function, out, store, known=()):
    """Write a compiled function of a number of steps.

    Args:
        store: where to put the arguments; without one they are drawn at random where the program runs.
        known: variables to be named in the manifest by their position in this sequence.
    """
    concrete = function.get_concrete_function(tf.TensorSpec([], tf.int64))
    text = function.experimental_get_compiler_ir(STEPS)(stage="stablehlo")
    text = text if isinstance(text, str) else text.decode()
    variables = {id(v.handle): v for v in concrete.graph.variables}
    inner = [tensor for tensor, _ in concrete.graph.captures]
    position = {id(getattr(v, "handle", v)): i for i, v in enumerate(known)}
    arguments = []
    for tensor in inner:
        variable = variables.get(id(tensor))
        value = variable.numpy() if variable is not None else tensor.numpy()
        entry = store.add(value) if store else {"dtype": str(value.dtype), "shape": list(value.shape)}
        entry["known"] = position.get(id(tensor))
        entry["variable"] = variable is not None
        arguments.append(entry)
    text = re.sub(r" loc\((?:[^()\"]|\"[^\"]*\"|\([^()]*\))*\)", "", re.sub(r"(?m)^#loc.*$", "", text))
    (out / f"{name}.mlir.z").write_bytes(zlib.compress(text.encode(), 9))
    # Results that take an argument's place are the variables' new values.
    alias = r"parameter_number = (\d+) : i64\}, output_index = array<i64: (\d+)>"
    written = {int(result): int(parameter) - 1 for parameter, result in re.findall(alias, text)}
    return {"arguments": arguments, "written": written}


def main():
    runs, out = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    store = Store(out / "arrays")
    manifest, data_of = {}, {}
    for run in runs:
        name, folder = run.pop("name"), run.pop("folder", None)
        if run.get("random"):  # the benchmark's workload
            loop = build_loop(Job(**run["random"]))
            entry = {"steps": run["steps"], "timing": True}
            function = loop._run
            if run.get("products"):
                found = graph_products(loop._run.get_concrete_function(tf.TensorSpec([], tf.int64)).graph)
                entry["flops"] = sum(p.flops for p in found)
                loop = ProductLoop(found, xla=True, shared_operands=False)
                function = loop._run
            manifest[name] = entry | write_program(name, function, out, None if run.get("products") else store)
            continue
        config = config_of(run | {"run_dir": f"/tmp/gpu-programs/{name}"})
        key = (config.task, config.dataset)
        trainer = Trainer(config, dataset=data_of.get(key), progress=False)
        if key not in data_of:
            data_of[key] = trainer.task.load_dataset(config.dataset, data=config.data)
        loop, agent = trainer.loop, trainer.agent
        acting = acting_variables(agent)
        known = [*acting, loop.metric_sums, loop.step]
        manifest[name] = {
            "run": run,
            "folder": folder,
            "steps": config.steps,
            "eval_every": config.eval_every,
            "acting": len(acting),
        } | write_program(name, loop._run, out, store, known)
        manifest[name]["metric_names"] = loop.metric_names
        trainer.evaluator.close()
        print(name, flush=True)
    (out / "manifest.json").write_text(json.dumps(manifest))


if __name__ == "__main__":
    main()
