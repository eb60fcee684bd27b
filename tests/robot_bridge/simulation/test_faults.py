"""Faults over real sockets: nothing stale, out of limits or unasked reaches the robot. The table: docs/faults.md."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from robot_bridge.faults import KINDS, Result, provoke, table
from robot_bridge.simulation.bench_arm import FRAME, RATE, IdealArm, robot
from robot_bridge.simulation.bench_record import Record
from robot_bridge.simulation.controller import Reference
from robot_bridge.simulation.faults import FAULTS

QUICK = {
    ("sensor stopped", "velocity"),
    ("node killed (SIGKILL)", "effort"),
    ("server killed, 2 s", "trajectory"),
    ("dead man lets go", "twist_stamped"),
}
ALL = [(name, kind) for kind in KINDS for name, fault in FAULTS.items() if kind in (fault.kinds or KINDS)]


@pytest.mark.parametrize(
    ("name", "kind"), [pytest.param(*case, marks=[] if case in QUICK else [pytest.mark.slow]) for case in ALL]
)
def test_faults_are_survived(name: str, kind: Any) -> None:
    (result,) = provoke(kind, [name])
    assert result.commands > 0
    assert (result.stale, result.out_of_limits, result.unasked) == (0, 0, 0)
    assert result.safe
    assert "NOT" not in result.recovery
    if result.must_stop:
        assert result.stop is not None
        assert result.stop < 2.0  # 0.15 s of age, 0.2 s of braking, and a busy machine


def test_windows_has_fewer_signals() -> None:
    code = "import signal\nfor name in ('SIGKILL', 'SIGSTOP', 'SIGCONT', 'SIGHUP', 'SIGQUIT'): delattr(signal, name)\n"
    code += "from robot_bridge.simulation.faults import FAULTS\nprint(len(FAULTS))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ran.stdout) == len(FAULTS) - 4


def test_wrong_trajectories_are_told_from_right_ones() -> None:
    """What is counted can be more than zero."""
    outside = Record("trajectory").trajectory_outside
    step = 1.0 / RATE
    ramp = np.cumsum(step * np.array([0.1, 0.2, 0.2, 0.1, 0.0]))[:, None] * np.ones(2)
    assert not outside(ramp, 1.0)
    assert not outside(ramp + ramp[0], 1.0 + step)
    assert outside(np.zeros((2, 2)) + 1.01, 2.0)  # position
    assert outside(np.array([[0.0, 0.0], [0.03, 0.0]]), 3.0)  # 1.5 rad/s
    assert outside(np.array([[0.0, 0.0], [0.015, 0.0], [0.015, 0.0]]), 4.0)  # 37 rad/s²
    outside(np.array([[0.0, 0.0], [0.018, 0.0]]), 5.0)
    assert outside(np.array([[0.02, 0.0], [0.002, 0.0]]), 5.0 + step)  # turned round within a tick


def test_wrong_arrays_are_told_from_right_ones() -> None:
    step = 1.0 / RATE
    velocity = Record("velocity").array_outside
    assert not velocity(np.array([0.5, 0.5]), 1.0)
    assert not velocity(np.array([0.55, 0.5]), 1.0 + step)
    assert velocity(np.array([1.0, 0.5]), 1.0 + 2 * step)  # 0.45 rad/s within a tick
    assert velocity(np.array([1.1, 0.0]), 2.0)
    assert not velocity(np.zeros(2), 2.0 + step)  # a stand may be said at any time
    position = Record("position").array_outside
    assert not position(np.array([0.5, 0.5]), 1.0)
    assert position(np.array([0.6, 0.5]), 1.0 + step)  # 5 rad/s
    assert position(np.array([1.1, 0.5]), 2.0)
    effort = Record("effort").array_outside
    assert not effort(np.array([2.0, -2.0]), 1.0)
    assert effort(np.array([2.1, 0.0]), 2.0)


def test_wrong_twists_poses_and_goals_are_told_from_right_ones() -> None:
    def stamped(at: float, **said: object) -> dict[str, object]:
        stamp = {"sec": int(at), "nanosec": round(at % 1 * 1e9)}
        return {"header": {"stamp": stamp, "frame_id": FRAME}} | said

    def twist(x: float, y: float) -> dict[str, object]:
        return {"linear": {"x": x, "y": y, "z": 0.0}, "angular": dict.fromkeys("xyz", 0.0)}

    def pose(x: float, yaw: float) -> dict[str, object]:
        turned = {"x": 0.0, "y": 0.0, "z": float(np.sin(yaw / 2)), "w": float(np.cos(yaw / 2))}
        return {"position": {"x": x, "y": 0.0, "z": 0.0}, "orientation": turned}

    record = Record("twist")
    record.told(twist(0.5, 0.0), np.zeros(2), 1.0)
    record.told(twist(0.0, -1.1), np.zeros(2), 1.0)
    record.told(twist(0.0, 0.0), np.zeros(2), 1.0)
    assert [(told.moving, told.outside) for told in record.commands] == [(True, False), (True, True), (False, False)]
    record = Record("twist_stamped")
    record.told(stamped(9.6, twist=twist(0.3, 0.0)), np.zeros(2), 10.0)
    record.told(stamped(9.62, twist=twist(0.8, 0.0)), np.zeros(2), 10.0)  # 25 m/s²
    np.testing.assert_allclose([told.age for told in record.commands], [0.4, 0.38])
    assert [told.outside for told in record.commands] == [False, True]
    record = Record("pose")
    at = np.array([0.3, 0.2, 0.0, 0.0, 0.0, 0.0])
    record.told(stamped(5.0, pose=pose(0.3, 0.2)), at, 5.0)
    record.told(stamped(5.02, pose=pose(0.31, 0.2)), at - 0.03, 5.0)
    record.told(stamped(5.04, pose=pose(0.31, 0.4)), at, 5.0)  # 10 rad/s
    assert [(told.moving, told.outside) for told in record.commands] == [(False, False), (True, False), (True, True)]
    for kind, goal in (("gripper", {"command": {"position": 1.2}}), ("franka_gripper", {"width": 1.2})):
        record = Record(kind)  # type: ignore[arg-type]
        record.told(goal, np.zeros(2), 1.0)
        assert [(told.moving, told.outside) for told in record.commands] == [(True, True)]


def test_commands_to_move_are_told_from_stands_and_have_an_age() -> None:
    stamp = {"sec": 99, "nanosec": 500_000_000}
    record = Record("trajectory")
    points = [{"positions": [0.0, 0.0]}, {"positions": [0.0, 0.015]}]
    record.told({"header": {"stamp": stamp}, "points": points}, np.zeros(2), 100.0)
    record.told({"header": {"stamp": stamp}, "points": points[:1]}, np.zeros(2), 99.6)
    assert [told.moving for told in record.commands] == [True, False]
    np.testing.assert_allclose([told.age for told in record.commands], [0.5, 0.1])
    for kind, standing in (("velocity", [0.0, 0.0]), ("effort", [0.0, 0.0]), ("position", [0.3, 0.3])):
        record = Record(kind)  # type: ignore[arg-type]
        record.told({"data": standing}, np.array([0.3, 0.3]), 0.0)
        record.told({"data": [0.2, 0.3]}, np.array([0.3, 0.3]), 0.0)
        assert [told.moving for told in record.commands] == [False, True]


def test_the_arm_does_what_it_is_asked_and_coasts_to_a_stand() -> None:
    arm, reference = IdealArm(robot("velocity")), Reference(2)
    reference.velocity[:] = 0.5
    for _ in range(100):
        arm.step(reference)
    np.testing.assert_allclose(arm.position, 0.5)
    moved = arm.path[-1][0]
    assert arm.last_moved(0.0, moved) == moved
    arm.step(Reference(2))
    np.testing.assert_allclose(arm.position, 0.5)
    reference = Reference(2)
    reference.effort[:] = 1.0
    for _ in range(100):
        arm.step(reference)
    np.testing.assert_allclose(arm.truth()[1], 0.5, atol=0.01)  # type: ignore[index]
    reference.effort[:] = 0.0
    for _ in range(100):
        arm.step(reference)
    assert np.abs(arm.truth()[1]).max() < 0.01  # type: ignore[index]


def test_tables_tell_what_was_not_safe() -> None:
    killed, order = "server killed, 2 s", "joint order changed"
    good = Result(killed, "velocity", True, 100, 0, 0, 0, 0.3, "moves when enabled again", "/x: has a time-out")
    for change in ({"stale": 1}, {"out_of_limits": 1}, {"unasked": 1}, {"stop": None}):
        assert not dataclasses.replace(good, **change).safe  # type: ignore[arg-type]
    text = table(
        [
            good,
            dataclasses.replace(good, kind="follow", stop=None, recovery="does NOT move again", unasked=2),
            dataclasses.replace(good, name=order, must_stop=False, stop=None),
        ]
    )
    assert f"| {killed} | 0.30* | **NEVER** |" in text
    assert f"| {order} | goes on | - |" in text
    assert "| velocity | 200 | 0 | 0 | 0 |" in text
    assert "| follow | 100 | 0 | 0 | 2 |" in text
    assert f"- follow, {killed}: does NOT move again" in text
    assert "- velocity: /x: has a time-out." in text
