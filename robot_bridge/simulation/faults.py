"""What may break between a policy node and its robot, and how it is broken on the bench."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import get_args

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from robot_bridge.node.policy_node import STOP_ALL
from robot_bridge.robot.cartesian import CARTESIAN
from robot_bridge.robot.robot import OutputKind
from robot_bridge.simulation.bench import FLOOD, START_WITHIN, Bench
from robot_bridge.simulation.bench_arm import CONTROLLER, EXTERNAL
from robot_bridge.transport import RosbridgeTransport

AFTER = 1.5  # s that a fault is watched
JOINTS = tuple(kind for kind in get_args(OutputKind) if kind not in CARTESIAN)

Act = Callable[[Bench], Iterator[None]]


@dataclass(frozen=True)
class Fault:
    """Something that breaks.

    Attributes:
        act: breaks it, yields, mends it.
        must_stop: whether the arm has to stop for it.
        cut: whether nothing can be said to the arm meanwhile: where commands carry no end of their own, its controller
            then has the time-out that the node asks for at its start; otherwise it has none.
        gone: whether the node's process has ended.
        spoils: whether the node is not as it was before, once it is over.
        kinds: those of outputs that it may befall; None: all.
    """

    act: Act
    must_stop: bool = True
    cut: bool = False
    gone: bool = False
    spoils: bool = False
    kinds: tuple[str, ...] | None = None


def _wait(seconds: float = AFTER) -> Iterator[None]:
    time.sleep(seconds)
    yield


def _kill(seconds: float) -> Act:
    def act(bench: Bench) -> Iterator[None]:
        bench.server.kill()
        time.sleep(seconds)
        bench.server.start()
        yield

    return act


def _freeze(bench: Bench) -> Iterator[None]:
    bench.server.freeze(6.0)
    return _wait(6.0)


def _sensor(state: str) -> Act:
    def act(bench: Bench) -> Iterator[None]:
        bench.simulation.sensor = state
        yield from _wait()
        bench.simulation.sensor = "good"

    return act


def _dead_man(says: bool | None) -> Act:
    def act(bench: Bench) -> Iterator[None]:
        hand = bench.simulation.cell.hand
        assert hand is not None
        hand.holds = says
        yield from _wait()
        hand.holds = True

    return act


def _external_stop(bench: Bench) -> Iterator[None]:
    bench.simulation.cell.stops = EXTERNAL
    yield from _wait()
    bench.simulation.cell.stops = ""


def _controller_off(bench: Bench) -> Iterator[None]:
    """As its manager tells; the arm goes on doing what it is told, so that the node has to stop it."""
    bench.simulation.cell.states[CONTROLLER] = "inactive"
    yield from _wait()
    bench.simulation.cell.states[CONTROLLER] = "active"


def _whim(whim: str) -> Act:
    def act(bench: Bench) -> Iterator[None]:
        bench.say_whim(whim)
        yield from _wait()
        bench.say_whim("")

    return act


def _signal(*signals: tuple[int, float]) -> Act:
    def act(bench: Bench) -> Iterator[None]:
        for number, seconds in signals:
            bench.signal_node(number)
            time.sleep(seconds)
        yield

    return act


def _second_node(bench: Bench) -> Iterator[None]:
    first, begin = bench.watcher.node["node"], time.monotonic()
    bench.start_node()
    while bench.watcher.node["node"] == first and time.monotonic() - begin < START_WITHIN:
        time.sleep(0.01)
    bench.broke = time.monotonic()  # it took its time to start
    time.sleep(AFTER)
    for node in bench.nodes:  # the second has taken the services over: neither is of use any more
        node.kill()
    yield


def _stop(bench: Bench) -> Iterator[None]:
    bench.watcher.transport.publish(STOP_ALL, {})
    return _wait()


def _flood(bench: Bench) -> Iterator[None]:
    ending = threading.Event()
    sender = RosbridgeTransport(bench.server.url)
    sender.advertise(FLOOD, "sensor_msgs/msg/JointState")
    sender.start()

    def flood() -> None:
        message = {"header": {"stamp": {"sec": 1, "nanosec": 0}, "frame_id": ""}, "name": ["x"] * 9}
        while not ending.wait(0.005):
            for _ in range(5):
                sender.publish(FLOOD, message | {"position": [0.0] * 9})

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    time.sleep(AFTER)
    yield
    ending.set()
    thread.join()
    sender.close()


def _fuzz(bench: Bench) -> Iterator[None]:
    rng = random.Random(0)
    good = ['{"op":"publish","topic":"/joint_states","msg":{"name":["a"],"position":[1e999]}}', '{"op":"subscribe"}']
    end = time.monotonic() + AFTER
    while time.monotonic() < end:
        with contextlib.suppress(WebSocketException, OSError), connect(bench.server.url, open_timeout=1.0) as websocket:
            for _ in range(20):
                text = bytearray(rng.choice(good).encode())
                text[rng.randrange(len(text))] = rng.randrange(256)
                websocket.send(bytes(text) if rng.random() < 0.5 else text.decode(errors="replace"))
                time.sleep(0.002)
    yield


def _jump(seconds: float) -> Act:
    def act(bench: Bench) -> Iterator[None]:
        bench.simulation.time += seconds
        return _wait()

    return act


def _signals() -> dict[str, Fault]:
    """What may befall the node's process, where the platform has such signals (Windows has not)."""
    if not hasattr(signal, "SIGSTOP"):
        return {}
    return {
        "node killed (SIGKILL)": Fault(_signal((signal.SIGKILL, AFTER)), cut=True, gone=True),
        "node frozen, 3 s": Fault(_signal((signal.SIGSTOP, 3.0), (signal.SIGCONT, 0.5)), cut=True),
        "node frozen, 0.25 s": Fault(_signal((signal.SIGSTOP, 0.25), (signal.SIGCONT, 0.5))),
        "terminal hangs up (SIGHUP)": Fault(_signal((signal.SIGHUP, AFTER)), gone=True),
    }


FAULTS: dict[str, Fault] = {
    "server killed, 2 s": Fault(_kill(2.0), cut=True),
    "server killed, 8 s": Fault(_kill(8.0), cut=True),
    "server frozen, 6 s": Fault(_freeze, cut=True),
    **_signals(),
    "second node of the same name": Fault(_second_node, gone=True, spoils=True),
    "policy raises": Fault(_whim("raise")),
    "policy says NaN": Fault(_whim("nan")),
    "stop on its topic": Fault(_stop),
    "dead man lets go": Fault(_dead_man(False)),
    "dead man's topic is silent": Fault(_dead_man(None)),
    "external stop": Fault(_external_stop),
    "controller no longer active": Fault(_controller_off),
    "sensor stopped": Fault(_sensor("silent")),
    "sensor says null (NaN of a rosbridge)": Fault(_sensor("nan")),
    "sensor of wrong types": Fault(_sensor("mistyped")),
    "sensor repeats its last message": Fault(_sensor("frozen")),
    "pose in another frame": Fault(_sensor("elsewhere"), kinds=CARTESIAN),
    "joint order changed": Fault(_sensor("reversed"), must_stop=False, kinds=JOINTS),
    "robot's clock set back by 100 s": Fault(_jump(-100.0), must_stop=False),
    "robot's clock set forward by 100 s": Fault(_jump(100.0), must_stop=False),
    "flood of 1,000 messages/s": Fault(_flood, must_stop=False),
    "slow callback (20 ms at 100 Hz) beside": Fault(_whim("slow"), must_stop=False, spoils=True),
    "malformed frames": Fault(_fuzz, must_stop=False),
}
