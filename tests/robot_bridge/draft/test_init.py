"""`python -m robot_bridge.init`: what it refuses, the command, and that `check` finds its config consistent."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from recorded_arm import (
    POSE,
    ROBOTS,
    URDF,
    arrays,
    commanded,
    described,
    observed,
    written,
)
from robot_fakes import LinearPolicy

from robot_bridge import check, init
from robot_bridge.draft.urdf import read_urdf
from robot_bridge.errors import UserError
from robot_bridge.robot.description import ActionEntry, Description, ObservationEntry

NAMELESS = described(
    ActionEntry("action_0", "position", "", 1.0, -1, 1),
    observations=(ObservationEntry("observation_0/position", "", -1, 1, ()),),
)
BLIND = described(*arrays("velocity", "/c"), observations=(observed("shoulder", "velocity"),))


@pytest.mark.parametrize(
    ("policy", "urdf", "joints", "message"),
    [
        (NAMELESS, None, None, "have no names.*import the recordings with a layout"),
        (
            described(*arrays("velocity", "/c")),
            URDF,
            ["shoulder", "elbo"],
            "unknown joint in arm.urdf: 'elbo': did you",
        ),
        (described(*arrays("velocity", "/c")), URDF, ["shoulder"], "--joints has 1 names: expected 2 different ones"),
        (
            described(commanded("hand.x", "position", "/target", POSE, "pose.position.x")),
            None,
            None,
            r"commands were poses \(/target\)",
        ),
        (BLIND, None, ["shoulder", "elbow"], "no limits of joint 'shoulder' are known: there is no URDF"),
        (BLIND, URDF, ["shoulder", "elbow"], "joint 'elbow' are known: it is continuous in arm.urdf, without limits"),
        (BLIND, URDF, None, r"unknown joint in arm.urdf: 'command.0'.*give --joints"),
        (
            described(*arrays("velocity", "/c"), commanded("wrist", "effort", "/e")),
            None,
            None,
            "commands efforts and other quantities",
        ),
    ],
)
def test_what_cannot_be_is_one_line(
    tmp_path: Path, policy: Description, urdf: str | None, joints: list[str] | None, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        written(tmp_path, policy, urdf, joints=joints)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<robot", "cannot be read as XML"),
        ("<mujoco/>", "no URDF, but XML that begins with <mujoco>"),
        ('<robot xmlns:xacro="http://www.ros.org/wiki/xacro"><xacro:arm/></robot>', "is a xacro file: make a URDF"),
        (
            '<robot><joint name="a" type="revolute"><limit lower="-pi"/></joint></robot>',
            "limit of joint 'a' is no number",
        ),
        (None, "no such URDF"),
    ],
)
def test_files_that_are_no_urdf(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "arm.urdf").write_text(text)
    with pytest.raises(UserError, match=message):
        read_urdf(tmp_path / "arm.urdf")


# The commands ---------------------------------------------------------------------------------------------------------


def run_init(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["init", *map(str, arguments)])
    init.main()


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy/policy.json").write_text(described(*arrays("velocity", "/c")).to_json())
    (tmp_path / "arm.urdf").write_text(URDF)
    arguments = ["--policy", "policy", "--urdf", "arm.urdf", "--out", "my-arm.yaml"]
    run_init(monkeypatch, *arguments)
    told = capsys.readouterr().out
    assert "/c (velocity)" in told
    assert "next         python -m robot_bridge.check --policy policy --robot my-arm.yaml" in told
    before = Path("my-arm.yaml").read_text()
    assert f"{before.count('# REVIEW:')} places" in told
    Path("my-arm.yaml").write_text(before + "# reviewed\n")
    for wrong, message in (
        (arguments, "my-arm.yaml exists, and may have been reviewed"),
        ([*arguments[:-1], "my-arm"], "expected a file such as my-arm.yaml"),
        (["--policy", "nowhere", "--out", "new.yaml"], "nowhere is no policy bundle"),
    ):
        with pytest.raises(SystemExit):
            run_init(monkeypatch, *wrong)
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert Path("my-arm.yaml").read_text().endswith("# reviewed\n")
    run_init(monkeypatch, *arguments, "--force")
    assert Path("my-arm.yaml").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["arm.urdf", "my-arm.yaml", "policy"]


@pytest.mark.parametrize("kind", ["velocities", "positions", "trajectories"])
def test_check_finds_it_consistent_with_the_twin(tmp_path: Path, kind: str) -> None:
    """Server, twin and check over real sockets; the twin has a cube."""
    pytest.importorskip("websockets", reason="the robot extra is not installed")
    pytest.importorskip("roslibpy", reason="the robot extra is not installed")
    pytest.importorskip("mujoco", reason="the robot extra is not installed")
    from robot_bridge.server import RosbridgeServer
    from robot_bridge.simulation.model import Model
    from robot_bridge.simulation.simulation import Simulation
    from robot_bridge.transport import RosbridgeTransport

    policy = described(*ROBOTS[kind][0])
    body = '<body name="cube" pos="0.4 0 0"><freejoint/><geom size="0.02"/></body>'
    (tmp_path / "scene.xml").write_text(
        '<mujoco><compiler angle="radian"/><option gravity="0 0 0"/><worldbody><body name="one">'
        '<joint name="shoulder" axis="0 0 1" range="-2.5 2" limited="true"/><geom size="0.05" pos="0.1 0 1"/>'
        '<body name="two"><joint name="elbow" axis="0 1 0"/><geom size="0.05" pos="0.2 0 2"/></body></body>'
        f"{body}</worldbody></mujoco>"
    )
    robot, _ = written(tmp_path, policy, URDF)
    with RosbridgeServer(port=0) as server:
        out, back = RosbridgeTransport(server.url), RosbridgeTransport(server.url)
        world = Model(tmp_path / "scene.xml", robot)
        simulation = Simulation(out, world, robot, say=lambda line: None, hold_dead_man=True)
        simulation.open()
        out.start()
        back.start()
        thread = threading.Thread(target=simulation.run)
        thread.start()
        try:
            time.sleep(0.3)
            patient = check.check(back, LinearPolicy(policy, np.zeros((2, 4))), robot, 1.0)
        finally:
            simulation.stop()
            thread.join()
            simulation.close()
            back.close()
            out.close()
    busy = ("inference", "longest gap")  # on a busy machine
    assert [text for mark, text in patient.lines if mark == "WRONG" and not any(word in text for word in busy)] == []
    told = [text for mark, text in patient.lines if mark == "ok"]
    assert "observation complete" in told
    assert "2 joints are within their limits" in told
    assert any(text.startswith(f"{robot.outputs[0].topic} is ") for text in told)
