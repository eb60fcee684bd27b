"""What this machine has, for a bug report: `python -m lapo_tf.doctor`."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lapo_tf import runtime
from lapo_tf.cli import parse
from lapo_tf.errors import command, first_line

DESCRIPTION = """Tell versions, threads, GPU, data folder, network and extras; run the compiled loop for two seconds.

Exit status 1 if something that training needs does not work. Put what it prints into a bug report."""

PACKAGES = (
    *("lapo-tf", "tensorflow", "keras", "tensorflow-probability", "numpy", "h5py"),
    *("gymnasium", "gymnasium-robotics", "mujoco", "minari", "ai-edge-litert"),
)
EXTRAS = {
    "robot": ("roslibpy", "websockets", "rosbags"),
    "sweep": ("ray", "rich", "rliable"),
    "bags": ("rosbags",),
    "lerobot": ("pyarrow",),
    "onnx": ("tf2onnx", "onnxruntime"),
    "sb3": ("stable-baselines3", "torch"),
    "notebooks": ("jupyterlab",),
}
"""Packages that an extra brings."""
VARIABLES = ("OMP_NUM_THREADS", "TF_XLA_FLAGS", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES", "MUJOCO_GL")
TRIAL_SECONDS = 2.0


@dataclass(frozen=True)
class Args:
    """The command has no options."""


def installed(package: str) -> str | None:
    """A package's version, if it is there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> str:
    """Of Python and of what training needs."""
    missing = [name for name in PACKAGES if installed(name) is None]
    if missing:
        raise RuntimeError(f"{', '.join(missing)} not installed: pip install lapo-tf")
    return ", ".join(f"{name} {installed(name)}" for name in PACKAGES)


def threads() -> str:
    """How many this process may use."""
    import tensorflow as tf

    runtime.configure("xla")
    used = tf.config.threading.get_intra_op_parallelism_threads()
    settings = "; ".join(f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ)
    return f"{runtime.cores()} of {os.cpu_count()} cores, {used} threads in a product" + (settings and f"; {settings}")


def gpu() -> str:
    """The GPUs that TensorFlow sees, or why it sees none."""
    import tensorflow as tf

    if found := tf.config.list_physical_devices("GPU"):
        details = (tf.config.experimental.get_device_details(device) for device in found)
        return ", ".join(detail.get("device_name", "GPU") for detail in details)
    if not tf.test.is_built_with_cuda():
        return "none: this TensorFlow is built without CUDA"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return "none: CUDA_VISIBLE_DEVICES hides them"
    if not any(Path(place).exists() for place in ("/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia")):
        return "none: no NVIDIA driver on this machine"
    return "none, although there is a driver: TensorFlow misses its CUDA libraries; pip install 'lapo-tf[gpu]'"


def data_folder() -> str:
    """Whether data sets can be stored, and how much room there is."""
    import shutil

    from minari.storage.datasets_root_dir import get_dataset_path

    folder = get_dataset_path()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return f"{folder} can be written, {shutil.disk_usage(folder).free / 1e9:,.1f} GB free"


def network() -> str:
    """Whether published data sets can be downloaded."""
    from lapo_tf.data.download import check_connection

    try:
        check_connection()
    except OSError as error:
        return f"{error}; data sets that are here, and this project's own collections, need none"
    return "Minari's remote answers"


def extras() -> str:
    """Which are installed."""
    there = [name for name, packages in EXTRAS.items() if all(map(installed, packages))]
    return f"{', '.join(there) or 'none'}; not installed: {', '.join(name for name in EXTRAS if name not in there)}"


def compiled_loop() -> str:
    """Compile a small agent's training loop by XLA and run it for two seconds."""
    from lapo_tf.training.speed.worker import Job, build_loop

    loop = build_loop(Job(obs_dim=8, act_dim=2, batch_size=64, transitions=1000, agent="bc"))
    begun = time.perf_counter()
    loop.run(1)
    compiled, begun = time.perf_counter() - begun, time.perf_counter()
    while time.perf_counter() < begun + TRIAL_SECONDS:
        loop.run(100)
    speed = (int(loop.step) - 1) / (time.perf_counter() - begun)
    return f"compiled in {compiled:.1f} s, then {speed:,.0f} small steps a second, all finite"


CHECKS: dict[str, Callable[[], str]] = {
    "versions": versions,
    "threads": threads,
    "GPU": gpu,
    "data folder": data_folder,
    "network": network,
    "extras": extras,
    "loop": compiled_loop,
}


def findings() -> Iterator[tuple[str, str, bool]]:
    """Name, result and whether it is in order, of the machine and of each of `CHECKS`."""
    yield "machine", f"{platform.platform()}, Python {platform.python_version()} at {sys.executable}", True
    for name, check in CHECKS.items():
        try:
            yield name, check(), True
        except Exception as error:  # whatever it is, the other checks go on
            yield name, f"FAILED: {first_line(error)}", False


@command
def main() -> None:
    """The command."""
    parse(Args, description=DESCRIPTION)
    runtime.quiet()
    sound = True
    for name, text, well in findings():
        print(f"{name:12} {text}", flush=True)
        sound &= well
    if not sound:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
