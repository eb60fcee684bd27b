"""A simulated robot as a ROS node.

Topics and controllers are those that the robot's config names: its inputs are published, of its outputs commands are
taken. The first JointState input carries the robot's joints, the last one all others. Without a config these are
/joint_states and /object_states, and, by what the policy's actions are, /velocity_controller/commands,
/effort_controller/commands or /position_controller/commands (std_msgs/Float64MultiArray in the order of the actions),
and for velocities /joint_trajectory_controller/joint_trajectory and the action
/joint_trajectory_controller/follow_joint_trajectory.

Besides: /clock, /sim/status (std_msgs/String of JSON), /sim/truth (sensor_msgs/JointState: the joints without the
sensor's noise and faults, where the world tells them). Services: /sim/reset (std_srvs/Trigger) begins the next episode,
/sim/lock_step (std_srvs/SetBool) locks the steps to the commands or lets time run. To provoke faults, a std_msgs/String
on /sim/sensor says what becomes of the first input: "good", "silent", "frozen" (the last message again and again),
"nan", "mistyped" (texts for numbers), "reversed" (its joints in the opposite order) or "elsewhere" (in another frame).

How commands are treated: `robot_bridge.simulation.controllers`. What must allow motion: `robot_bridge.simulation.cell`.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from robot_bridge.counters import Counters
from robot_bridge.interfaces import get_interface
from robot_bridge.node.sender import time_message
from robot_bridge.robot.description import Description
from robot_bridge.robot.robot import JOINT_STATE, Input, Output, Robot, simulated
from robot_bridge.robot.units import QUANTITIES, Conversion
from robot_bridge.simulation.cell import Cell
from robot_bridge.simulation.controller import COMMAND_TIMEOUT, Host
from robot_bridge.simulation.controllers import Controllers
from robot_bridge.simulation.viewer import Viewer
from robot_bridge.simulation.world import World
from robot_bridge.transport import Message, Respond, Transport

STATUS = 0.1  # s between reports of the status in real time
REPEAT = 0.5  # s after which a locked simulation says its state again
SENSOR = ("good", "silent", "frozen", "nan", "mistyped", "reversed", "elsewhere")
TRAJECTORY = "/joint_trajectory_controller/joint_trajectory"
FOLLOW = "/joint_trajectory_controller/follow_joint_trajectory"


def plain(policy: Description) -> Robot:
    """The robot that a policy's own environment is where no config says otherwise: see above."""
    robot = simulated(policy)
    joints = tuple(robot.joints)
    outputs = list(robot.outputs)
    if robot.outputs[0].kind == "velocity":
        outputs += [Output("trajectory", TRAJECTORY, joints), Output("follow", FOLLOW, joints)]
    return replace(robot, outputs=tuple(outputs))


@dataclass
class Episode:
    """One episode's result so far."""

    number: int
    seed: int
    steps: int = 0
    score: float = 0.0
    done: bool = False
    completions: list[str] = field(default_factory=list)
    success: bool | None = None


class Reported:
    """The joints that a JointState input carries, and how it says them."""

    def __init__(self, names: list[str], source: Input, robot: Robot) -> None:
        """`names`: the world's, robot's joints and objects."""
        policy = {robot_name: name for name, robot_name in robot.joints.items()}
        said: dict[str, str] = {}
        for name in names:
            said.setdefault(robot.said(policy.get(name, name), source), name)
        self._said = list(said)
        self._numbers = {q: [f"{name}/{q}" for name in said.values()] for q in QUANTITIES}
        self._units = {
            q: Conversion([robot.unit(f"{policy.get(name, name)}/{q}", source) for name in said.values()])
            for q in QUANTITIES
        }

    def message(self, numbers: dict[str, float]) -> Message:
        """The JointState of the world's numbers; 0 where one is not measured."""
        message: Message = {"name": self._said}
        for quantity, keys in self._numbers.items():
            known = [numbers.get(key) for key in keys]
            values = np.array([value or 0.0 for value in known])
            message[quantity] = [] if set(known) == {None} else self._units[quantity].said(values).tolist()
        return message


class Simulation:
    """A world behind topics. `run` steps it until `stop`."""

    def __init__(
        self,
        transport: Transport,
        world: World,
        robot: Robot,
        *,
        lock_step: bool = False,
        speed: float = 1.0,
        seed: int = 0,
        video: Path | None = None,
        viewer: bool = False,
        hold_dead_man: bool = False,
        command_timeout: float = COMMAND_TIMEOUT,
        say: Callable[[str], None] = print,
    ) -> None:
        """
        Args:
            world: what is simulated; drawn, if a video is wanted.
            robot: the topics and controllers.
            speed: simulated seconds per second, in real time.
            seed: episode i is reset with seed + i.
            video: a film of every episode goes into this folder.
            viewer: show it in a window.
            hold_dead_man: say on the topic of the robot's dead-man switch that it is held; see `Cell`.
            command_timeout: s of simulated time that a velocity or an effort is in force.

        Raises:
            UserError: there is no screen.
        """
        self.transport, self.world, self.robot = transport, world, robot
        self.lock_step, self.speed, self.video, self._say = lock_step, speed, video, say
        self.max_steps = world.max_steps
        self.names = list(robot.joints.values())
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
        host = Host(lambda: self.time, self._submit, self.counters, world.ahead, command_timeout)
        self.controllers = Controllers(robot, host)
        self.cell = Cell(robot, self.controllers, transport, self._submit, hold=hold_dead_man)
        self._closables: list[Any] = []
        self._reset()
        self._states = self._reported()
        fields = {s.topic: get_interface(s.type).get_fields_and_field_types() for s in robot.inputs}
        self._stamped = {topic for topic, names in fields.items() if "header" in names}
        self._viewer = Viewer(world.scene) if viewer else None

    def _reported(self) -> dict[str, Reported]:
        """By topic, what its JointState carries."""
        sources = [source for source in self.robot.inputs if source.type == JOINT_STATE]
        names = list(dict.fromkeys(name.rpartition("/")[0] for name in self.world.numbers()))
        if len(sources) < 2:
            return {source.topic: Reported(names, source, self.robot) for source in sources}
        mine, others = ([name for name in names if (name in self.names) is is_mine] for is_mine in (True, False))
        first, last = sources[0], sources[-1]
        return {
            first.topic: Reported(mine, first, self.robot),
            last.topic: Reported(others, last, self.robot),
        }

    # Connections ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Declare everything."""
        add, transport = self._closables.append, self.transport
        for source in self.robot.inputs:
            add(transport.advertise(source.topic, source.type))
        if self.world.truth() is not None:
            add(transport.advertise("/sim/truth", JOINT_STATE))
        self._closables += self.cell.open()
        add(transport.advertise("/clock", "rosgraph_msgs/msg/Clock"))
        add(transport.advertise("/sim/status", "std_msgs/msg/String"))
        for controller in self.controllers.all:
            add(controller.open(transport))
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
        self.world.close()

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
        if self.sensor == "nan":  # null, in JSON
            return _with_numbers(message, None)
        if self.sensor == "mistyped":
            return _with_numbers(message, "0.1")
        if self.sensor == "elsewhere":
            return message | {"header": message.get("header", {}) | {"frame_id": "elsewhere"}}
        if self.sensor == "reversed":
            return message | {name: message[name][::-1] for name in ("name", *QUANTITIES) if name in message}
        return None if self.sensor == "silent" else self._sensed

    def _on_reset(self, _: Message, respond: Respond) -> None:
        def reset() -> None:
            self._reset()
            respond({"success": True, "message": f"episode {self.episode.number}, seed {self.episode.seed}"})

        self._submit(reset)

    def _on_lock(self, request: Message, respond: Respond) -> None:
        wanted = request.get("data") is True

        def lock() -> None:
            if wanted and self.world.step_dt < self.world.dt:
                respond({"success": False, "message": "this simulation must be started with --lock-step"})
                return
            self.lock_step = wanted
            respond({"success": True, "message": "locked" if wanted else "time runs"})

        self._submit(lock)

    # Simulating -------------------------------------------------------------------------------------------------------

    def run(self, episodes: int | None = None) -> None:
        """Step until `stop`, or until that many episodes are done; resets by itself then, after each."""
        deadline, step = time.monotonic(), self.world.step_dt / self.speed
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
            if self.controllers.commanded:
                break
            if not self.lock_step:
                return
        if not self._ending.is_set() and not self.episode.done:
            self._advance()
            self.controllers.forget_arrays()

    def _advance(self) -> None:
        """One control step, or substep of one."""
        commanded, reference = self.controllers.commanded, self.controllers.reference(self.world.position)
        self.time += self.world.step_dt
        if self.episode.done or (not commanded and self.episode.steps == 0):
            return  # an episode begins with its first command, and stands after its last step
        episode, step = self.episode, self.world.step(reference)
        if not step.ended:
            return
        episode.steps += 1
        episode.score += step.reward
        episode.completions, episode.success = step.completions, step.success
        episode.done = step.done or episode.steps >= self.max_steps
        if self.video:  # drawing takes longer than a step: in real time, where it stood is drawn later
            self._frames.append(self.world.frame(now=self.lock_step))
        if episode.done:
            self._finish()

    def _reset(self) -> None:
        self._film()
        number, seed = self.episode.number + 1, self.episode.seed + 1
        self.episode = Episode(number, seed)
        self.controllers.clear()
        self.world.reset(seed)
        self.time += 2.0 * self.world.dt  # a new stamp, with a gap: what comes now does not follow on what was

    def _finish(self) -> None:
        episode = self.episode
        self.results.append(episode)
        score = self.world.score(episode.score)
        success = {None: "", True: ", success", False: ", no success"}[episode.success]
        self._say(f"episode {episode.number} (seed {episode.seed}): score {score:.1f}, {episode.steps} steps{success}")

    def _film(self) -> None:
        """Write the film of the episode that is over; nothing is published meanwhile."""
        if not (self.video and self._frames):
            return
        import imageio.v2 as imageio

        frames, self._frames = self._frames, []
        self.video.mkdir(parents=True, exist_ok=True)
        path = self.video / f"episode-{self.episode.number}.mp4"
        self._say(f"drawing {len(frames)} pictures…")
        imageio.mimsave(path, [self.world.draw(frame) for frame in frames], fps=round(1.0 / self.world.dt))
        self._say(f"film: {path}")

    def _publish(self) -> None:
        if self._viewer is not None:
            self._viewer.show()
        header, numbers = {"stamp": time_message(self.time), "frame_id": ""}, self.world.numbers()
        for i, source in enumerate(self.robot.inputs):
            if source.type == JOINT_STATE:
                message = self._states[source.topic].message(numbers) if source.topic in self._states else None
            else:
                message = self.world.message(source)
            if message is not None and source.topic in self._stamped:
                message = {"header": header | {"frame_id": source.frame}} | message
            if message is not None and i == 0:
                message = self._sense(message)
            if message is not None:
                self.transport.publish(source.topic, message)
        if (truth := self.world.truth()) is not None:
            position, velocity = truth[0].tolist(), truth[1].tolist()
            values = {"name": self.names, "position": position, "velocity": velocity, "effort": []}
            self.transport.publish("/sim/truth", {"header": header} | values)
        self.cell.publish()
        self.transport.publish("/clock", {"clock": time_message(self.time)})
        if self.lock_step or self.time >= self._next_status:
            self._next_status = self.time + STATUS * self.speed
            self.transport.publish("/sim/status", {"data": json.dumps(self.status())})

    def status(self) -> dict[str, Any]:
        """The present episode, and the scores of all that are done."""
        scores = [self.world.score(episode.score) for episode in self.results]
        seeds = [episode.seed for episode in self.results]
        return vars(self.episode) | {
            "scores": scores,
            "seeds": seeds,
            "successes": [episode.success for episode in self.results],
            "time": self.time,
            "counters": self.counters.snapshot(),
        }


def _with_numbers(message: Any, number: Any) -> Any:
    """A message in which `number` stands for each of its own, but for those of the stamp."""
    if isinstance(message, dict):
        return {name: part if name == "header" else _with_numbers(part, number) for name, part in message.items()}
    if isinstance(message, list):
        return [_with_numbers(part, number) for part in message]
    return number if isinstance(message, float) else message
