"""Machines unlike the developers', and outputs that are no terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from places import SUPPORT

from lapo_tf import progress, runtime

TRAIN = """
import probe
from pathlib import Path
from lapo_tf.training.trainer import Trainer
runtime.configure("graph")
print(Trainer(probe.config(Path(sys.argv[1]) / "run", steps=2), dataset=probe.dataset(), log=probe.quiet).run().steps)
"""


def start(before: str, folder: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process in which `before` happens before a training."""
    code = f"import os, sys\n{before}\nfrom lapo_tf import runtime\n{TRAIN}"
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])}
        | environment,
    )


def test_neither_macos_nor_windows_has_sched_getaffinity(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert runtime.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 4, raising=False)
    assert runtime.cores() == 4
    monkeypatch.delattr(os, "process_cpu_count")
    assert runtime.cores() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert runtime.cores() == 1


def test_a_training_on_a_machine_without_linux_calls(tmp_path):
    missing = ("sched_getaffinity", "sched_setaffinity")
    done = start("\n".join(f"del os.{name}" for name in missing), tmp_path / "höhe 1")
    assert done.stdout == "2\n", done.stderr


def test_a_gpu_after_tensorflow_ran(tmp_path):
    """A pretended one, which TensorFlow itself refuses to change once it runs."""
    before = """
import tensorflow as tf
from tensorflow.python.eager import context
tf.constant(1.0) + 1
device = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
context.context()._physical_devices.append(device)
real = tf.config.list_physical_devices
tf.config.list_physical_devices = lambda kind=None: [device] if kind == "GPU" else real(kind)
"""
    done = start(before, tmp_path)
    assert done.stdout == "2\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_fork_after_tensorflow_ran_is_told(tmp_path):
    """It would wait for ever."""
    code = """
import os, sys
import tensorflow as tf
from lapo_tf import runtime
tf.constant(1.0) + 1
if os.fork() == 0:
    try:
        runtime.configure("xla")
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "forked from one in which TensorFlow ran" in done.stdout
    assert "get_context('spawn')" in done.stdout


def test_keras_runs_on_tensorflow(tmp_path):
    done = start("", tmp_path, KERAS_BACKEND="jax")
    assert done.stdout == "2\n", done.stderr
    assert "lapo_tf: Keras runs on TensorFlow here, not on jax (KERAS_BACKEND)" in done.stderr


# Progress -------------------------------------------------------------------------------------------------------------


def test_progress_in_a_log_is_a_line_every_half_minute(monkeypatch):
    now, out = [0.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", out)
    with progress.progress_bar(total=1000, initial=100, desc="maze", unit="step") as bar:
        for _ in range(90):
            now[0] += 1.0
            bar.update(10)
            bar.set_postfix_str("score 5.0")
    assert bar.n == 1000
    text = out.getvalue()
    assert "\r" not in text
    assert text.splitlines() == [
        "maze: 400/1000 [00:30<01:00, 10.00step/s, score 5.0]",
        "maze: 700/1000 [01:00<00:30, 10.00step/s, score 5.0]",
        "maze: 1000/1000 [01:30<00:00, 10.00step/s, score 5.0]",
    ]


def test_progress_in_a_terminal_is_a_bar(monkeypatch):
    out = io.StringIO()
    out.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", out)
    with progress.progress_bar(total=10) as bar:
        bar.update(10)
    assert "\r" in out.getvalue()
    with progress.progress_bar(total=10, disable=True) as bar:
        bar.update(10)
