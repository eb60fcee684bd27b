"""The commands of robot_bridge, as a user runs them: pre-flight, run, Ctrl-C, demo, and their error lines."""

from __future__ import annotations

import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import SUPPORT

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from robot_fakes import arm_policy, arm_robot, for_task
from websockets.sync.server import serve

from robot_bridge import check, run
from robot_bridge.errors import UserError
from robot_bridge.node import loop
from robot_bridge.node.peers import require_alone
from robot_bridge.node.policy_node import PolicyNode
from robot_bridge.robot.interlocks import ControllerCheck, DeadMan, Interlock
from robot_bridge.robot.robot import Input, Output
from robot_bridge.server import RosbridgeServer
from robot_bridge.transport import RosbridgeTransport, connection

JOINT_STATE, ARRAY = "sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray"


class Arm:
    """A robot of two joints on a real rosbridge that follows velocities, and forgets them after 0.2 s."""

    def __init__(self, url: str, kind: str = JOINT_STATE, takes: str = ARRAY, rate: float = 100.0) -> None:
        self.transport = RosbridgeTransport(url)
        self.q, self.v, self.since = np.zeros(2), np.zeros(2), -1.0
        self.commands: list[tuple[float, list[float]]] = []
        self._period, self._ending = 1.0 / rate, threading.Event()
        self.transport.advertise("/joint_states", kind)
        self.transport.subscribe("/commands", takes, self._on_command)
        self.transport.start()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _on_command(self, message: dict) -> None:
        self.commands.append((time.monotonic(), message["data"]))
        self.v, self.since = np.array(message["data"]), time.monotonic()

    def _run(self) -> None:
        while not self._ending.wait(self._period):
            if time.monotonic() - self.since > 0.2:
                self.v = np.zeros(2)
            self.q = self.q + self._period * self.v
            stamp = {"sec": int(time.time()), "nanosec": int(time.time() % 1 * 1e9)}
            message = {"header": {"stamp": stamp}, "name": ["a", "b"], "position": self.q.tolist()}
            self.transport.publish("/joint_states", message)

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self.transport.close()


@pytest.fixture
def server() -> Iterator[RosbridgeServer]:
    with RosbridgeServer(port=0) as server:
        yield server


@pytest.fixture
def arm(server: RosbridgeServer) -> Iterator[Arm]:
    arm = Arm(server.url)
    yield arm
    arm.close()


def findings(url: str, robot: Any, seconds: float = 0.5) -> dict[str, list[str]]:
    transport = RosbridgeTransport(url)
    transport.start()
    try:
        found: dict[str, list[str]] = {"ok": [], "WRONG": [], "note": []}
        for mark, text in check.check(transport, arm_policy(), robot, seconds).lines:
            found[mark].append(text)
        return found
    finally:
        transport.close()


# The tests' machine may be busy: gaps of up to a second do not count.
PATIENT = (Input("/joint_states", max_age=1.0, check_stamps=False),)


def test_check_finds_all_well(server: RosbridgeServer, arm: Arm) -> None:
    found = findings(server.url, arm_robot(inputs=PATIENT))
    slow = [text for text in found["WRONG"] if "inference" in text]  # on a busy machine
    assert found["WRONG"] == slow
    assert "/joint_states is sensor_msgs/msg/JointState" in found["ok"]
    assert "observation complete" in found["ok"]
    assert not arm.commands


def test_check_names_what_is_wrong(server: RosbridgeServer, arm: Arm) -> None:
    arm.q = np.array([1.2, 0.0])
    inputs = (*PATIENT, Input("/objects"))
    robot = arm_robot(
        inputs=inputs,
        rate=40.0,
        outputs=(Output("trajectory", "/commands", ("a", "b")),),
        joints={"a": "a", "b": "elbow"},
    )
    wrong = "\n".join(findings(server.url, robot)["WRONG"])
    for part in (
        "/objects does not exist: expected it to be published",
        "/commands is std_msgs/msg/Float64MultiArray, expected trajectory_msgs/msg/JointTrajectory",
        "/objects: 0 messages in 0.5 s",
        "missing in the observation: b/position",
        "no input gives the position of elbow",
        "slower than the policy",
    ):
        assert part in wrong
    found = findings(server.url, arm_robot(inputs=PATIENT))
    assert "joint a is at 1.200, outside of -1.000 to 1.000: it can only come back" in found["note"]
    assert not any("within their limits" in text for text in found["ok"])
    arm.q = np.array([1.3, 0.0])  # so far that the node refuses to be enabled
    assert "joint a is at 1.300, outside of -1.000 to 1.000" in findings(server.url, arm_robot(inputs=PATIENT))["WRONG"]


def test_check_tells_what_does_not_allow_motion(server: RosbridgeServer, arm: Arm) -> None:
    """A dead man that nobody holds is what one expects now; an external stop and a controller are to be mended."""
    cell = RosbridgeTransport(server.url)
    cell.start()
    states = [{"name": "arm_controller", "state": "inactive"}]
    cell.advertise_service(
        "/controller_manager/list_controllers",
        "controller_manager_msgs/srv/ListControllers",
        lambda _, respond: respond({"controller": states}),
    )
    cell.advertise("/external_stop", "std_msgs/msg/Bool", latch=True)
    cell.publish("/external_stop", {"data": True})
    robot = arm_robot(
        inputs=PATIENT,
        dead_man=DeadMan("/dead_man"),
        interlocks=(Interlock("/external_stop", max_age=None),),
        controllers=ControllerCheck(("arm_controller",)),
    )
    found = findings(server.url, robot)
    assert "the dead-man switch is not held: nothing came on /dead_man" in found["note"]
    assert any("no way to the start pose: the bundle does not say" in text for text in found["note"])
    assert {"/external_stop is True", "controller arm_controller is inactive"} <= set(found["WRONG"])
    cell.publish("/external_stop", {"data": False})
    states[0]["state"] = "active"
    found = findings(server.url, robot)
    assert {"motion is allowed by /external_stop", "motion is allowed by controllers"} <= set(found["ok"])
    cell.close()


def test_check_tells_of_what_no_client_of_a_rosbridge_can_mend(server: RosbridgeServer, arm: Arm) -> None:
    silent = RosbridgeTransport(server.url)
    silent.start()
    silent.advertise("/objects", "sensor_msgs/msg/JointState")
    follow = (Output("follow", "/follow", ("a", "b")),)
    found = findings(server.url, arm_robot(inputs=(*PATIENT, Input("/objects")), outputs=follow))
    silent.close()
    assert any(
        "/objects: 0 messages in 0.5 s, expected a stream; it has a publisher" in text for text in found["WRONG"]
    )
    assert any("goes on offering an action after its server has ended" in text for text in found["note"])


def test_a_policy_on_a_robot_over_a_real_bridge(server: RosbridgeServer, arm: Arm) -> None:
    transport = RosbridgeTransport(server.url)
    node = PolicyNode(transport, arm_policy(target=0.3), arm_robot(inputs=PATIENT), say=lambda line: None)
    node.open()
    transport.start()
    thread = threading.Thread(target=loop.run, args=(node,))
    thread.start()
    try:
        run.enable_when_ready(node, 5.0)
        deadline = time.monotonic() + 8
        while np.abs(arm.q - 0.3).max() > 0.03 and time.monotonic() < deadline:
            time.sleep(0.05)
        np.testing.assert_allclose(arm.q, [0.3, 0.3], atol=0.03)
        assert node.state == "active", node.reason
    finally:
        node.shut_down()
        thread.join()
        node.close()
        transport.close()
    assert np.abs([v for _, v in arm.commands]).max() <= 1.0
    assert run.summary(node)["state"] == "inactive"


def command(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=60, cwd=folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["robot_bridge.run", "--policy", "nowhere", "--robot", "franka"], "nowhere is no policy bundle"),
        (["robot_bridge.check", "--policy", "x", "--robot", "franka", "--sec", "1"], "unknown option '--sec'"),
        (["robot_bridge.demo", "--policy", "nowhere"], "nowhere is no policy bundle"),
        (["robot_bridge.demo", "--policy", "x", "--minutes", "1", "--lock-step"], "--minutes is 1.0: expected none"),
        (
            ["robot_bridge.demo", "--policy", "x", "--robot", "franka", "--lock-step"],
            "--robot is franka: expected none",
        ),
        (["robot_bridge.sim", "--policy", "nowhere"], "nowhere is no policy bundle"),
        (["robot_bridge.sim", "--policy", "maze", "--url", "ws://localhost:1"], "localhost:1"),
        (["robot_bridge.sim", "--policy", "maze", "--transport", "rclpy"], "rclpy"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "maze").mkdir()
    (tmp_path / "maze" / "policy.json").write_text(for_task("maze2d-umaze").description.to_json())
    done = command(*arguments, folder=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_printer_never_holds_up_who_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal stopped with Ctrl-S."""
    stopped, printed = threading.Event(), []

    def write(line: str, flush: bool) -> None:
        stopped.wait(10)
        printed.append(line)

    monkeypatch.setattr("builtins.print", write)
    printer = run.Printer()
    begin = time.monotonic()
    for number in range(2000):
        printer(str(number))
    assert time.monotonic() - begin < 5
    stopped.set()
    printer.close()
    assert printed[:3] == ["0", "1", "2"]
    assert 1000 <= len(printed) <= 1001


def test_a_token_is_taken_from_the_environment_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROSBRIDGE_TOKEN", "s&cret")
    with RosbridgeServer(port=0, token="s&cret") as server:
        args = Namespace(transport="rosbridge", url=server.url, ca=None)
        transport = connection.connection(args)
        transport.start()
        transport.close()
        args.url += "/?token=shown"
        assert connection.place(args) == f"{server.url}/"


def test_policy_and_robot_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robot_bridge.run.Policy.load", lambda path: arm_policy())
    with pytest.raises(UserError, match=r"franka cannot run .*: the policy moves joint 'a'"):
        run.load(tmp_path, "franka")
    with pytest.raises(UserError, match="--speed"):
        run.load(tmp_path, None, 2.0)


NODE = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from robot_fakes import arm_policy, arm_robot
from robot_bridge import run
from robot_bridge.robot.robot import Input
inputs = (Input("/joint_states", max_age=1.0, check_stamps=False),)
run.load = lambda *_: (arm_policy(target=0.9, rate=10.0), arm_robot(inputs=inputs, rate=10.0))
run.main()
"""


def start_node(url: str, *options: str) -> subprocess.Popen[str]:
    """`robot_bridge.run` of a policy without a network, in a process of its own."""
    arguments = [sys.executable, "-c", NODE, str(SUPPORT), "--policy", "p", "--robot", "r", "--url", url, *options]
    out = subprocess.PIPE
    return subprocess.Popen(arguments, stdout=out, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)


def until_moving(arm: Arm) -> None:
    deadline = time.monotonic() + 20
    while np.abs(arm.v).max() < 0.4 and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGQUIT"])
def test_whatever_ends_the_process_it_decelerates_first(
    server: RosbridgeServer, arm: Arm, tmp_path: Path, name: str
) -> None:
    child = start_node(server.url, "--enable", "--log", str(tmp_path / "log"), "--report", str(tmp_path / "end.json"))
    until_moving(arm)
    child.send_signal(getattr(signal, name))
    out, _ = child.communicate(timeout=20)
    assert child.returncode == 0, out
    assert "decelerating" in out
    speeds = np.array([v for _, v in arm.commands])
    assert np.abs(speeds).max() > 0.4, out
    assert (np.abs(np.diff(speeds, axis=0)) <= 5.0 / 10 + 1e-6).all()
    np.testing.assert_allclose(speeds[-1], 0.0, atol=1e-5)
    assert (tmp_path / "log" / "bag" / "metadata.yaml").is_file()
    assert '"state": "inactive"' in (tmp_path / "end.json").read_text()
    assert "if nothing more is sent: /commands: the arm goes on" in out


def test_a_black_box_survives_its_process(server: RosbridgeServer, arm: Arm, tmp_path: Path) -> None:
    from rosbags.highlevel import AnyReader

    child = start_node(server.url, "--enable", "--log", str(tmp_path / "log"))
    until_moving(arm)
    time.sleep(1.5)
    child.kill()
    child.wait()
    with AnyReader([tmp_path / "log" / "bag" / "bag.mcap"]) as reader:
        decisions = [c for c, _, _ in reader.messages() if c.topic == "/policy/decision"]
    assert len(decisions) >= 10  # of 10 a second


def test_ctrl_z_stops_the_robot_and_not_the_loop(server: RosbridgeServer, arm: Arm) -> None:
    child = start_node(server.url, "--enable")
    until_moving(arm)
    child.send_signal(signal.SIGTSTP)
    time.sleep(2.0)
    assert arm.commands[-1][1] == pytest.approx([0.0, 0.0], abs=1e-5)
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=20)
    assert "fault: emergency stop" in out


def test_a_second_node_does_not_start(server: RosbridgeServer, arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robot_bridge.node.peers.GONE_WITHIN", 0.5)
    monkeypatch.setattr("robot_bridge.node.peers.ASK_EVERY", 0.1)
    robot, said = arm_robot(), []
    first, second = RosbridgeTransport(server.url), RosbridgeTransport(server.url)
    first.start()
    second.start()
    try:
        require_alone(first, "/policy", robot, commands=True, say=said.append)
        node = PolicyNode(first, arm_policy(), robot, say=lambda line: None)
        node.open()
        time.sleep(0.3)
        with pytest.raises(UserError, match=r"another node offers /policy/enable; /commands is published by"):
            require_alone(second, "/policy", robot, commands=True, say=said.append)
        with pytest.raises(UserError, match=r"^/commands is published by"):
            require_alone(second, "/right/policy", robot, commands=True, say=said.append)
        require_alone(second, "/right/policy", robot, commands=False, say=said.append)  # a dry run beside it
        node.close()
        require_alone(second, "/policy", robot, commands=True, say=said.append)  # it has gone
    finally:
        first.close()
        second.close()
    assert {line[:13] for line in said} == {"waiting up to"}
    assert len(said) in (2, 3)  # the last one, too, where it asked before the server knew


def test_whose_service_is_taken_over_is_told(server: RosbridgeServer) -> None:
    first, second = RosbridgeTransport(server.url), RosbridgeTransport(server.url)
    for transport in (first, second):
        transport.start()
        transport.advertise_service("/policy/stop", "std_srvs/srv/Trigger", lambda request, respond: None)
        time.sleep(0.2)
    displaced = [transport.counters["displaced"] for transport in (first, second)]
    first.close()
    second.close()
    assert displaced == [1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--report", "nowhere/end.json"], "--report is nowhere/end.json: expected a file in a folder that exists"),
        (["--report", "{tmp}"], "expected a file, not a folder"),
        (["--log", "{tmp}"], "expected a folder that does not exist yet"),
        (["--namespace", "left arm"], "'/left arm/policy' is no name of a node"),
        (["--name", "2nd"], "'/2nd' is no name of a node"),
    ],
)
def test_what_cannot_be_is_told_before_anything_starts(
    tmp_path: Path,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [option.replace("{tmp}", str(tmp_path)) for option in options]
    arguments = ["run", "--policy", "p", "--robot", "franka", *options]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit):
        run.main()
    assert message in capsys.readouterr().err


def test_names_of_nodes() -> None:
    assert run.full_name("", "policy") == "/policy"
    assert run.full_name("/left/", "policy") == run.full_name("left", "policy") == "/left/policy"


def test_latency_prints_its_table_and_keeps_it(tmp_path: Path) -> None:
    out = tmp_path / "latency.txt"
    done = command("robot_bridge.latency", "--rates", "50", "--seconds", "1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert out.read_text() == done.stdout
    rows = {line.split()[1]: line.split() for line in out.read_text().splitlines()[-2:]}
    for way in ("once", "echo"):
        assert 0.1 < float(rows[way][2]) < 500  # ms, p50, on a busy machine
        assert float(rows[way][6]) > 50  # % that arrived


def test_old_logs_go_and_nothing_else_does(tmp_path: Path) -> None:
    for name in ("run-2026-01-01", "run-2026-01-02", "run-2026-01-03"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "layout.yaml").touch()
    for name in ("run-notes", "other-2026-01-01"):  # no log of ours; of another name
        (tmp_path / name).mkdir()
    folder = run.log_folder(tmp_path / "run-{time}", 2)
    assert folder is not None
    assert re.fullmatch(r"run-\d{4}-\d\d-\d\d-\d{6}", folder.name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other-2026-01-01", "run-2026-01-03", "run-notes"]
    assert run.log_folder(tmp_path / "plain", None) == tmp_path / "plain"
    with pytest.raises(UserError, match="--keep-logs is 3"):
        run.log_folder(tmp_path / "plain", 3)


def test_certificates_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over wss, a server is heard only if its certificate is signed by an authority that is trusted."""
    trustme = pytest.importorskip("trustme", reason="the test extra is not installed")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    greeted = threading.Event()

    def greet(connection: Any) -> None:
        connection.recv(timeout=5)
        greeted.set()

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with serve(greet, "localhost", 0, ssl=context) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        arguments = ["--url", f"wss://localhost:{server.socket.getsockname()[1]}", "--policy", "x"]
        for ca, heard in (([], False), (["--ca", str(tmp_path / "ca.pem")], True)):
            transport = connection.connection(run.parser().parse_args([*arguments, *ca]))
            transport.advertise("/a", "std_msgs/msg/Empty")
            transport.start(timeout=None)
            try:
                assert greeted.wait(5 if heard else 1.5) == heard
            finally:
                transport.close()
        server.shutdown()
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(UserError, match="holds no certificates"):
        connection.trust(tmp_path / "text")
