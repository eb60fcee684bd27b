"""Kitchen data sets: what is in them, and the processes that make them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import minari
import numpy as np
import pytest

from lapo_tf.data import load_dataset
from lapo_tf.data.collectors import kitchen
from lapo_tf.data.collectors.kitchen import collect_kitchen, run_episode
from lapo_tf.envs import COMPLETE_TASKS, MIXED_TASKS
from lapo_tf.envs.kitchen import ELEMENT_GOALS, ELEMENT_INDICES, KitchenEnv
from lapo_tf.errors import UserError

FAKE = """
import json, os, sys, time
from pathlib import Path
import numpy as np
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
while line := os.read(0, 8):
    number = int(line)
    {trouble}
    readings = np.full((4, 30), number + 0.5 * seed, np.float32)
    path = folder / f"{{number:06d}}.npz"
    np.savez(path, elements=json.dumps(["kettle"] * 4), readings=readings, actions=np.zeros((3, 9), np.float32))
    print(number, flush=True)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where Minari keeps its data; `lapo/kitchen-mixed-v0`, two episodes, is there."""
    folder = tmp_path_factory.mktemp("minari")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        done = collect_kitchen("mixed", 2, processes=2, progress=False)
        assert (done.dataset_id, done.episodes) == ("lapo/kitchen-mixed-v0", 2)
        assert done.note.splitlines()[0].split() == ["element", "done", "of"]
        yield folder


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that write made-up episodes, of 3 steps, at once."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    monkeypatch.setattr(kitchen, "_CHILD", FAKE.format(trouble=""))


def goal_of(elements: tuple[str, ...]) -> np.ndarray:
    goal = np.zeros(30)
    for element in elements:
        goal[ELEMENT_INDICES[element]] = ELEMENT_GOALS[element]
    return goal


def rule(reading: np.ndarray, elements: tuple[str, ...]) -> int:
    """D4RL's, spelt out."""
    count = 0
    for element in elements:
        pairs = zip(ELEMENT_INDICES[element], ELEMENT_GOALS[element], strict=True)
        count += sum((float(reading[i]) - g) ** 2 for i, g in pairs) < 0.3**2
    return count


def test_episodes_are_in_d4rl_s_form(root: Path) -> None:
    dataset = minari.load_dataset("lapo/kitchen-mixed-v0")
    assert dataset.recover_environment().spec.id == "lapo/KitchenMixed-v0"
    plans = dataset.storage.metadata["lapo"]["elements"]
    for plan, episode in zip(plans, dataset, strict=True):
        steps = len(episode.rewards)
        assert 150 < steps <= 290
        assert episode.observations.shape == (steps + 1, 60)
        assert np.abs(episode.actions).max() <= 1
        assert episode.terminations.tolist() == [False] * (steps - 1) + [True]
        np.testing.assert_allclose(episode.observations[:, 30:] - goal_of(MIXED_TASKS), 0, atol=1e-6)
        assert episode.rewards.tolist() == [rule(o, MIXED_TASKS) for o in episode.observations[:-1]]
        wanted = len(set(plan.split(", ")) & set(MIXED_TASKS))
        assert 0 < episode.rewards.max() <= wanted
        still = episode.observations[:30, 9:11]  # a burner that nobody touches: what is left is D4RL's sensor noise
        assert np.ptp(still) == pytest.approx(0.001, rel=0.3)
    assert load_dataset("lapo/kitchen-mixed-v0").summary.provenance == "collected"


def test_an_episode_is_a_matter_of_seed_and_number(root: Path) -> None:
    recorded = run_episode(KitchenEnv(tuple(ELEMENT_GOALS)), 0, 1)  # in another process than the data set's
    episode = list(minari.load_dataset("lapo/kitchen-mixed-v0"))[1]
    np.testing.assert_array_equal(episode.observations[:, :30], recorded.readings)
    np.testing.assert_array_equal(episode.actions, recorded.actions)


def test_other_task_needs_no_simulation(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kitchen.subprocess, "Popen", lambda *_, **__: pytest.fail("simulates again"))
    collect_kitchen("complete", 2, progress=False)
    mixed, complete = (list(minari.load_dataset(f"lapo/kitchen-{kind}-v0")) for kind in ("mixed", "complete"))
    for a, b in zip(mixed, complete, strict=True):
        np.testing.assert_array_equal(a.observations[:, :30], b.observations[:, :30])
        np.testing.assert_allclose(b.observations[0, 30:], goal_of(COMPLETE_TASKS), atol=1e-6)
        assert b.rewards.tolist() == [rule(o, COMPLETE_TASKS) for o in b.observations[:-1]]


def test_episodes_are_in_order_and_only_new_ones_are_made(fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    collect_kitchen("mixed", 5, processes=3, progress=False)
    monkeypatch.setattr(kitchen, "_CHILD", FAKE.format(trouble="assert number >= 5, 'made before'"))
    collect_kitchen("partial", 9, processes=2, progress=False)
    for kind, count in (("mixed", 5), ("partial", 9)):
        first = [episode.observations[0, 0] for episode in minari.load_dataset(f"lapo/kitchen-{kind}-v0")]
        assert first == list(range(count))


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("number < 3 or (print('error OSError: disk full', flush=True), sys.exit(1))", "OSError: disk full; 3 of 6"),
        ("number < 3 or sys.exit('no such module')", "no such module; 3 of 6"),
        ("number < 3 or os._exit(9)", "without a word; 3 of 6"),
    ],
)
def test_failing_workers(fake: None, trouble: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = kitchen._CHILD
    monkeypatch.setattr(kitchen, "_CHILD", FAKE.format(trouble=trouble))
    with pytest.raises(UserError, match=message):
        collect_kitchen("mixed", 6, processes=1, progress=False)
    assert not list(minari.list_local_datasets())
    monkeypatch.setattr(kitchen, "_CHILD", healthy)
    assert collect_kitchen("mixed", 6, processes=2, progress=False).episodes == 6


def test_ctrl_c_keeps_what_is_done(
    fake: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    healthy = kitchen._CHILD
    # Again and again: a signal that comes between Python's check for it and a read does not end that read.
    stop = f"while number >= 2: os.kill({os.getpid()}, {int(signal.SIGINT)}); time.sleep(5)"
    monkeypatch.setattr(kitchen, "_CHILD", FAKE.format(trouble=stop))
    with pytest.raises(KeyboardInterrupt):
        collect_kitchen("mixed", 6, processes=1, progress=False)
    assert "2 of 6 episodes are kept: the same command goes on from there" in capsys.readouterr().err
    assert not list(minari.list_local_datasets())
    monkeypatch.setattr(kitchen, "_CHILD", healthy)
    assert collect_kitchen("mixed", 6, processes=1, progress=False).episodes == 6


def test_damaged_episode_is_named(fake: None) -> None:
    collect_kitchen("mixed", 3, processes=1, progress=False)
    path = kitchen.cache_folder(0) / "000001.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"000001.npz cannot be read .* delete it"):
        collect_kitchen("complete", 3, processes=1, progress=False)
    assert sorted(minari.list_local_datasets()) == ["lapo/kitchen-mixed-v0"]
