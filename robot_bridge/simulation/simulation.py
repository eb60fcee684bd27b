"""A simulated robot as a ROS node.

Topics out: /joint_states and /object_states (sensor_msgs/JointState), /clock, /sim/status (std_msgs/String of JSON),
/sim/truth (sensor_msgs/JointState: the joints without the sensor's noise and faults, where the environment tells them).
Commands in, by what the policy's actions are: /velocity_controller/commands, /effort_controller/commands or
/position_controller/commands (std_msgs/Float64MultiArray in the order of /joint_states), and for velocities
/joint_trajectory_controller/joint_trajectory and the action /joint_trajectory_controller/follow_joint_trajectory.
Services: /sim/reset (std_srvs/Trigger) begins the next episode, /sim/lock_step (std_srvs/SetBool) locks the steps to
the commands or lets time run. To provoke faults, a std_msgs/String on /sim/sensor says what becomes of /joint_states:
"good", "silent", "frozen" (the last message again and again) or "nan".

How commands are treated: `robot_bridge.simulation.controllers`.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robot_bridge.counters import Counters
from robot_bridge.node.outputs import time_message
from robot_bridge.robot.bundle import Description
from robot_bridge.simulation.controllers import Controller
from robot_bridge.simulation.environment import JointState, Substeps
from robot_bridge.simulation.viewer import Viewer
from robot_bridge.transport import Message, Respond, Transport

STATUS = 0.1  # s between reports of the status in real time
REPEAT = 0.5  # s after which a locked simulation says its state again
SENSOR = ("good", "silent", "frozen", "nan")
JOINT_STATE = "sensor_msgs/msg/JointState"


@dataclass
class Episode:
    """One episode's result so far."""

    number: int
    seed: int
    steps: int = 0
    score: float = 0.0
    done: bool = False
    completions: list[str] = field(default_factory=list)


class Simulation:
    """An environment behind topics. `run` steps it until `stop`."""

    def __init__(
        self,
        transport: Transport,
        env: Any,
        policy: Description,
        *,
        lock_step: bool = False,
        speed: float = 1.0,
        seed: int = 0,
        video: Path | None = None,
        viewer: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        """
        Args:
            env: from `make_environment`; drawn, if a video is wanted.
            policy: names its numbers.
            speed: simulated seconds per second, in real time.
            seed: episode i is reset with seed + i.
            video: a film of every episode goes into this folder.
            viewer: show it in a window.

        Raises:
            UserError: there is no screen.
        """
        self.env, self.policy = env, policy
        self._inner = env.unwrapped
        self._fine: Substeps | None = self._inner if isinstance(self._inner, Substeps) and not lock_step else None
        self._true: JointState | None = self._inner if isinstance(self._inner, JointState) else None
        self.max_steps = env.spec.max_episode_steps or 1000
        self.transport, self.lock_step, self.speed, self.video, self._say = transport, lock_step, speed, video, say
        self.joints = [action.joint for action in policy.actions]
        self._dt = 1.0 / policy.control_rate
        self._step_dt = self._fine.substep_dt if self._fine else self._dt
        self._groups = self._group()
        self.counters = Counters()
        self.time = 1.0  # of the simulation; it never runs back
        self.sensor = "good"
        self._sensed: Message | None = None
        self.episode = Episode(-1, seed - 1)
        self.results: list[Episode] = []
        self._frames: list[Any] = []
        self._next_status = 0.0
        self._inbox: queue.Queue[Callable[[], None]] = queue.Queue()
        self._commanded = threading.Event()
        self._ending = threading.Event()
        self._position = np.zeros(len(self.joints))
        self.controller = Controller(
            self.joints,
            policy.actions[0].quantity,
            np.array([action.scale for action in policy.actions]),
            self._dt,
            counters=self.counters,
            clock=lambda: self.time,
            submit=self._submit,
        )
        self._closables: list[Any] = []
        self._reset()
        self._viewer = Viewer(self._inner) if viewer else None

    def _group(self) -> dict[str, dict[str, list[tuple[str, int]]]]:
        """Topic -> quantity -> (joint, place in the observation)."""
        groups: dict[str, dict[str, list[tuple[str, int]]]] = {"/joint_states": {}, "/object_states": {}}
        for i, entry in enumerate(self.policy.observations):
            joint, _, quantity = entry.name.rpartition("/")
            if entry.constant is None:
                topic = "/joint_states" if joint in self.joints else "/object_states"
                groups[topic].setdefault(quantity, []).append((joint, i))
        return groups

    # Connections ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Declare everything."""
        add, transport = self._closables.append, self.transport
        for topic in self._groups:
            add(transport.advertise(topic, JOINT_STATE))
        if self._true is not None:
            add(transport.advertise("/sim/truth", JOINT_STATE))
        add(transport.advertise("/clock", "rosgraph_msgs/msg/Clock"))
        add(transport.advertise("/sim/status", "std_msgs/msg/String"))
        self._closables += self.controller.open(transport)
        add(transport.subscribe("/sim/sensor", "std_msgs/msg/String", self._on_sensor))
        add(transport.advertise_service("/sim/reset", "std_srvs/srv/Trigger", self._on_reset))
        add(transport.advertise_service("/sim/lock_step", "std_srvs/srv/SetBool", self._on_lock))

    def close(self) -> None:
        """Undeclare everything, close the environment."""
        for closable in self._closables:
            closable.close()
        self._film()
        if self._viewer is not None:
            self._viewer.close()
        self.env.close()

    def stop(self) -> None:
        """Let `run` return."""
        self._ending.set()
        self._commanded.set()

    def _submit(self, change: Callable[[], None]) -> None:
        """Have something done before the next step, in the thread of `run`."""
        self._inbox.put(change)
        self._commanded.set()

    def _on_sensor(self, message: Message) -> None:
        if message.get("data") in SENSOR:
            self.sensor = message["data"]
        else:
            self.counters.add("refused.sensor")

    def _sense(self, message: Message) -> Message | None:
        """What the sensor makes of the joints' state; None if it says nothing."""
        if self.sensor != "frozen" or self._sensed is None:
            self._sensed = message
        if self.sensor == "nan":  # which a rosbridge hands on as null
            return message | {name: [None] * len(message[name]) for name in ("position", "velocity")}
        return None if self.sensor == "silent" else self._sensed

    def _on_reset(self, _: Message, respond: Respond) -> None:
        def reset() -> None:
            self._reset()
            respond({"success": True, "message": f"episode {self.episode.number}, seed {self.episode.seed}"})

        self._submit(reset)

    def _on_lock(self, request: Message, respond: Respond) -> None:
        wanted = request.get("data") is True

        def lock() -> None:
            if wanted and self._fine is not None:
                respond({"success": False, "message": "this simulation must be started with --lock-step"})
                return
            self.lock_step = wanted
            respond({"success": True, "message": "locked" if wanted else "time runs"})

        self._submit(lock)

    # Simulating -------------------------------------------------------------------------------------------------------

    def run(self, episodes: int | None = None) -> None:
        """Step until `stop`, or until that many episodes are done; resets by itself then, after each."""
        deadline, step = time.monotonic(), self._step_dt / self.speed
        while not self._ending.is_set():
            if self.episode.done and episodes is not None:
                if len(self.results) >= episodes:
                    return
                self._reset()
            if self.lock_step:
                self._locked_step()
                deadline = time.monotonic()
                continue
            self._publish()
            # Commands are in force from the nearest beginning of a step: neither late nor early on average.
            time.sleep(max(0.0, deadline + 0.5 * step - time.monotonic()))
            self._handle_inbox()
            if self.lock_step:
                continue
            self._advance()
            deadline += step
            if (left := deadline - time.monotonic()) > 0:
                time.sleep(left)
            elif left < -1.0:  # cannot keep up: real time is lost, not made up for by running faster
                self.counters.add("lost_seconds", int(-left))
                deadline = time.monotonic()

    def _handle_inbox(self) -> None:
        while True:
            try:
                self._inbox.get_nowait()()
            except queue.Empty:
                return

    def _locked_step(self) -> None:
        """Say the state until a command comes, then take one step with it."""
        while not self._ending.is_set():
            self._publish()
            self._commanded.wait(REPEAT)
            self._commanded.clear()
            self._handle_inbox()
            if self.controller.commanded:
                break
            if not self.lock_step:
                return
        if not self._ending.is_set() and not self.episode.done:
            self._advance()
            self.controller.forget_array()

    def _advance(self) -> None:
        """One control step, or substep of one."""
        commanded, action = self.controller.commanded, self.controller.action(self._position)
        self.time += self._step_dt
        if self.episode.done or (not commanded and self.episode.steps == 0):
            return  # an episode begins with its first command, and stands after its last step
        episode = self.episode
        if self._fine is not None:
            self._observation, reward, done, ended = self._fine.substep(action)
        else:
            zeros = np.zeros(len(self.joints), np.float32)
            self._observation, reward, terminated, truncated, info = self.env.step(zeros if action is None else action)
            done, ended = terminated or truncated, True
            episode.completions = list(info.get("episode_task_completions", []))
        if ended:
            episode.steps += 1
            episode.score += float(reward)
            episode.done = done or episode.steps >= self.max_steps
            if self.video:  # drawing takes longer than a step: in real time, where it stood is drawn later
                self._frames.append(self.env.render() if self.lock_step else self._inner.data.qpos.copy())
            if episode.done:
                self._finish()
        self._measure()

    def _reset(self) -> None:
        self._film()
        number, seed = self.episode.number + 1, self.episode.seed + 1
        self.episode = Episode(number, seed)
        self.controller.clear()
        self._observation, _ = self.env.reset(seed=seed)
        self.time += self._dt  # a new stamp
        self._measure()

    def _measure(self) -> None:
        for joint, i in self._groups["/joint_states"].get("position", []):
            self._position[self.joints.index(joint)] = self._observation[i]

    def _finish(self) -> None:
        episode = self.episode
        self.results.append(episode)
        score = self.policy.normalized(episode.score)
        self._say(f"episode {episode.number} (seed {episode.seed}): score {score:.1f}, {episode.steps} steps")

    def _film(self) -> None:
        """Write the film of the episode that is over; nothing is published meanwhile."""
        if not (self.video and self._frames):
            return
        import imageio.v2 as imageio

        frames, self._frames = self._frames, []
        self.video.mkdir(parents=True, exist_ok=True)
        path = self.video / f"episode-{self.episode.number}.mp4"
        imageio.mimsave(path, [self._draw(frame) for frame in frames], fps=round(self.policy.control_rate))
        self._say(f"film: {path}")

    def _draw(self, frame: np.ndarray) -> np.ndarray:
        """A picture [height, width, 3], or that of joint positions [nq]."""
        if frame.ndim > 1:
            return frame
        import mujoco

        self._inner.data.qpos[:] = frame
        mujoco.mj_forward(self._inner.model, self._inner.data)
        return np.asarray(self.env.render())

    def _publish(self) -> None:
        if self._viewer is not None:
            self._viewer.show()
        header = {"stamp": time_message(self.time), "frame_id": ""}
        for topic, quantities in self._groups.items():
            names = list(dict.fromkeys(joint for pairs in quantities.values() for joint, _ in pairs))
            message: Message = {"header": header, "name": names, "position": [], "velocity": [], "effort": []}
            for quantity, pairs in quantities.items():
                message[quantity] = [float(self._observation[i]) for _, i in pairs]
            sensed = self._sense(message) if topic == "/joint_states" else message
            if sensed is not None:
                self.transport.publish(topic, sensed)
        if self._true is not None:
            position, velocity = self._true.joint_state()
            truth = {"position": position.tolist(), "velocity": velocity.tolist(), "effort": []}
            self.transport.publish("/sim/truth", {"header": header, "name": self.joints, **truth})
        self.transport.publish("/clock", {"clock": time_message(self.time)})
        if self.lock_step or self.time >= self._next_status:
            self._next_status = self.time + STATUS * self.speed
            self.transport.publish("/sim/status", {"data": json.dumps(self.status())})

    def status(self) -> dict[str, Any]:
        """The present episode, and the scores of all that are done."""
        scores = [self.policy.normalized(episode.score) for episode in self.results]
        seeds = [episode.seed for episode in self.results]
        return vars(self.episode) | {
            "scores": scores,
            "seeds": seeds,
            "time": self.time,
            "counters": self.counters.snapshot(),
        }
