"""Inspecting data finds what was planted in it, and nothing in clean data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_episodes import (
    COMPLETE,
    episode,
    needs_shared,
    own_minari_folder,  # noqa: F401 (a fixture)
)

from lapo_tf.data import Episode
from lapo_tf.data.inspect.measure import inspect_dataset
from lapo_tf.data.inspect.page import write_page
from lapo_tf.data.store import write_dataset
from lapo_tf.tasks import TASKS


def suspicious(seed: int = 7) -> list[Episode]:
    """Ten episodes with planted faults."""
    rng = np.random.default_rng(seed)
    episodes = []
    for number in range(10):
        t = np.arange(61)
        observations = np.stack(
            [np.sin(t / 9 + number), np.cos(t / 7 + 2 * number), np.full(61, 3.0), rng.normal(size=61)], axis=1
        )
        rewards = np.zeros(60)
        rewards[50:] = number % 2
        actions = np.clip(rng.normal(0, 1.5, (60, 2)), -1, 1)
        actions[:, 1] = 0.5
        episodes.append(Episode(observations, actions, rewards, False, {"time": t / 10.0}))
    episodes[3].observations[30, 1] += 40  # type: ignore[index]  # a sensor drops out
    episodes[4].observations[20:32] = episodes[4].observations[20]  # type: ignore[index]  # a frozen driver
    episodes[5].infos["time"][12] = 0.0  # type: ignore[index]
    episodes[7] = Episode(
        *(np.array(a) for a in (episodes[1].observations, episodes[1].actions, episodes[1].rewards)), False
    )
    return episodes


def test_inspection_finds_what_was_planted(tmp_path: Path) -> None:
    from gymnasium.spaces import Box

    write_dataset("own/odd-v0", suspicious(), description="", action_space=Box(-1, 1, (2,)))
    found = inspect_dataset("own/odd-v0")
    text = str(found)
    assert found.lengths.tolist() == [60] * 10
    assert found.returns.tolist() == [0, 10] * 5
    assert found.successes is not None
    assert found.successes.mean() == 0.5
    assert found.rewarded == pytest.approx(1 / 12)
    pairs = [np.hstack([e.observations[:60], e.actions]).astype(np.float32) for e in suspicious()]
    rows = [row.tobytes() for pair in pairs for row in pair]
    repeated = len(rows) - len(set(rows))
    assert repeated >= 60  # all of episode 7, and where episode 4 is frozen with equal actions
    raw = np.concatenate([e.actions for e in suspicious()])
    assert found.at_bounds[0] == pytest.approx((np.abs(raw[:, 0]) == 1).mean(), abs=0.01)
    for part in (
        "actions that never change: a1",
        "more than a quarter of a0 lies at a bound",
        "observations that never change: s2",
        "s1 jumps in 2 steps, first in episode 3, step 29",
        "frozen: 1 stretches of 5 steps or more",
        "the longest 11 steps (episode 4, step 20)",
        "time does not go on in 1 step: episode 5, step 11",
        f"{repeated} transitions ({repeated / 600:.1%}) repeat another's",
        "2 episodes are nearly the same as another: 1 and 7",
    ):
        assert part in text
    page, picture = write_page(found, tmp_path / "out")
    written = page.read_text()
    assert written.count("data:image/png;base64,") == 5
    assert "http" not in written  # nothing is fetched
    assert "frozen: 1 stretches" in written
    assert picture.stat().st_size > 50_000


def test_inspection_of_clean_data_finds_nothing() -> None:
    rng = np.random.default_rng(1)
    episodes = [episode(rng, 30, rewards=rng.random(30)) for _ in range(40)]
    write_dataset("own/clean-v0", episodes, description="")
    found = inspect_dataset("own/clean-v0")
    assert found.findings == []
    assert found.successes is None
    assert "nothing suspicious" in str(found)


def test_angles_that_wrap_and_data_without_rewards_are_named() -> None:
    t = np.arange(200)
    angle = (t * 0.1 + np.pi) % (2 * np.pi) - np.pi
    observations = np.stack([angle, np.sin(t / 5)], axis=1)
    write_dataset("own/turn-v0", [Episode(observations, np.sin(t[:199, None]), np.zeros(199), False)], description="")
    text = str(inspect_dataset("own/turn-v0"))
    assert "s0 jumps by about 2 pi in 3 steps" in text
    assert "no step has a reward" in text


@needs_shared
def test_inspection_knows_the_official_kitchen() -> None:
    found = inspect_dataset(str(COMPLETE), known_tasks=TASKS.values())
    assert found.task is not None
    assert found.task.name == "kitchen-complete"
    assert found.successes is not None
    assert found.successes.all()
    assert found.reward_values is not None
    assert set(found.reward_values) == {0, 1, 2, 3, 4}
    assert found.observation_names[22] == "microwave"
    assert found.constant[30:].all()
    assert not any(finding.grave for finding in found.findings)
