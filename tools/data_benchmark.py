"""How long importing, loading, relabelling and inspecting take, and in how much memory.

python tools/data_benchmark.py --steps 1000000

The data are made up: episodes of 150 to 350 steps, 30 observations, 8 actions, as a D4RL file and as ten MCAP bags
(joint states and commands at 20 Hz). Each row is a process of its own, the commands that users run; its times (on the
clock, and of the processor) include starting Python, its memory is the largest resident size. Everything is made in a
temporary folder and removed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import yaml

from lapo_tf.errors import UserError, command, require

OBSERVATIONS, ACTIONS, BAGS, RATE = 30, 8, 10, 20
BLOCK = 100_000
RULE = {"rule": "distance", "field": "observation[0:3]", "goal": [0.5, 0.5, 0.5], "threshold": 0.3}
LAYOUT = {
    "rate": RATE,
    "observation": {
        "arm": {"topic": "/joint_states", "field": "position", "joints": [f"joint{i}" for i in range(ACTIONS)]}
    },
    "action": {"command": {"topic": "/command", "time": "receive"}},
    "episodes": {"gap": 1.0},
}


@command
def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000, help="transitions")
    parser.add_argument("--json", type=Path, help="write the results to this file, too")
    options = parser.parse_args()
    steps, out = options.steps, options.json
    require(steps >= 1000, "--steps", steps, "1,000 or more")
    results = {}
    with tempfile.TemporaryDirectory(prefix="lapo-data-benchmark-") as folder:
        root = Path(folder)
        environment = os.environ | {"MINARI_DATASETS_PATH": str(root / "minari")}
        (root / "rule.yaml").write_text(yaml.safe_dump(RULE))
        (root / "layout.yaml").write_text(yaml.safe_dump(LAYOUT))
        print(f"{steps:,} transitions; making the data …", flush=True)
        rng = np.random.default_rng(0)
        lengths = _lengths(steps, rng)
        _write_hdf5(root / "data.hdf5", lengths, rng)
        rows: list[tuple[str, list[str]]] = [
            ("start Python", ["-c", "import lapo_tf.data"]),
            ("import d4rl", ["-m", "lapo_tf.data", "import", "d4rl", "data.hdf5", "--id", "own/a-v0"]),
            ("load D4RL file", ["-c", "from lapo_tf.data import load_dataset; load_dataset('data.hdf5')"]),
            ("load Minari", ["-c", "from lapo_tf.data import load_dataset; load_dataset('own/a-v0')"]),
            ("relabel", ["-m", "lapo_tf.data", "relabel", "own/a-v0", "--reward", "rule.yaml", "--id", "own/b-v0"]),
            ("inspect", ["-m", "lapo_tf.data", "inspect", "own/a-v0", "--out", "page"]),
        ]
        if importlib.util.find_spec("rosbags"):
            _write_bags(root / "bags", lengths)
            bags = ["-m", "lapo_tf.data", "import", "bag", "bags", "--layout", "layout.yaml", "--id", "own/c-v0"]
            rows.append((f"import bag ({BAGS} bags)", bags))
        else:
            print("no bags: pip install 'lapo-tf[bags]'")
        print(f"{'':<22}{'seconds':>9}{'CPU s':>9}{'peak MB':>9}")
        for name, arguments in rows:
            seconds, cpu, memory = _measure([sys.executable, *arguments], root, environment, name)
            results[name] = {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": memory}
            print(f"{name:<22}{seconds:>9.1f}{cpu:>9.1f}{memory:>9.0f}", flush=True)
    if out is not None:
        out.write_text(json.dumps({"steps": steps, "episodes": len(lengths), "results": results}, indent=1) + "\n")


def _lengths(steps: int, rng: np.random.Generator) -> list[int]:
    """Lengths of episodes that add up to `steps`."""
    lengths: list[int] = []
    while (left := steps - sum(lengths)) > 0:
        more = rng.integers(150, 351, left // 250 + 1).tolist()
        for length in more:
            lengths.append(min(length, left))
            left -= lengths[-1]
            if not left:
                break
    return lengths


def _write_hdf5(path: Path, lengths: Sequence[int], rng: np.random.Generator) -> None:
    steps = sum(lengths)
    ends = np.zeros(steps, bool)
    ends[np.cumsum(lengths) - 1] = True
    with h5py.File(path, "w") as file:
        observations = file.create_dataset("observations", (steps, OBSERVATIONS), np.float32)
        actions = file.create_dataset("actions", (steps, ACTIONS), np.float32)
        for first in range(0, steps, BLOCK):
            count = min(BLOCK, steps - first)
            observations[first : first + count] = rng.random((count, OBSERVATIONS), np.float32)
            actions[first : first + count] = rng.uniform(-1, 1, (count, ACTIONS))
        file["rewards"] = rng.random(steps, np.float32)
        file["terminals"] = np.zeros(steps, bool)
        file["timeouts"] = ends


def _write_bags(folder: Path, lengths: Sequence[int]) -> None:
    """Ten bags; an episode of n steps has n + 1 joint states, and silence of 2 s follows."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    types = store.types
    header, stamp = types["std_msgs/msg/Header"], types["builtin_interfaces/msg/Time"]
    layout = types["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    names, nothing = [f"joint{i}" for i in range(ACTIONS)], np.zeros(0)
    period, now = 10**9 // RATE, 1_700_000_000 * 10**9
    folder.mkdir()
    for number in range(BAGS):
        with Writer(folder / f"bag{number}", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            state, array = "sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray"
            states = writer.add_connection("/joint_states", state, typestore=store)
            commands = writer.add_connection("/command", array, typestore=store)
            for length in lengths[number::BAGS]:
                for step in range(length + 1):
                    values = np.sin(0.01 * step + np.arange(ACTIONS))
                    time_stamp = stamp(sec=now // 10**9, nanosec=now % 10**9)
                    message = types[state](header(time_stamp, "base"), names, values, nothing, nothing)
                    writer.write(states, now, store.serialize_cdr(message, state))
                    message = types[array](layout=layout, data=np.cos(values))
                    writer.write(commands, now + period // 2, store.serialize_cdr(message, array))
                    now += period
                now += 2 * 10**9


def _measure(command: list[str], folder: Path, environment: dict[str, str], name: str) -> tuple[float, float, float]:
    """Wall and processor seconds, and largest resident size in MB."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            last = (errors.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise UserError(f"'{name}' failed: {last}")
    scale = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / scale


if __name__ == "__main__":
    main()
