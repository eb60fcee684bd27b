"""Which data set a task is trained on, and what the user is told about it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lapo_tf.data import Episode, download
from lapo_tf.data.collectors.base import Collected
from lapo_tf.data.store import write_dataset
from lapo_tf.envs import MIXED_TASKS
from lapo_tf.envs.kitchen import task_goal
from lapo_tf.errors import UserError
from lapo_tf.tasks import Task, load_task

OFFICIAL, OWN = "D4RL/kitchen/mixed-v2", "lapo/kitchen-mixed-v0"


def write(dataset_id: str) -> None:
    observations = np.concatenate([np.zeros(30), task_goal(MIXED_TASKS)])
    episode = Episode(np.tile(observations, (6, 1)), np.zeros((5, 9)), np.ones(5), True)
    write_dataset(dataset_id, [episode], description="made up")


@pytest.fixture
def collections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine without data and without a network; the tasks that were collected on it."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    made: list[str] = []

    def no_network() -> None:
        raise ConnectionError("no connection to the hub")

    def collect(task: Task, **_: object) -> Collected:
        made.append(task.name)
        write(str(task.collected_id))
        return Collected("", 0, 0, 0.0)

    monkeypatch.setattr(download, "check_connection", no_network)
    monkeypatch.setattr(Task, "collect", collect)
    return made


def test_own_collection_without_a_network(collections: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for first in (True, False):
        data = load_task("kitchen-mixed").load_dataset()
        assert (data.summary.id, data.summary.provenance) == (OWN, "collected")
        assert "(collected" in str(data.summary)
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith(
            f"data: {OFFICIAL} cannot be downloaded (ConnectionError: no connection to the hub); using"
        )
        assert OWN in line
        assert ("made now" in line) == first
    assert collections == ["kitchen-mixed"]


def test_official_data_come_first(
    collections: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(OWN)
    monkeypatch.setattr(download, "check_connection", lambda: None)
    monkeypatch.setattr(download.minari, "download_dataset", write)
    for _ in range(2):  # downloaded, then here
        data = load_task("kitchen-mixed").load_dataset()
        assert (data.summary.id, data.summary.provenance) == (OFFICIAL, "official")
    assert load_task("kitchen-mixed").load_dataset(OWN).summary.id == OWN
    assert collections == []
    assert capsys.readouterr().out == ""


def test_only_official_data(collections: list[str]) -> None:
    with pytest.raises(UserError, match="download failed"):
        load_task("kitchen-mixed").load_dataset(data="official")
    with pytest.raises(UserError, match="has no published data set: leave --data official out"):
        load_task("maze2d-umaze").load_dataset(data="official")
    assert collections == []


def test_a_damaged_or_unknown_data_set_is_not_replaced(collections: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(dataset_id: str) -> None:
        raise ValueError("Couldn't find any version for dataset")

    monkeypatch.setattr(download, "check_connection", lambda: None)
    monkeypatch.setattr(download.minari, "download_dataset", absent)
    with pytest.raises(UserError, match="unknown data set"):
        load_task("kitchen-mixed").load_dataset()
    (download.get_dataset_path(OFFICIAL) / "data").mkdir(parents=True)
    with pytest.raises(UserError, match="cannot be read"):
        load_task("kitchen-mixed").load_dataset()
    assert collections == []


@pytest.mark.parametrize(("used", "again"), [(OWN, OWN), (OFFICIAL, OFFICIAL), ("mine.hdf5", None)])
def test_a_resumed_run_keeps_its_data_set(used: str, again: str | None) -> None:
    from lapo_tf.training.trainer import Trainer

    folder = SimpleNamespace(read=lambda: {"data": {"id": used}})
    run = SimpleNamespace(resume=True, folder=folder, task=load_task("kitchen-mixed"))
    assert Trainer._used_before(run) == again  # type: ignore[arg-type]
    run.resume = False
    assert Trainer._used_before(run) is None  # type: ignore[arg-type]
