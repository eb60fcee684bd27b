"""The states of a policy node, without the node."""

from __future__ import annotations

from robot_bridge.guards.decision import Verdict
from robot_bridge.guards.guard import Level
from robot_bridge.node.states import REPEATS, States

WHY = Verdict("stale", Level.STOP, "input is missing")


def machine() -> tuple[States, list[tuple[str, str]]]:
    changes: list[tuple[str, str]] = []
    return States(lambda state, reason: changes.append((state, reason))), changes


def settle(states: States, ticks: int, *, still: bool = True, begin: float = 0.0) -> None:
    for k in range(ticks):
        states.settle(still, begin + 0.02 * k)


def test_a_planned_halt_speaks_until_it_stands_and_has_said_so() -> None:
    states, changes = machine()
    assert (states.state, states.speaks) == ("inactive", False)
    states.enable()
    assert states.speaks
    assert states.halt is None
    states.stop(WHY)
    settle(states, 50, still=False)
    assert (states.state, states.speaks, states.halt) == ("stopping", True, WHY)
    settle(states, REPEATS)
    assert states.state == "stopping"
    settle(states, 1)
    assert (states.state, states.speaks, states.owed) == ("fault", False, 0)
    assert changes == [
        ("active", "enabled"),
        ("stopping", "stale: input is missing"),
        ("fault", "stale: input is missing"),
    ]


def test_what_was_asked_for_is_no_fault() -> None:
    states, _ = machine()
    states.enable()
    states.stop(Verdict("operator", Level.STOP, "disabled"), as_asked=True)
    settle(states, REPEATS + 1)
    assert (states.state, states.reason, states.faults) == ("inactive", "disabled", 0)


def test_the_first_reason_stays() -> None:
    states, _ = machine()
    states.enable()
    states.stop(WHY)
    states.stop(Verdict("operator", Level.STOP, "disabled"), as_asked=True)
    settle(states, REPEATS + 1)
    assert (states.state, states.reason, states.faults) == ("fault", "stale: input is missing", 1)


def test_a_cut_halt_is_silent_and_lasts_as_long_as_what_was_said_before() -> None:
    states, _ = machine()
    states.enable()
    states.stop(WHY, cut_until=1.0)
    assert (states.speaks, states.owed) == (False, REPEATS)
    settle(states, 40)
    assert states.state == "stopping"
    settle(states, 20, begin=0.8)
    assert states.state == "fault"
    states.enable()
    assert (states.cut, states.owed) == (False, 0)


def test_a_planned_halt_can_be_cut() -> None:
    states, _ = machine()
    states.enable()
    states.stop(WHY)
    states.stop(Verdict("node", Level.STOP, "connection lost"), cut_until=0.0)
    assert (states.state, states.speaks, states.owed, states.halt) == ("stopping", False, REPEATS, WHY)


def test_nothing_to_stop_where_nothing_moves() -> None:
    states, changes = machine()
    states.stop(WHY, cut_until=0.0)
    assert (states.state, states.owed, changes) == ("inactive", 0, [])
