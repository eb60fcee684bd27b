"""The cell around a simulated arm, over real sockets: what stops the node, and what it takes to go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from robot_fakes import arm_policy, arm_robot

from robot_bridge.node import loop
from robot_bridge.node.policy_node import PolicyNode
from robot_bridge.robot.description import StartEntry
from robot_bridge.robot.interlocks import JOY, ControllerCheck, DeadMan, Interlock, Start
from robot_bridge.robot.robot import Input, Output
from robot_bridge.server import RosbridgeServer
from robot_bridge.simulation.bench_arm import IdealArm
from robot_bridge.simulation.cell import told
from robot_bridge.simulation.simulation import Simulation
from robot_bridge.transport import Message, RosbridgeTransport

SWITCH = ("/controller_manager/switch_controller", "controller_manager_msgs/srv/SwitchController")
POSE = 0.3


def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15.0
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


class Site:
    """Server, arm, node and somebody outside."""

    def __init__(self) -> None:
        self.server = RosbridgeServer(port=0).start()
        self.robot = arm_robot(
            inputs=(Input("/joint_states", max_age=3.0, check_stamps=False),),
            outputs=(Output("trajectory", "/arm_controller/joint_trajectory", ("a", "b"), 0.2),),
            max_lead=0.5,
            dead_man=DeadMan("/joy", 3.0, JOY, axis=2, below=-0.5),
            interlocks=(
                Interlock("/external_stop", max_age=5.0),
                Interlock(
                    "/safety_mode", "ur_dashboard_msgs/msg/SafetyMode", "mode", None, (1, 2), None, name="safety"
                ),
            ),
            controllers=ControllerCheck(("arm_controller",), every=0.1, max_age=5.0),
            start=Start(speed=0.5),
        )
        start = tuple(StartEntry(joint, "rad", POSE, POSE - 0.05, POSE + 0.05) for joint in "ab")
        self.arm = IdealArm(self.robot)
        transports = [RosbridgeTransport(self.server.url) for _ in range(3)]
        self.transports, self.outside = transports, transports[2]
        silent: Any = {"say": lambda line: None}
        self.simulation = Simulation(transports[0], self.arm, self.robot, hold_dead_man=True, **silent)
        self.node = PolicyNode(transports[1], arm_policy(start=start), self.robot, **silent)
        self.simulation.open()
        self.node.open()
        self.outside.advertise("/sim/interlock", "std_msgs/msg/String")
        for transport in transports:
            transport.start()
        self.threads = [threading.Thread(target=run) for run in (self.simulation.run, lambda: loop.run(self.node))]
        for thread in self.threads:
            thread.start()

    def close(self) -> None:
        self.node.shut_down()
        self.threads[1].join()
        self.node.close()
        self.simulation.stop()
        self.threads[0].join()
        self.simulation.close()
        for transport in self.transports:
            transport.close()
        self.server.stop()

    def enable(self) -> None:
        """As soon as everything allows it."""
        until(lambda: self.node.enable()[0], self.node.enable)

    def stops(self, reason: str) -> None:
        until(lambda: self.node.state == "fault", lambda: (self.node.state, self.node.reason))
        assert self.node.reason == reason

    def switch(self, **controllers: list[str]) -> Message:
        answers: list[Any] = []
        self.outside.call_service(*SWITCH, dict(controllers), lambda values, error: answers.append(values), 5.0)
        until(lambda: bool(answers), lambda: "no answer")
        return answers[0]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(loop, "STALLED", 10**6)  # the tests' machine may be busy
    site = Site()
    yield site
    site.close()


def test_what_the_cell_does_not_allow_stops_until_it_does_and_somebody_enables(site: Site) -> None:
    site.enable()
    until(lambda: bool(np.abs(site.arm.position).min() > 0.05), lambda: site.node.reason)
    site.outside.publish("/sim/interlock", {"data": "safety"})
    site.stops("interlock: safety is 3")
    until(lambda: "safety is 3" in site.node.enable()[1], site.node.enable)
    site.outside.publish("/sim/interlock", {"data": ""})
    site.enable()
    assert site.switch(deactivate_controllers=["arm_controller"]) == {"ok": True}
    site.stops("interlock: controller arm_controller is inactive")
    assert site.switch(activate_controllers=["gripper"]) == {"ok": False}
    until(lambda: site.node.enable()[1] == "controller arm_controller is inactive", site.node.enable)
    site.switch(activate_controllers=["arm_controller"])
    site.enable()
    site.outside.publish("/sim/interlock", {"data": "/external_stop"})
    site.stops("interlock: /external_stop is True")


def test_the_way_to_the_start_pose_over_a_bridge(site: Site) -> None:
    answers: list[Any] = []

    def call() -> bool:
        got: list[Any] = []
        site.outside.call_service(
            "/policy/go_to_start", "std_srvs/srv/Trigger", {}, lambda values, error: got.append(values), 5.0
        )
        until(lambda: bool(got), lambda: "no answer")
        answers.append(got[0])
        return bool(got[0]["success"])

    until(call, lambda: answers[-1:])
    assert answers[-1]["message"] == "going to the start pose"
    until(lambda: site.node.state == "inactive", lambda: (site.node.state, site.node.reason, site.arm.position))
    assert site.node.reason == "at the start pose"
    np.testing.assert_allclose(site.arm.position, POSE, atol=0.01)
    site.enable()  # with a press of its own


def test_an_inactive_controller_takes_no_commands(site: Site) -> None:
    site.switch(deactivate_controllers=["arm_controller"])
    message = {
        "joint_names": ["a", "b"],
        "points": [{"positions": [0.5, 0.5], "time_from_start": {"sec": 0, "nanosec": 10**8}}],
    }
    site.outside.advertise("/arm_controller/joint_trajectory", "trajectory_msgs/msg/JointTrajectory")
    site.outside.publish("/arm_controller/joint_trajectory", message)
    until(lambda: site.simulation.counters["refused.inactive"] == 1, site.simulation.counters.snapshot)
    assert not site.arm.position.any()


@pytest.mark.parametrize(
    ("interlock", "well", "stopping"),
    [
        (Interlock("/s"), False, True),
        (Interlock("/s", allowed=(True,)), True, False),
        (Interlock("/s", field="x", stop_at=(0, 4)), 5, 0),
        (Interlock("/s", field="x", allowed=(1, 2)), 1, 3),
        (Interlock("/s", field="x", stop_at=("", "open")), "other", ""),
        (Interlock("/s", field="x", allowed=("run",)), "run", ""),
    ],
)
def test_values_that_stop_and_values_that_do_not(interlock: Interlock, well: object, stopping: object) -> None:
    assert (told(interlock, stops=False), told(interlock, stops=True)) == (well, stopping)
