"""Where training episodes began, as a bundle says it: a pose that was one, and the spread of all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from robot_fakes import arm_policy

from robot_bridge.errors import UserError
from robot_bridge.robot.description import CHECKSUM, Description, StartEntry
from robot_bridge.robot.starts import start_entries

NAMES = ["a/position", "b/position", "a/velocity", "cube_x/position"]
UNITS = ["rad", "rad", "rad/s", "m"]


def test_the_pose_is_that_of_one_episode_and_the_spread_leaves_out_the_outermost() -> None:
    """Of two ways to begin, left and right, the medians are neither."""
    rng = np.random.default_rng(0)
    left, right = np.array([-1.0, 0.5, 0.0, 0.2]), np.array([1.0, 0.5, 0.0, 0.3])
    first = np.concatenate([left + 0.01 * rng.normal(size=(50, 4)), right + 0.01 * rng.normal(size=(51, 4))])
    first[0] = [9.0, -9.0, 0.0, 0.0]  # somebody began elsewhere
    a, b = start_entries(first, NAMES, UNITS, {"a", "b"})
    assert (a.joint, a.unit, b.joint) == ("a", "rad", "b")
    assert (np.abs(first[:, :2] - [a.pose, b.pose]).max(axis=1) == 0.0).sum() == 1
    assert min(abs(a.pose - 1.0), abs(a.pose + 1.0)) < 0.05
    ordered = np.sort(first[:, 0])
    assert ordered[4] <= a.low <= ordered[6]
    assert ordered[-7] <= a.high <= ordered[-5]
    assert b.low > 0.4


def test_few_episodes_have_a_pose_within_their_spread() -> None:
    first = np.array([[0.0, 1.0, 0.0, 0.0], [1.0, 3.0, 0.0, 0.0]])
    for entry in start_entries(first, NAMES, UNITS, {"a", "b"}):
        assert entry.low <= entry.pose <= entry.high
    (one,) = start_entries(first[:1], NAMES, UNITS, {"a"})
    assert (one.low, one.pose, one.high) == (0.0, 0.0, 0.0)
    assert start_entries(first, NAMES, UNITS, {"z"}) == ()


def test_a_bundle_keeps_it_and_older_ones_have_none(tmp_path: Path) -> None:
    start = (StartEntry("a", "rad", 0.1, 0.0, 0.2), StartEntry("b", "rad", -0.1, -0.2, 0.0))
    described = replace(arm_policy().description, start=start)
    (tmp_path / "policy.json").write_text(described.to_json())
    assert Description.read(tmp_path).start == start
    values = json.loads(described.to_json())
    del values["start"], values[CHECKSUM]
    (tmp_path / "policy.json").write_text(json.dumps(values))
    assert Description.read(tmp_path).start == ()


@pytest.mark.parametrize(
    ("change", "message"), [({"low": 0.15}, "expected low <= pose <= high"), ({"joint": "b"}, "'b' is named twice")]
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    start = (StartEntry("a", "rad", 0.1, 0.0, 0.2), StartEntry("b", "rad", -0.1, -0.2, 0.0))
    values = json.loads(replace(arm_policy().description, start=start).to_json())
    values["start"][0].update(change)
    del values[CHECKSUM]
    (tmp_path / "policy.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=message):
        Description.read(tmp_path)
