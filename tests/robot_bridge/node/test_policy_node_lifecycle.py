"""The policy node as a managed node."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")
from node_bench import Bench, decelerates

from robot_bridge.interfaces import from_dict, get_interface


def ask(bench: Bench, service: str, request: dict | None = None) -> dict:
    answers: list[dict] = []
    bench.wire.services[f"/policy/{service}"](request or {}, lambda values, error=None: answers.append(values))
    return answers[0]


def test_a_managed_node_in_lifecycle_terms() -> None:
    bench = Bench()
    bench.step()

    def state() -> str:
        return ask(bench, "get_state")["current_state"]["label"]

    def change(**transition: Any) -> bool:
        bench.wire.connected = True
        return ask(bench, "change_state", {"transition": transition})["success"]

    def possible() -> list[str]:
        ways = ask(bench, "get_available_transitions")["available_transitions"]
        return [way["transition"]["label"] for way in ways]

    assert (state(), possible()) == ("inactive", ["activate", "shutdown"])
    assert not change(label="deactivate")
    assert not change(label="configure")
    assert change(id=3, label="")
    assert (state(), possible()) == ("active", ["deactivate", "shutdown"])
    bench.step(10)
    assert change(label="deactivate")
    assert (state(), possible()) == ("deactivating", [])
    bench.step(40)
    decelerates(bench.velocities[-40:])
    assert state() == "inactive"
    assert change(label="activate")
    bench.step(10)
    bench.node.stop()
    bench.step(40)
    assert (bench.node.state, state()) == ("fault", "inactive")
    bench.sensor = lambda message: None
    bench.step(20)
    assert not change(label="activate")  # for the same reasons as `enable`
    assert "change_state: a/position is" in bench.said[-1]
    assert change(label="shutdown")
    assert state() == "finalized"
    assert bench.node.ending
    events = [message for topic, message in bench.wire.published if topic == "/policy/transition_event"]
    steps = [(e["transition"]["label"], e["start_state"]["label"], e["goal_state"]["label"]) for e in events]
    assert steps[:3] == [
        ("activate", "inactive", "active"),
        ("deactivate", "active", "deactivating"),
        ("deactivate", "deactivating", "inactive"),
    ]
    assert steps[-1] == ("shutdown", "inactive", "finalized")
    moving = Bench().moving()
    assert ask(moving, "change_state", {"transition": {"label": "shutdown"}})["success"]
    assert ask(moving, "get_state")["current_state"]["label"] == "shuttingdown"
    moving.step(40)
    events = [message for topic, message in moving.wire.published if topic == "/policy/transition_event"]
    steps = [(e["transition"]["label"], e["start_state"]["label"], e["goal_state"]["label"]) for e in events]
    assert steps[1:] == [("shutdown", "active", "shuttingdown"), ("shutdown", "shuttingdown", "finalized")]
    assert len(ask(bench, "get_transition_graph")["available_transitions"]) == 4
    assert len(ask(bench, "get_available_states")["available_states"]) == 11


def test_the_node_speaks_lifecycle_msgs() -> None:
    """Every answer and event fits its type."""
    bench = Bench()
    bench.enable()
    for service, kind in (
        ("get_state", "GetState"),
        ("get_available_states", "GetAvailableStates"),
        ("get_available_transitions", "GetAvailableTransitions"),
        ("get_transition_graph", "GetAvailableTransitions"),
        ("change_state", "ChangeState"),
    ):
        from_dict(get_interface(f"lifecycle_msgs/srv/{kind}").Response, ask(bench, service))
    event = next(message for topic, message in bench.wire.published if topic == "/policy/transition_event")
    from_dict(get_interface("lifecycle_msgs/msg/TransitionEvent"), event)
