"""The simulated robot: in lock-step it is the gymnasium environment, to the last bit."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("websockets", reason="the robot extra is not installed")
pytest.importorskip("roslibpy", reason="the robot extra is not installed")

from places import SUPPORT
from robot_fakes import for_task, simulate

from lapo_tf.tasks import load_task
from robot_bridge.errors import UserError
from robot_bridge.node.loop import run_lock_step
from robot_bridge.node.policy_node import PolicyNode
from robot_bridge.robot.description import Model
from robot_bridge.robot.robot import Input, Output, Robot, simulated
from robot_bridge.server import RosbridgeServer
from robot_bridge.simulation.environment import make_environment
from robot_bridge.simulation.simulation import FOLLOW, TRAJECTORY, Simulation, plain
from robot_bridge.simulation.viewer import camera
from robot_bridge.transport import RosbridgeTransport


@pytest.fixture
def server() -> Iterator[RosbridgeServer]:
    with RosbridgeServer(port=0) as server:
        yield server


class Direct:
    """A transport that goes nowhere, for simulations looked at without a network."""

    connected = True

    def __init__(self) -> None:
        self.published: list[tuple[str, dict]] = []
        self.goals: list[Any] = []

    def publish(self, topic: str, message: dict) -> bool:
        self.published.append((topic, message))
        return True


def directly(task: str, policy: Any, seed: int, steps: int) -> tuple[np.ndarray, list[float]]:
    """Observations and rewards of an episode in plain gymnasium."""
    env = load_task(task).make_env()
    observation, _ = env.reset(seed=seed)
    observations, rewards = [observation], []
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(policy.infer(np.float32(observation)))
        observations.append(observation)
        rewards.append(float(reward))
        if terminated or truncated:
            break
    env.close()
    return np.array(observations), rewards


def in_lock_step(server: RosbridgeServer, task: str, policy: Any, steps: int) -> Simulation:
    """Two episodes with the seeds 3 and 4."""
    out, back = RosbridgeTransport(server.url), RosbridgeTransport(server.url)
    simulation = simulate(out, task, lock_step=True, seed=3, say=lambda line: None)
    simulation.max_steps = steps
    node = PolicyNode(back, policy, simulated(policy.description), say=lambda line: None)
    simulation.open()
    node.open()
    out.start()
    back.start()
    thread = threading.Thread(target=run_lock_step, args=(node, 5.0))
    thread.start()
    try:
        simulation.run(episodes=2)
    finally:
        node.shut_down()
        thread.join()
        node.close()
        simulation.close()
        back.close()
        out.close()
    assert [episode.seed for episode in simulation.results] == [3, 4]
    return simulation


@pytest.mark.parametrize(("task", "steps"), [("kitchen-complete", 20), ("maze2d-umaze", 50)])
def test_lock_step_is_the_environment_to_the_last_bit(server: RosbridgeServer, task: str, steps: int) -> None:
    policy = for_task(task)
    seen: list[np.ndarray] = []
    infer = policy.infer

    def watched(observation: np.ndarray) -> np.ndarray:
        seen.append(np.array(observation))
        return infer(observation)

    policy.infer = watched
    simulation = in_lock_step(server, task, policy, steps)
    policy.infer = infer
    for i, episode in enumerate(simulation.results):
        observations, rewards = directly(task, policy, 3 + i, steps)
        assert episode.steps == len(rewards)
        assert episode.score == sum(rewards)
        np.testing.assert_array_equal(np.float32(seen[i * steps : (i + 1) * steps]), np.float32(observations[:steps]))


def test_chunks_in_lock_step_begin_anew_with_each_episode(server: RosbridgeServer) -> None:
    """However long asking takes: the simulation waits. An episode of 20 steps ends amid a horizon of 3."""
    task, steps, plain = "maze2d-umaze", 20, for_task("maze2d-umaze")
    policy = for_task(task)
    policy.description = dataclasses.replace(policy.description, model=Model(history=2, chunk=4, horizon=3))
    shown: list[np.ndarray] = []

    def infer(observations: np.ndarray) -> np.ndarray:
        shown.append(np.array(observations))
        time.sleep(0.015)  # longer than a period
        first = plain.infer(np.float32(0.8 * observations[1] + 0.2 * observations[0]))
        return np.stack([first, -0.5 * first, 0.3 * first, 9.0 * first])

    policy.infer = infer
    simulation = in_lock_step(server, task, policy, steps)
    found, shown = np.float32(shown), []
    for i in range(2):
        env = load_task(task).make_env()
        observation, _ = env.reset(seed=3 + i)
        seen, rewards = [observation, observation], []
        for step in range(steps):
            if step % 3 == 0:
                plan = infer(np.stack(seen[-2:]))
            observation, reward, *_ = env.step(plan[step % 3])
            seen.append(observation)
            rewards.append(float(reward))
        env.close()
        assert simulation.results[i].score == sum(rewards)
    np.testing.assert_array_equal(found, np.float32(shown))


def arrays(simulation: Simulation) -> Any:
    """Its controller of arrays."""
    return simulation.controllers.all[0]


@pytest.fixture
def kitchen() -> Iterator[Simulation]:
    simulation = simulate(Direct(), "kitchen-complete", say=lambda line: None)  # type: ignore[arg-type]
    simulation.world.env.unwrapped.noise_amplitude = np.zeros(30)
    simulation._reset()
    yield simulation
    simulation.world.close()


def advance(simulation: Simulation, seconds: float) -> np.ndarray:
    """Let time pass; the positions at the end."""
    for _ in range(round(seconds / simulation.world.step_dt)):
        simulation._handle_inbox()
        simulation._advance()
    return simulation.world.position.copy()


def test_velocities_are_followed_and_forgotten(kitchen: Simulation) -> None:
    start = kitchen.world.position.copy()
    for _ in range(25):
        arrays(kitchen).on_array({"data": [0.4, 0, 0, 0, 0, 0, 0, 0, 0]})
        moved = advance(kitchen, 0.02)
    assert 0.05 < (moved - start)[0] < 0.3
    still = advance(kitchen, 1.0)  # no more commands: it has stopped by itself
    later = advance(kitchen, 0.5)
    assert np.abs(later - still).max() < 0.01


@pytest.mark.parametrize("by", [TRAJECTORY, FOLLOW])
def test_trajectories_are_followed_and_end_standing(kitchen: Simulation, by: str) -> None:
    class Handle:
        results: list[int] = []  # noqa: RUF012
        told: list[dict] = []  # noqa: RUF012

        def on_cancel(self, callback: Any) -> None: ...

        def feedback(self, values: dict) -> bool:
            self.told.append(values)
            return True

        def result(self, values: dict, status: int, error: str | None = None) -> bool:
            self.results.append(status)
            return True

    start = kitchen.world.position.copy()
    target = start + np.array([0.3, 0, 0, 0, 0, 0, 0.2, 0, 0])
    backwards = list(reversed(kitchen.names))  # by name, whatever their order
    points = [
        {"positions": (start + share * (target - start))[::-1].tolist(), "time_from_start": {"sec": 0, "nanosec": ns}}
        for share, ns in ((0.5, 500_000_000), (1.0, 999_999_999))
    ]
    message = {"header": {}, "joint_names": backwards, "points": points}
    if by == TRAJECTORY:
        kitchen.controllers[TRAJECTORY].on_trajectory(message)
    else:
        kitchen.controllers[FOLLOW].on_goal({"trajectory": message}, Handle())  # type: ignore[arg-type]
    end = advance(kitchen, 2.0)
    np.testing.assert_allclose(end[[0, 6]], target[[0, 6]], atol=0.03)
    if by == FOLLOW:
        assert Handle.results == [4]
        assert len(Handle.told) > 5  # so that its sender knows that it was taken


@pytest.mark.parametrize(
    "message",
    [
        {"joint_names": ["panda_joint1"], "points": []},
        {"joint_names": "all", "points": [{"positions": [float("nan")] * 9, "time_from_start": {"sec": 1}}]},
        {"joint_names": "all", "points": [{"positions": [0.0] * 8, "time_from_start": {"sec": 1}}]},
        {"joint_names": "all", "header": {"stamp": {"sec": 0, "nanosec": 1}}, "points": "late"},
        {},
    ],
)
def test_wrong_trajectories_are_refused(kitchen: Simulation, message: dict) -> None:
    if message.get("joint_names") == "all":
        message = message | {"joint_names": kitchen.names}
    if message.get("points") == "late":
        message = message | {"points": [{"positions": [0.0] * 9, "time_from_start": {"sec": 0, "nanosec": 5}}]}
    before = kitchen.world.position.copy()
    kitchen.controllers[TRAJECTORY].on_trajectory(message)
    np.testing.assert_array_equal(advance(kitchen, 0.2), before)
    assert kitchen.counters["refused.trajectory"] == 1


@pytest.mark.parametrize("data", [[0.0] * 8, [None] * 9, "fast", None])
def test_wrong_arrays_are_refused(kitchen: Simulation, data: Any) -> None:
    arrays(kitchen).on_array({"data": data})
    assert kitchen.counters["refused.array"] == 1
    assert kitchen._inbox.empty()


def test_reset_and_lock_services(server: RosbridgeServer) -> None:
    out, back = RosbridgeTransport(server.url), RosbridgeTransport(server.url)
    simulation = simulate(out, "maze2d-umaze", seed=5, say=lambda line: None)
    simulation.open()
    out.start()
    back.start()
    thread = threading.Thread(target=simulation.run)
    thread.start()

    def call(name: str, kind: str, request: dict) -> dict:
        done, answers = threading.Event(), []
        back.call_service(name, kind, request, lambda v, e: (answers.append(v or e), done.set()), 5.0)
        assert done.wait(6)
        return answers[0]

    try:
        time.sleep(0.1)
        assert call("/sim/reset", "std_srvs/srv/Trigger", {})["message"] == "episode 1, seed 6"
        assert call("/sim/lock_step", "std_srvs/srv/SetBool", {"data": True})["success"]
        before = simulation.time
        time.sleep(0.1)
        assert simulation.time == before  # time stands
        assert call("/sim/lock_step", "std_srvs/srv/SetBool", {"data": False})["success"]
        time.sleep(0.1)
        assert simulation.time > before
    finally:
        simulation.stop()
        thread.join()
        simulation.close()
        back.close()
        out.close()


def test_the_sensor_fails_as_asked_and_the_truth_is_told() -> None:
    direct = Direct()
    simulation = simulate(direct, "maze2d-umaze", seed=1, say=lambda line: None)  # type: ignore[arg-type]

    def said(sensor: str) -> tuple[list[dict], dict]:
        """What comes on /joint_states, and the truth, one step later."""
        simulation._on_sensor({"data": sensor})
        arrays(simulation).take(np.array([50.0, 0.0]))
        simulation._advance()
        direct.published.clear()
        simulation._publish()
        states = [message for topic, message in direct.published if topic == "/joint_states"]
        return states, dict(direct.published)["/sim/truth"]

    (good,), truth = said("good")
    assert (good["position"], good["velocity"]) == (truth["position"], truth["velocity"])
    (frozen,), truth = said("frozen")
    assert frozen == good
    assert truth["position"] != good["position"]
    assert said("silent")[0] == []
    assert said("nan")[0][0]["position"] == [None, None]
    (again,), truth = said("good")
    assert again["position"] == truth["position"]
    said("melted")
    assert simulation.counters.snapshot() == {"refused.sensor": 1}
    simulation.close()


def test_a_command_is_in_force_from_the_nearest_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """In real time: one that comes in the first half of a slice acts in it, one of the second half in the next."""
    simulation = simulate(Direct(), "maze2d-umaze", say=lambda line: None)  # type: ignore[arg-type]
    naps, steps = 0, []
    now = time.monotonic()

    def sleep(seconds: float) -> None:
        nonlocal naps, now
        naps, now = naps + 1, now + seconds
        steps.append(simulation.episode.steps)
        if naps == 2 + late:
            arrays(simulation).on_array({"data": [0.1, 0.0]})
        if naps == 6:
            simulation.stop()

    monkeypatch.setattr("robot_bridge.simulation.simulation.time.sleep", sleep)
    monkeypatch.setattr("robot_bridge.simulation.simulation.time.monotonic", lambda: now)
    late = 1  # the third nap: the first half of the second slice
    simulation.run()
    assert steps == [0, 0, 0, 1, 1, 2]
    simulation._reset()
    simulation._ending.clear()
    naps, late = 0, 0  # the second nap: the second half of the first slice
    steps.clear()
    simulation.run()
    assert steps == [0, 0, 0, 1, 1, 2]
    simulation.world.close()


def test_a_film_does_not_hold_up_real_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn is what was, but only when the episode is over."""
    simulation = simulate(Direct(), "maze2d-umaze", video=tmp_path, say=lambda line: None)  # type: ignore[arg-type]
    data, drawn = simulation.world.env.unwrapped.data, []

    def render() -> np.ndarray:
        drawn.append(data.qpos.copy())
        return np.zeros((64, 64, 3), np.uint8)

    monkeypatch.setattr(simulation.world.env, "render", render)
    simulation.max_steps, passed = 5, []
    while not simulation.episode.done:
        arrays(simulation).on_array({"data": [1.0, 0.5]})
        simulation._handle_inbox()
        simulation._advance()
        passed.append(data.qpos.copy())
    assert not drawn
    simulation._reset()
    np.testing.assert_array_equal(drawn, passed)
    assert (tmp_path / "episode-0.mp4").stat().st_size > 0
    simulation.world.close()


def test_a_viewer_without_a_screen_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="--viewer needs a screen"):
        simulate(Direct(), "maze2d-umaze", viewer=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["kitchen-complete", "maze2d-umaze", "hopper-medium"])
def test_the_viewer_looks_from_where_films_are_taken(task: str) -> None:
    env = load_task(task).make_env()
    assert camera(env.unwrapped)["distance"] > 0
    env.close()


def test_an_environment_that_cannot_be_had_is_told_in_one_line() -> None:
    policy = for_task("maze2d-umaze").description
    with pytest.raises(UserError, match=r"cannot make the environment 'lapo_tf\.envs:lapo/Wolk-v0'"):
        make_environment(policy, "lapo_tf.envs:lapo/Wolk-v0")
    wrong = dataclasses.replace(policy, environment=policy.environment | {"env_options": {"size": "huge"}})
    with pytest.raises(UserError, match=r"cannot make the environment 'lapo_tf\.envs:lapo/Maze2dUmaze-v0': .*'size'"):
        make_environment(wrong)
    with pytest.raises(UserError, match="needs the module nowhere, which is not here"):
        make_environment(policy, "nowhere:Arm-v0")
    with pytest.raises(UserError, match=r"has observations of shape \(60,\): expected the bundle's \(4,\)"):
        make_environment(policy, "lapo_tf.envs:lapo/KitchenMixed-v0")
    with pytest.raises(UserError, match="names no environment: give --env"):
        make_environment(dataclasses.replace(policy, environment={}))


def test_one_array_does_not_carry_several_quantities() -> None:
    policy = for_task("maze2d-umaze").description
    push, turn = policy.actions
    mixed = dataclasses.replace(policy, actions=(push, dataclasses.replace(turn, quantity="velocity")))
    with pytest.raises(UserError, match="maze2d-umaze commands effort of 'x', velocity of 'y': one array takes one"):
        plain(mixed)


def test_an_environment_is_the_robot_of_a_config() -> None:
    """Its topics, its names and its order of joints; what else the policy sees comes as other messages do."""
    fields = {"x/velocity": "twist.linear.x", "y/velocity": "twist.linear.y"}
    robot = Robot(
        "ball",
        {"y": "ball_y", "x": "ball_x"},
        100.0,
        (Input("/ball/states"), Input("/ball/twist", "geometry_msgs/msg/TwistStamped", fields=fields)),
        (Output("effort", "/ball/push", ("y", "x")),),
        None,
    )
    direct = Direct()
    simulation = simulate(direct, "maze2d-umaze", robot, seed=1)
    other = simulate(Direct(), "maze2d-umaze", seed=1)
    simulation.controllers["/ball/push"].on_array({"data": [0.3, 0.9]})
    arrays(other).on_array({"data": [0.9, 0.3]})
    for one in (simulation, other):
        one._handle_inbox()
        for _ in range(5):
            one._advance()
    numbers = other.world.numbers()
    np.testing.assert_array_equal(simulation.world.position, [numbers["y/position"], numbers["x/position"]])
    simulation._publish()
    told = dict(direct.published)
    states = dict(zip(told["/ball/states"]["name"], told["/ball/states"]["position"], strict=True))
    assert states == {"ball_x": numbers["x/position"], "ball_y": numbers["y/position"]}
    twist = told["/ball/twist"]
    assert twist["twist"]["linear"] == {"x": numbers["x/velocity"], "y": numbers["y/velocity"]}
    assert twist["header"] == told["/ball/states"]["header"]
    assert told["/sim/truth"]["name"] == ["ball_y", "ball_x"]
    assert told["/sim/truth"]["position"] == [numbers["y/position"], numbers["x/position"]]
    for one in (simulation, other):
        one.world.close()


def test_the_simulation_loads_no_tensorflow() -> None:
    code = """
import sys
from robot_fakes import simulate
class T: pass
simulate(T(), "maze2d-umaze")
print([name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras")])
"""
    command = [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {str(SUPPORT)!r})" + code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
