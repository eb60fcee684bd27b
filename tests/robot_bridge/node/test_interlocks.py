"""What must allow the robot to move: dead man, external and protective stops, controllers; at enabling and after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from node_bench import DT, Bench, decelerates

from robot_bridge.robot.interlocks import BOOL, JOY, ControllerCheck, DeadMan, Interlock

BUTTON = DeadMan("/joy", 0.2, JOY, button=2)
TRIGGER = DeadMan("/joy", 0.2, JOY, axis=1, below=-0.5)
STOP = Interlock("/external_stop")
SAFETY = Interlock("/safety_mode", "ur_dashboard_msgs/msg/SafetyMode", "mode", allowed=(1, 2), max_age=None)
DOOR = Interlock("/s", "my_msgs/msg/S", "cell.state", ("open",), name="door")
CONTROLLERS = ControllerCheck(("arm_controller",), every=0.5, max_age=2.0)


def hold(bench: Bench, topic: str, message: dict, steps: int) -> None:
    """The same message in every period."""
    for _ in range(steps):
        bench.wire.subscribers[topic](message)
        bench.step()


def goes_on(bench: Bench) -> float:
    """For how long it goes on where nothing more comes than joint states, s; it must stop within five."""
    begin = bench.now
    while bench.node.state == "active" and bench.now - begin < 5.0:
        bench.step()
    return bench.now - begin


def stopped(bench: Bench, why: str) -> None:
    """It comes to a stand within a second, for that reason, and does not go on."""
    bench.step(50)
    decelerates(bench.velocities[-50:])
    assert (bench.node.state, bench.node.reason) == ("fault", why)


def status(bench: Bench) -> dict[str, str]:
    return {v["key"]: v["value"] for v in bench.node.diagnostics_message()["status"][0]["values"]}


# Joystick -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switch", "held", "released"),
    [
        (BUTTON, {"axes": [], "buttons": [0, 0, 1]}, {"axes": [], "buttons": [1, 1, 0]}),
        (TRIGGER, {"axes": [0.0, -1.0], "buttons": []}, {"axes": [-1.0, 0.0], "buttons": []}),
        (DeadMan("/joy", 0.2, JOY, axis=0, above=0.5), {"axes": [0.6]}, {"axes": [0.5]}),
    ],
)
def test_a_joystick_moves_it_while_held_after_a_press_of_its_own(switch: DeadMan, held: dict, released: dict) -> None:
    bench = Bench(dead_man=switch)
    hold(bench, "/joy", held, 5)
    assert bench.node.enable() == (False, "the dead-man switch was held before: let go of it and press it anew")
    hold(bench, "/joy", released, 2)
    assert bench.node.enable() == (False, "the dead-man switch is not held")
    hold(bench, "/joy", held, 2)
    assert bench.node.enable()[0]
    hold(bench, "/joy", held, 30)
    assert bench.node.state == "active"
    assert np.abs(bench.velocities[-1]).min() > 0.3
    bench.wire.subscribers["/joy"](released)
    stopped(bench, "dead_man: the dead-man switch is not held")
    hold(bench, "/joy", held, 2)
    assert bench.node.enable()[0]


def test_a_press_counts_for_one_start() -> None:
    bench = Bench(dead_man=BUTTON)
    held, released = {"buttons": [0, 0, 1]}, {"buttons": [0, 0, 0]}
    hold(bench, "/joy", released, 1)
    hold(bench, "/joy", held, 1)
    assert bench.node.enable()[0]
    bench.node.disable()
    hold(bench, "/joy", held, 40)
    assert "press it anew" in bench.node.enable()[1]
    assert "press it anew" in status(bench)["not allowed by dead man"]


def test_a_silent_joystick_stops_within_its_age() -> None:
    bench = Bench(dead_man=BUTTON)
    hold(bench, "/joy", {"buttons": [0, 0, 0]}, 1)
    hold(bench, "/joy", {"buttons": [0, 0, 1]}, 1)
    assert bench.node.enable()[0]
    hold(bench, "/joy", {"buttons": [0, 0, 1]}, 20)
    assert goes_on(bench) <= 0.2 + 2 * DT
    stopped(bench, "dead_man: the dead-man switch is not held: /joy is silent, or late by its stamps")


def test_a_press_of_before_a_silence_is_no_press() -> None:
    bench = Bench(dead_man=BUTTON)
    hold(bench, "/joy", {"buttons": [0, 0, 0]}, 1)
    hold(bench, "/joy", {"buttons": [0, 0, 1]}, 1)
    bench.step(20)
    hold(bench, "/joy", {"buttons": [0, 0, 1]}, 1)
    assert "press it anew" in bench.node.enable()[1]


def test_a_short_release_between_two_ticks_stops() -> None:
    for switch, topic, held, released in (
        (BUTTON, "/joy", {"buttons": [0, 0, 1]}, {"buttons": [0, 0, 0]}),
        (DeadMan("/dead_man"), "/dead_man", {"data": True}, {"data": False}),
    ):
        bench = Bench(dead_man=switch)
        hold(bench, topic, released, 1)
        hold(bench, topic, held, 2)
        assert bench.node.enable()[0]
        hold(bench, topic, held, 5)
        bench.wire.subscribers[topic](released)
        hold(bench, topic, held, 1)
        assert bench.node.state == "stopping"


def test_messages_that_were_held_up_do_not_count_as_held() -> None:
    """Of one stamp, or of a stamp that is long past: they come of a queue, and the hand may be gone."""

    def joy(held: int, stamp: float) -> dict:
        header = {"stamp": {"sec": int(stamp), "nanosec": int(stamp % 1 * 1e9)}}
        return {"header": header, "buttons": [0, 0, held]}

    def enabled() -> Bench:
        bench = Bench(dead_man=BUTTON)
        for k in range(20):
            bench.wire.subscribers["/joy"](joy(int(k > 3), bench.now))
            bench.step()
        assert bench.node.enable()[0]
        return bench

    bench = enabled()
    last = bench.now - DT
    for _ in range(15):
        bench.wire.subscribers["/joy"](joy(1, last))  # the same again and again
        bench.step()
    assert bench.node.state == "stopping"
    bench = enabled()
    for k in range(15):
        bench.wire.subscribers["/joy"](joy(1, bench.now - min(0.018 * k, 0.5)))  # slower and slower
        bench.step()
    assert bench.node.state == "stopping"


@pytest.mark.parametrize("message", [{}, {"buttons": [1]}, {"buttons": None}, {"buttons": [0, 0, "1"]}, {"header": 5}])
def test_what_is_no_joystick_is_not_held(message: dict) -> None:
    bench = Bench(dead_man=BUTTON)
    hold(bench, "/joy", {"buttons": [0, 0, 0]}, 1)
    hold(bench, "/joy", {"buttons": [0, 0, 1]}, 2)
    bench.wire.subscribers["/joy"](message)
    assert bench.node.enable()[1].startswith("the dead-man switch is not held")


def test_a_trigger_that_says_nothing_sensible_is_not_held() -> None:
    for value in (None, True, "-1", float("nan")):
        bench = Bench(dead_man=TRIGGER)
        hold(bench, "/joy", {"axes": [0.0, 1.0]}, 1)
        hold(bench, "/joy", {"axes": [0.0, value]}, 1)
        assert not bench.node.enable()[0]


def test_after_a_lost_connection_the_switch_must_be_heard_and_pressed_anew() -> None:
    bench = Bench(dead_man=BUTTON)
    hold(bench, "/joy", {"buttons": [0, 0, 0]}, 1)
    hold(bench, "/joy", {"buttons": [0, 0, 1]}, 1)
    bench.wire.connect(False)
    bench.wire.connect(True)
    bench.step()
    assert bench.node.enable() == (False, "the dead-man switch is not held: nothing came on /joy")
    hold(bench, "/joy", {"buttons": [0, 0, 1]}, 1)
    assert "press it anew" in bench.node.enable()[1]


# External stop, protective stop ---------------------------------------------------------------------------------------


def test_an_external_stop_stops_until_it_is_false_and_somebody_enables() -> None:
    bench = Bench(interlocks=(STOP,))
    bench.step()
    unheard = "/external_stop is not known: nothing came on /external_stop"
    assert bench.node.enable() == (False, unheard)
    assert status(bench)["not allowed by /external_stop"] == unheard
    hold(bench, "/external_stop", {"data": False}, 2)
    assert bench.node.enable()[0]
    hold(bench, "/external_stop", {"data": False}, 20)
    bench.wire.subscribers["/external_stop"]({"data": True})
    bench.wire.subscribers["/external_stop"]({"data": False})  # before the next tick
    stopped(bench, "interlock: /external_stop is True")
    sent = bench.sent()
    bench.wire.subscribers["/external_stop"]({"data": True})
    assert bench.node.enable() == (False, "/external_stop is True")
    hold(bench, "/external_stop", {"data": False}, 20)
    assert bench.sent() == sent
    assert bench.node.enable()[0]


def test_a_silent_stop_topic_stops_where_it_is_required() -> None:
    bench = Bench(interlocks=(STOP, Interlock("/fence", required=False)))
    hold(bench, "/external_stop", {"data": False}, 2)
    assert bench.node.enable()[0]
    assert 0.9 < goes_on(bench) < 1.0 + 3 * DT
    stopped(bench, "interlock: /external_stop is not known: /external_stop is silent")


def test_a_stop_that_is_not_required_stays_once_it_was_said() -> None:
    bench = Bench(interlocks=(Interlock("/fence", required=False),))
    bench.step()
    assert bench.node.enable()[0]
    bench.wire.subscribers["/fence"]({"data": True})
    stopped(bench, "interlock: /fence is True")
    bench.step(200)  # silent since
    bench.wire.connect(False)
    bench.wire.connect(True)
    bench.step()
    assert bench.node.enable() == (False, "/fence is True")


def test_a_mode_that_is_told_at_changes_only_holds_until_the_connection_is_lost() -> None:
    bench = Bench(interlocks=(SAFETY,))
    bench.step()
    assert bench.node.enable() == (False, "/safety_mode mode is not known: nothing came on /safety_mode")
    bench.wire.subscribers["/safety_mode"]({"mode": 1})
    bench.step(200)
    assert bench.node.enable()[0]
    bench.step(200)
    assert bench.node.state == "active"
    bench.wire.subscribers["/safety_mode"]({"mode": 3})
    stopped(bench, "interlock: /safety_mode mode is 3")
    bench.wire.subscribers["/safety_mode"]({"mode": 2})
    bench.wire.connect(False)
    bench.wire.connect(True)
    bench.step()
    assert "is not known" in bench.node.enable()[1]


def test_a_latched_topic_is_subscribed_anew_until_it_was_heard() -> None:
    bench = Bench(interlocks=(SAFETY,))
    bench.step(250)  # 5 s
    assert bench.wire.subscribed.count("/safety_mode") == 3
    bench.wire.subscribers["/safety_mode"]({"mode": 1})
    bench.step(250)
    assert bench.wire.subscribed.count("/safety_mode") == 3


@pytest.mark.parametrize(
    ("interlock", "message", "objection"),
    [
        (STOP, {"data": 1}, "/external_stop cannot be read: it is '1'"),
        (STOP, {"data": None}, "/external_stop cannot be read: it is 'None'"),
        (STOP, {}, "/external_stop cannot be read: there is no 'data' of data"),
        (SAFETY, {"mode": True}, "/safety_mode mode cannot be read: it is 'True'"),
        (SAFETY, {"mode": 7}, "/safety_mode mode is 7"),
        (SAFETY, {"mode": 2.0}, ""),
        (DOOR, {"cell": {"state": "open"}}, "door is open"),
        (DOOR, {"cell": {"state": "shut"}}, ""),
        (DOOR, {"cell": 1}, "door cannot be read: there is no 'state' of cell.state"),
        (Interlock("/s", "my_msgs/msg/S", "code", (0, 9)), {"code": 0}, "/s code is 0"),
        (Interlock("/s", "my_msgs/msg/S", "code", (0, 9)), {"code": False}, "/s code cannot be read: it is 'False'"),
    ],
)
def test_fields_are_compared_with_values_of_their_kind(interlock: Interlock, message: dict, objection: str) -> None:
    bench = Bench(interlocks=(interlock,))
    bench.step()
    bench.wire.subscribers[interlock.topic](message)
    bench.step()
    done, why = bench.node.enable()
    assert done is (objection == "")
    assert why.startswith(objection)


# Controllers ----------------------------------------------------------------------------------------------------------


def answer(bench: Bench, **states: str) -> None:
    """What the controller manager says to the latest question."""
    controllers: list[dict[str, Any]] = [{"name": name, "state": state} for name, state in states.items()]
    bench.wire.calls[-1][1]({"controller": controllers}, None)


def test_controllers_must_be_active_and_are_watched() -> None:
    bench = Bench(controllers=CONTROLLERS)
    bench.step()
    assert bench.wire.calls[0][0] == "/controller_manager/list_controllers"
    assert bench.node.enable() == (False, "/controller_manager/list_controllers does not answer")
    answer(bench, other="active")
    assert bench.node.enable() == (False, "controller arm_controller is not loaded")
    bench.step(30)
    answer(bench, arm_controller="inactive")
    assert bench.node.enable() == (False, "controller arm_controller is inactive")
    bench.step(30)
    answer(bench, arm_controller="active")
    assert bench.node.enable()[0]
    bench.step(30)
    answer(bench, arm_controller="active")
    bench.step(30)
    assert bench.node.state == "active"
    answer(bench, arm_controller="inactive")
    stopped(bench, "interlock: controller arm_controller is inactive")
    asked = len(bench.wire.calls)
    bench.step(100)
    assert len(bench.wire.calls) == asked  # one question at a time


def test_a_controller_manager_that_is_silent_stops_and_is_quoted() -> None:
    bench = Bench(controllers=CONTROLLERS)
    bench.step()
    answer(bench, arm_controller="active")
    assert bench.node.enable()[0]
    bench.step(60)
    bench.wire.calls[-1][1](None, "timed out")
    assert bench.node.state == "active"
    bench.step(50)
    assert bench.node.state in ("stopping", "fault")
    stopped(bench, "interlock: /controller_manager/list_controllers does not answer: timed out")


def test_an_answer_of_before_a_lost_connection_means_nothing() -> None:
    bench = Bench(controllers=CONTROLLERS)
    bench.step()
    bench.wire.connect(False)
    bench.wire.connect(True)
    answer(bench, arm_controller="active")
    assert "does not answer" in bench.node.enable()[1]
    bench.step()
    answer(bench, arm_controller="active")
    assert bench.node.enable()[0]


def test_a_manager_that_answers_nonsense_is_no_manager() -> None:
    bench = Bench(controllers=CONTROLLERS)
    bench.step()
    bench.wire.calls[-1][1]({"controller": [{"state": "active"}]}, None)
    assert bench.node.enable()[1].startswith("/controller_manager/list_controllers does not answer: no list")


def test_what_cannot_be_watched_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(controllers=CONTROLLERS)
    bench.step()
    answer(bench, arm_controller="active")
    assert bench.node.enable()[0]
    bench.step(10)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("context is shut down")

    monkeypatch.setattr(bench.wire, "call_service", broken)
    bench.step(20)
    stopped(bench, "interlock: controllers cannot be watched: RuntimeError: context is shut down")


def test_all_of_them_together_are_told_one_by_one() -> None:
    bench = Bench(dead_man=DeadMan("/dead_man", type=BOOL), interlocks=(STOP, SAFETY), controllers=CONTROLLERS)
    bench.step()
    objecting = [key for key in status(bench) if key.startswith("not allowed by ")]
    assert [key.removeprefix("not allowed by ") for key in objecting] == [
        "dead man",
        "/external_stop",
        "/safety_mode mode",
        "controllers",
    ]
