"""Two processes that make the same data set at the same time, as two first trainings on a machine do: both succeed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import minari
import pytest

from lapo_tf.errors import UserError
from lapo_tf.tasks import load_task

CODE = """
import sys
from lapo_tf.tasks import load_task
task = load_task("toy-navigation")
print("ready", flush=True)
sys.stdin.readline()
print(len(task.load_dataset(progress=False)), flush=True)
"""


def test_two_first_collections_at_once(tmp_path):
    environment = os.environ | {"MINARI_DATASETS_PATH": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", CODE], env=environment, **pipes) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.splitlines()[-1] == "1000"


@pytest.mark.parametrize("meanwhile", [True, False])
def test_a_collection_that_came_to_be_meanwhile(tmp_path, monkeypatch, meanwhile):
    """It is success; one that fails otherwise is told."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    task = load_task("toy-navigation")
    collect = type(task).collect

    def overtaken(self, **options) -> None:
        if meanwhile:
            collect(self, **options)  # the other process
        raise UserError("data set 'lapo/toy-navigation-v0' exists")

    monkeypatch.setattr(type(task), "collect", overtaken)
    if meanwhile:
        assert len(task.load_dataset(progress=False)) == 1000
    else:
        with pytest.raises(UserError, match="exists"):
            task.load_dataset(progress=False)


def test_a_relative_data_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", "data here")
    load_task("toy-navigation").collect(progress=False)
    assert list(minari.list_local_datasets()) == ["lapo/toy-navigation-v0"]
    assert Path("data here", "lapo", "toy-navigation-v0").is_dir()
