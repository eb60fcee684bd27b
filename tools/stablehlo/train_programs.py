"""Trains what `make_programs.py` wrote, by JAX's compiler and runtime: needs JAX and NumPy only.

python tools/stablehlo/train_programs.py PROGRAMS OUT [--parallel 8] [--deadline 500] [--precision HIGHEST] [NAME...]

Every program is trained by a process of its own. OUT gets, per run, the weights that act and the sums of metrics at
every evaluation (float32 rounded to 24 bits), and NAME.json: compile time, milliseconds per step, device. It uses
JAX's internals, of 0.10 and 0.11.
Nine beside each other, under NVIDIA's MPS, did four times the steps per second of one alone on an H100 with 16 cores;
twenty-five were slower than one after another. On an H200, five took 2.3 to 4.1 ms a step each; nine that began right
after the daemon, without a second's wait and `CUDA_MPS_PIPE_DIRECTORY`, took turns and gained nothing.
`XLA_FLAGS=--xla_gpu_autotune_level=0` compiles much sooner.

Programs marked for timing are compiled beside each other, then timed one at a time on an otherwise idle device.
"""

import argparse
import fcntl
import json
import os
import re
import statistics
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any


def pack(array: Any) -> bytes:
    """Bytes of a float32 array, rounded to 24 bits of 32 and compressed byte plane by byte plane."""
    import numpy as np

    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
    bits = np.minimum((bits + 0x80) >> 8, 0xFFFFFF).astype(np.uint32)
    planes = bits.view(np.uint8).reshape(-1, 4)[:, :3].T
    return zlib.compress(np.ascontiguousarray(planes).tobytes(), 3)


class Program:
    """A program on the device, and its state between calls."""

    def __init__(self, folder: Path, name: str, entry: dict[str, Any], precision: str) -> None:
        import jax
        import numpy as np

        jax.config.update("jax_enable_x64", True)
        from jax._src.interpreters import mlir as jax_mlir
        from jax._src.lib import xla_client
        from jax._src.lib.mlir import ir

        self.device = jax.devices()[0]
        text = zlib.decompress((folder / f"{name}.mlir.z").read_bytes()).decode()
        if precision:
            text = text.replace("precision = [DEFAULT, DEFAULT]", f"precision = [{precision}, {precision}]")
        # The GPU's runtime takes StableHLO alone, without XLA's own dialect.
        text = re.sub(r"mhlo\.copy (%\w+) : (tensor<\S+>)", r"stablehlo.reshape \1 : (\2) -> \2", text)
        begun = time.perf_counter()
        with jax_mlir.make_ir_context():
            module = ir.Module.parse(text)
            code = jax_mlir.module_to_bytecode(module)
        devices = xla_client.DeviceList((self.device,))
        self.executable = self.device.client.compile_and_load(code, devices, xla_client.CompileOptions())
        self.compile_s = time.perf_counter() - begun

        random = np.random.default_rng(0)

        def load(argument: dict[str, Any]) -> Any:
            if "file" not in argument:
                return random.standard_normal(argument["shape"], np.float32)
            data = zlib.decompress((folder / "arrays" / argument["file"]).read_bytes())
            return np.frombuffer(data, argument["dtype"]).reshape(argument["shape"])

        self.arguments = entry["arguments"]
        self.written = {int(result): i for result, i in entry["written"].items()}
        self.values = [jax.device_put(load(a), self.device) for a in self.arguments]
        self.jax, self.np = jax, np

    def run(self, steps: int) -> Any:
        """Do `steps` updates; returns the first of what the function itself returns."""
        count = self.jax.device_put(self.np.int64(steps), self.device)
        results = self.executable.execute_sharded([count, *self.values]).disassemble_into_single_device_arrays()
        for result, i in self.written.items():
            self.values[i] = results[result][0]
        self.jax.block_until_ready(results[0][0])
        return results[0][0]

    def known(self, number: int) -> int:
        """Index of the argument that the manifest gives this number."""
        return next(i for i, a in enumerate(self.arguments) if a["known"] == number)


def work(options: argparse.Namespace, name: str) -> None:
    """One process: train or time one program."""
    folder, out = Path(options.programs), Path(options.out)
    entry = json.loads((folder / "manifest.json").read_text())[name]
    program = Program(folder, name, entry, options.precision)
    jax = program.jax
    log = {"compile_s": program.compile_s, "device": program.device.device_kind, "jax": jax.__version__}
    program.run(1)
    if entry.get("timing"):
        with open(out / "timing.lock", "w") as lock:
            (out / f"{name}.ready").touch()
            while not (out / "go").exists():
                time.sleep(0.1)
            fcntl.flock(lock, fcntl.LOCK_EX)
            program.run(10)
            samples = []
            for _ in range(5):
                begun = time.perf_counter()
                program.run(entry["steps"])
                samples.append(1e3 * (time.perf_counter() - begun) / entry["steps"])
        log |= {"ms_per_step": statistics.median(samples), "samples": samples, "flops": entry.get("flops")}
    else:
        log |= train(program, entry, out / f"{name}.npz", options.until)
    (out / f"{name}.json").write_text(json.dumps(log))


def train(program: Program, entry: dict[str, Any], path: Path, deadline: float) -> dict[str, Any]:
    """Train to the end, or to the last evaluation before the deadline."""
    np, jax = program.np, program.jax
    acting = [program.known(k) for k in range(entry["acting"])]
    counter = program.known(entry["acting"])
    sums = [program.known(entry["acting"] + 1 + k) for k in range(entry["sums"])]
    step = int(program.values[counter])  # 1: the warm-up's step counts
    snapshots, steps, seconds, begun = {}, [], [], time.perf_counter()
    while step < entry["steps"]:
        until = min((step // entry["eval_every"] + 1) * entry["eval_every"], entry["steps"])
        assert bool(program.run(until - step)), f"not finite after step {step}"
        step = int(program.values[counter])
        assert step == until, (step, until)
        steps.append(step)
        seconds.append(time.perf_counter() - begun)
        for k, i in enumerate(acting):
            snapshots[f"{step}/{k}"] = np.frombuffer(pack(np.asarray(program.values[i])), np.uint8)
        snapshots[f"{step}/sums"] = np.array([program.values[i] for i in sums])
        for i in sums:
            program.values[i] = jax.device_put(np.float32(0), program.device)
        if time.time() > deadline:
            break
    with path.open("wb") as file:
        np.savez(file, steps=steps, seconds=seconds, **snapshots)
    return {"steps": step, "seconds": seconds[-1], "ms_per_step": 1e3 * seconds[-1] / step}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", help="what make_programs.py wrote")
    parser.add_argument("out", help="folder to write to")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--deadline", type=float, default=500.0, help="seconds from now after which nothing is begun")
    parser.add_argument("--precision", default="")
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("--until", type=float, default=0.0)
    options = parser.parse_args()
    if options.worker:
        work(options, options.names[0])
        return
    begun = time.time()
    until = begun + options.deadline
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    waiting = options.names or list(json.loads((Path(options.programs) / "manifest.json").read_text()))
    running: dict[str, subprocess.Popen] = {}
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "2"}
    while waiting or running:
        while waiting and len(running) < options.parallel and time.time() < until:
            name = waiting.pop(0)
            command = [sys.executable, __file__, options.programs, options.out, name, "--worker", "--until", str(until)]
            command += ["--precision", options.precision]
            with (out / f"{name}.err").open("w") as errors:
                running[name] = subprocess.Popen(command, stdout=errors, stderr=errors, env=environment)
        for name in [name for name, process in running.items() if process.poll() is not None]:
            code = running.pop(name).returncode
            said = (out / f"{name}.json").read_text() if code == 0 else (out / f"{name}.err").read_text()[-600:]
            print(f"{time.time() - begun:6.1f} s  {name}: {said}", flush=True)
        if not waiting and all((out / f"{name}.ready").exists() for name in running):
            (out / "go").touch()
        if waiting and time.time() >= until:
            print("not begun:", *waiting, flush=True)
            waiting = []
        time.sleep(0.1)


if __name__ == "__main__":
    main()
