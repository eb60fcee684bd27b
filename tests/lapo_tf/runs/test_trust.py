"""How far rankings are trusted, by hand; what is said agrees with what was measured."""

from __future__ import annotations

import numpy as np
import pytest
from places import ROOT

from lapo_tf.runs.statistics import rank_correlation
from lapo_tf.runs.trust import METHODS, WITH_CRITICS, describe_trust, read_trust, trust, verdicts


def test_rank_correlation() -> None:
    assert rank_correlation(np.array([1.0, 5.0, 9.0]), np.array([-3.0, 0.0, 100.0])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 5.0, 9.0, 10.0]), np.array([4.0, 3.0, 1.0, 2.0])) == pytest.approx(-0.8)
    # with ties: ranks 1.5 1.5 3 and 1 2 3
    assert rank_correlation(np.array([2.0, 2.0, 7.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(0.75**0.5)
    assert np.isnan(rank_correlation(np.zeros(3), np.arange(3.0)))


def test_regret_is_what_the_first_loses() -> None:
    scores = np.array([10.0, 50.0, 30.0, 90.0])
    runs = np.array(["a", "a", "b", "b"])
    found = trust(np.array([0.1, 0.4, 0.2, np.nan]), scores, runs, -1)
    assert (found.checkpoints, found.correlation) == (3, pytest.approx(-1))
    assert found.regret == 40.0  # the least error has 10, the best of those with a number 50
    assert found.random == pytest.approx(20)
    other = trust(np.array([0.1, 0.4, 0.2, 0.3]), scores, runs, 1)
    assert (other.regret, other.within) == (40.0, pytest.approx(1))  # in both runs the right order


def test_what_is_said_follows_the_numbers() -> None:
    def task(correlation: float, regret: float) -> dict:
        numbers = {"checkpoints": 9, "correlation": correlation, "regret": regret, "random": 20.0}
        weak = numbers | {"correlation": 0.1}
        others = dict.fromkeys(METHODS, weak) | {"td_error": weak | {"correlation": 0.7}}
        others |= {"action_error": weak | {"correlation": -0.5}}
        return {"kind": "made up", **others, "fqe": numbers, WITH_CRITICS: numbers}

    said = verdicts({"a": task(0.8, 5.0), "b": task(0.4, 5.0), "c": task(0.1, 5.0), "d": task(0.8, 25.0)})
    assert [line.split("): ")[1] for line in said] == [
        "FQE held; pointed the wrong way: action error.",
        "FQE helped a little; better there: TD error; pointed the wrong way: action error.",
        "FQE misled; better there: TD error; pointed the wrong way: action error.",
        "FQE misled; pointed the wrong way: action error.",
    ]


def test_the_page_and_the_command_say_what_was_measured() -> None:
    import trust as tool

    tasks = tool.read(ROOT / "results" / "trust")
    measured = read_trust()
    assert tool.trusts(tasks) | {"date": measured["date"]} == measured
    page = (ROOT / "docs" / "select.md").read_text()
    assert tool.table(measured) in page
    assert sum(len(rows) for rows in tasks.values()) >= 40
    for line in verdicts(measured["tasks"]):
        assert line in "\n".join(describe_trust(measured))
        assert line in page
