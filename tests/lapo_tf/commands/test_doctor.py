"""What the doctor finds on machines that lack something; nothing of it stops the other checks."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from lapo_tf import doctor, runtime


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch) -> None:
    """A data folder of its own, no network, and TensorFlow's settings, which are for a whole process, left alone."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(runtime, "configure", lambda *_: None)
    monkeypatch.setattr(runtime, "quiet", lambda: None)
    monkeypatch.setattr(doctor, "TRIAL_SECONDS", 0.1)
    monkeypatch.setattr(sys, "argv", ["doctor"])


def test_a_sound_machine_without_network(capsys, tmp_path):
    doctor.main()
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.replace("data folder", "folder").splitlines())
    assert list(lines) == ["machine", "versions", "threads", "GPU", "folder", "network", "extras", "loop"]
    assert f"tensorflow {importlib.metadata.version('tensorflow')}" in lines["versions"]
    assert lines["threads"].startswith(f"{runtime.cores()} of ")
    assert lines["folder"].startswith(f"{tmp_path / 'minari'} can be written")
    assert "no connection to http://127.0.0.1:9" in lines["network"]
    assert lines["loop"].startswith("compiled in ")


def test_what_does_not_work_is_told_and_counts(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "file" / "minari"))
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("ray", "mujoco"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor, "version", version)
    with pytest.raises(SystemExit) as end:
        doctor.main()
    assert end.value.code == 1
    out = capsys.readouterr().out
    assert "data folder  FAILED: NotADirectoryError" in out
    assert "versions     FAILED: RuntimeError: mujoco not installed" in out
    assert "sweep" in out.split("not installed:")[-1]
    assert "loop         compiled in" in out


def test_why_there_is_no_gpu(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: False)
    assert "built without CUDA" in doctor.gpu()
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "CUDA_VISIBLE_DEVICES hides them" in doctor.gpu()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(doctor.Path, "exists", lambda self: False)
    assert "no NVIDIA driver" in doctor.gpu()
    monkeypatch.setattr(doctor.Path, "exists", lambda self: True)
    assert "pip install 'lapo-tf[gpu]'" in doctor.gpu()
