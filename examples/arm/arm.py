"""The arm of the story, seen over its topics: where it is, whether the bottle stands, and how it is moved.

Nothing here knows whether a twin or a real UR5e is behind the topics, but for `reset`.
"""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from reward import MARK, NEAR, fallen

from robot_bridge.transport import Message, RosbridgeTransport

JOINTS = [f"{name}_joint" for name in ("shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3")]
STATES = ("/joint_states", "sensor_msgs/msg/JointState")
TOOL = ("/tcp_pose_broadcaster/pose", "geometry_msgs/msg/PoseStamped")
BOTTLE = ("/bottle/pose", "geometry_msgs/msg/PoseStamped")
COMMAND = ("/scaled_joint_trajectory_controller/joint_trajectory", "trajectory_msgs/msg/JointTrajectory")

START = np.array([0.5, -0.3, 0.1])  # m, of the tool
AROUND = np.array([0.03, 0.03, 0.0])  # m, how far a start may be from it, in each direction
OVER = np.array([0.0, 0.0, 0.18])  # m, high enough for the tool to pass over the bottle
RETURN = 1.5  # rad/s, on the way to a start


@dataclass(frozen=True)
class State:
    """One moment: s by the arm's clock, joint positions [6] in rad, the tool's place [3] in m."""

    time: float
    q: np.ndarray
    tool: np.ndarray
    fallen: bool

    @property
    def reached(self) -> bool:
        """Whether the tool is at the mark and the bottle stands."""
        return not self.fallen and float(np.linalg.norm(self.tool - MARK)) <= NEAR


def time_message(seconds: float) -> Message:
    """A builtin_interfaces/msg/Time or Duration."""
    nanoseconds = round(1e9 * seconds)
    return {"sec": nanoseconds // 10**9, "nanosec": nanoseconds % 10**9}


class Arm:
    """A client of the arm's topics."""

    def __init__(self, url: str) -> None:
        self.transport = RosbridgeTransport(url)
        self._latest: dict[str, Message] = {}
        self._states: queue.Queue[State] = queue.Queue()
        self._newest: State | None = None
        self._sent = np.zeros(len(JOINTS))  # positions that were commanded last
        for topic, kind in (STATES, TOOL, BOTTLE):
            self.transport.subscribe(topic, kind, lambda message, topic=topic: self._receive(topic, message))
        self.transport.start(30.0)

    def _receive(self, topic: str, message: Message) -> None:
        self._latest[topic] = message
        stamps = {str(message["header"]["stamp"]) for message in self._latest.values()}
        if len(self._latest) < 3 or len(stamps) > 1:
            return
        states, stamp = self._latest[STATES[0]], message["header"]["stamp"]
        tool, bottle = (self._latest[topic]["pose"] for topic in (TOOL[0], BOTTLE[0]))
        pose = [bottle["position"][name] for name in "xyz"] + [bottle["orientation"][name] for name in "xyzw"]
        self._states.put(
            State(
                stamp["sec"] + 1e-9 * stamp["nanosec"],
                np.array([states["position"][states["name"].index(name)] for name in JOINTS]),
                np.array([tool["position"][name] for name in "xyz"]),
                bool(fallen(np.array(pose))),
            )
        )

    def state(self) -> State:
        """The next state; the newest, where several have come. In lock-step it comes once a command was given."""
        self._newest = self._states.get(timeout=30.0)
        return self.newest

    @property
    def newest(self) -> State:
        """The newest state that has come."""
        while self._newest is None or not self._states.empty():
            self._newest = self._states.get(timeout=30.0)
        return self._newest

    def take(self) -> None:
        """Become the one who commands the arm, from where it stands."""
        self._commands = self.transport.advertise(*COMMAND)
        self._before = self.newest
        self._sent = self._before.q

    def command(self, state: State, velocity: np.ndarray) -> None:
        """Go on with these joint velocities [6], rad/s, until the next command; they end by themselves after 0.2 s."""
        self._sent = self._sent + velocity * min(state.time - self._before.time, 0.2)
        self._before = state
        points = [
            {
                "positions": (self._sent + velocity * ahead).tolist(),
                "velocities": velocity.tolist(),
                "time_from_start": time_message(ahead),
            }
            for ahead in (0.1, 0.2)
        ]
        header = {"stamp": time_message(state.time), "frame_id": ""}
        self.transport.publish(COMMAND[0], {"header": header, "joint_names": JOINTS, "points": points})

    def give(self) -> None:
        """Let another one command it."""
        self._commands.close()

    def go(self, q: np.ndarray) -> None:
        """Move to joint positions [6] on the straight way between."""
        state = self.newest
        while np.abs(q - state.q).max() > 0.01:
            wanted = 5.0 * (q - self._sent)
            self.command(state, wanted * min(1.0, RETURN / np.abs(wanted).max()) if wanted.any() else wanted)
            state = self.state()

    def go_over(self, kinematics: Kinematics, place: np.ndarray) -> None:
        """Move the tool to a place [3] from above, over the bottle."""
        for above in (self.newest.tool + OVER, place + OVER, place):
            self.go(kinematics.reach(above))

    def call(self, service: str) -> tuple[bool, str]:
        """Call a std_srvs/srv/Trigger and wait for its answer."""
        done, answers = threading.Event(), []

        def answered(values: Message | None, error: str | None) -> None:
            answers.append((bool(values and values["success"]), error or str(values and values["message"])))
            done.set()

        # A twin that is filmed draws before it is reset.
        self.transport.call_service(service, "std_srvs/srv/Trigger", {}, answered, 60.0)
        done.wait(62.0)
        return answers[0] if answers else (False, "no answer")

    def reset(self, home: np.ndarray) -> None:
        """Put the bottle back, and the twin to its home pose [6]. On a real table, somebody does."""
        before = self.newest.time
        self.call("/sim/reset")
        while self.newest.time <= before or np.abs(self.newest.q - home).max() > 0.02:
            self.state()  # those of before were still on their way

    def close(self) -> None:
        """Leave."""
        self.transport.close()


def start(number: int, around: np.ndarray = START) -> np.ndarray:
    """A place [3] to start at, the same for everybody who has that number."""
    return around + AROUND * np.random.default_rng(number).uniform(-1, 1, 3)


class Kinematics:
    """From places and velocities of the tool, which always points down, to those of the joints."""

    def __init__(self) -> None:
        self._model = mujoco.MjModel.from_xml_path(str(Path(__file__).parent / "scene.xml"))
        self._data = mujoco.MjData(self._model)
        self._tool = self._model.body(TOOL[0].split("/")[1]).id
        self.home = self._model.key("home").qpos[: len(JOINTS)].copy()
        self._turned = self._at(self.home)[1]

    def _at(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._data.qpos[: len(JOINTS)] = q
        mujoco.mj_forward(self._model, self._data)
        return self._data.xpos[self._tool].copy(), self._data.xmat[self._tool].reshape(3, 3).copy()

    def velocities(self, q: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Joint velocities [6] for one of the tool [3], m/s."""
        _, turned = self._at(q)
        turning = 0.5 * sum(np.cross(turned[:, i], self._turned[:, i]) for i in range(3))
        jacobian = np.zeros((2, 3, self._model.nv))
        mujoco.mj_jacBody(self._model, self._data, jacobian[0], jacobian[1], self._tool)
        matrix = np.concatenate(jacobian)[:, : len(JOINTS)]
        return matrix.T @ np.linalg.solve(matrix @ matrix.T + 1e-5 * np.eye(6), np.concatenate([velocity, 2 * turning]))

    def reach(self, place: np.ndarray) -> np.ndarray:
        """Joint positions [6] with the tool at a place [3]."""
        q = self.home.copy()
        for _ in range(200):
            q = q + 0.5 * self.velocities(q, place - self._at(q)[0])
        return q
