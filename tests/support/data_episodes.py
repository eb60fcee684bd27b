"""Episodes to write and read back, in a Minari folder of the test's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import SHARED

from lapo_tf.data import Episode, open_recording

COMPLETE = SHARED / "data" / "mini_kitchen_microwave_kettle_light_slider-v0.hdf5"


needs_shared = pytest.mark.skipif(not COMPLETE.exists(), reason="needs ../shared/data, which is not in the project")


@pytest.fixture(autouse=True, name="minari_folder")
def own_minari_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def episode(rng: np.random.Generator, length: int, **changes: Any) -> Episode:
    values: dict[str, Any] = {
        "observations": rng.normal(size=(length + 1, 4)),
        "actions": rng.uniform(-1, 1, (length, 2)),
        "rewards": rng.normal(size=length),
        "terminated": False,
    }
    return Episode(**(values | changes))


def stored(dataset_id: str) -> list[Episode]:
    with open_recording(dataset_id, infos=True) as recording:
        return list(recording.episodes)


def command(*arguments: str, cwd: Path | None = None, **options: Any) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "lapo_tf.data", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        **options,
    )
