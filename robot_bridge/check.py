"""Pre-flight: is everything there before a robot moves? `python -m robot_bridge.check --policy … --robot … --url …`.

Looks and listens only; sends nothing but service calls to rosapi and pings.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from robot_bridge.errors import ArgumentParser, command, exit_with, require
from robot_bridge.guards.decision import Chain
from robot_bridge.node.interlocks import Permits
from robot_bridge.node.observation import Observer
from robot_bridge.node.peers import TIMEOUT, answer
from robot_bridge.node.start import StartPose
from robot_bridge.robot.bundle import Policy
from robot_bridge.robot.robot import ACTIONS, OUTPUT_TYPES, Robot
from robot_bridge.run import load
from robot_bridge.transport import Message, RosbridgeTransport, Transport
from robot_bridge.transport.connection import add_options, connection

DESCRIPTION = """Check a policy, a robot config and a running robot against each other, before anything moves.

Exit status 0 if all is well. Sends no command."""

PINGS = 20
PATIENCE = 3.0  # periods of the loop that a policy may take to plan a chunk
ROUND_TRIP = 0.05  # s of the rosbridge's p99 round trip beyond which a loop of 50 Hz is not comfortable


@dataclass
class Findings:
    """What was found, line by line."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def add(self, ok: bool | None, text: str) -> None:
        """`ok` None is a warning."""
        self.lines.append(({True: "ok", False: "WRONG", None: "note"}[ok], text))

    @property
    def wrong(self) -> int:
        """How many things are wrong."""
        return sum(mark == "WRONG" for mark, _ in self.lines)


DEAF = (
    "; it has a publisher: a rosbridge_server that was subscribed before the publisher came may be deaf to it; end "
    "what subscribes to it, or restart the rosbridge"
)
GHOSTS = (
    "a rosbridge_server goes on offering an action after its server has ended, and never tells that a goal was "
    "refused: what it lists says little; --transport rclpy does without it"
)


@dataclass
class Heard:
    """What came on one topic."""

    times: list[float] = field(default_factory=list)
    last: Message = field(default_factory=dict)


def check(transport: Transport, policy: Policy, robot: Robot, seconds: float = 2.0) -> Findings:
    """Listen for `seconds`, ask, compare."""
    findings, observer = Findings(), Observer(policy, robot)
    heard = [Heard() for _ in robot.inputs]

    def listener(number: int) -> Callable[[Message], None]:
        def hear(message: Message) -> None:
            heard[number].times.append(time.monotonic())
            heard[number].last = message
            observer.receive(number, message)

        return hear

    permits = Permits(robot, transport, time.monotonic)
    permits.open()
    subscriptions = observer.transforms.open(transport)
    subscriptions += [transport.subscribe(s.topic, s.type, listener(i)) for i, s in enumerate(robot.inputs)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        permits.look(time.monotonic())
        time.sleep(min(0.1, max(0.0, end - time.monotonic())))
    snapshot, refusals = observer.snapshot(), permits.told(time.monotonic())
    permits.close()
    for subscription in subscriptions:
        subscription.close()
    topics(findings, transport, robot)
    rates(findings, transport, robot, heard, seconds)
    for name, count in observer.counters.snapshot().items():
        _, why, topic = name.split(".", 2)
        told = f": {observer.complaints[topic]}" if why == "malformed" else ", by their stamps"
        findings.add(False, f"{count} messages of {topic} were rejected as {why}{told}")
    observation(findings, policy, robot, snapshot.observation, snapshot.position)
    for name, why in refusals:
        let_go = permits.dead_man is not None and name == permits.dead_man.name
        findings.add(not why or (None if let_go else False), why or f"motion is allowed by {name}")
    start_pose(findings, StartPose(policy.description, robot), snapshot.position)
    control(findings, policy, robot)
    latency(findings, transport)
    return findings


def topics(findings: Findings, transport: Transport, robot: Robot) -> None:
    """Types of all topics and actions, as the graph says."""
    found, error = answer(lambda done: transport.topics_and_types(done, TIMEOUT))
    if error is not None:
        findings.add(None, f"the graph cannot be asked ({error}): is rosapi running?")
        return
    wanted = [(s.topic, s.type, "published") for s in robot.inputs]
    wanted += [(o.topic, OUTPUT_TYPES[o.kind], "taken by a controller") for o in robot.outputs if o.kind not in ACTIONS]
    if robot.dead_man is not None:
        wanted.append((robot.dead_man.topic, robot.dead_man.type, "published"))
    wanted += [(interlock.topic, interlock.type, "published") for interlock in robot.interlocks]
    for topic, kind, how in wanted:
        have = found.get(topic)
        if have is None:
            findings.add(False, f"{topic} does not exist: expected it to be {how} as {kind}")
        else:
            findings.add(have == kind, f"{topic} is {have}" + ("" if have == kind else f", expected {kind}"))
    actions = [action for output in robot.outputs for action in output.actions()]
    if actions:
        servers, error = answer(lambda done: transport.action_servers(done, TIMEOUT))
        for action in actions:
            findings.add(action in (servers or []), f"action server {action}" + (f" ({error})" if error else ""))
        if isinstance(transport, RosbridgeTransport):
            findings.add(None, GHOSTS)


def rates(findings: Findings, transport: Transport, robot: Robot, heard: list[Heard], seconds: float) -> None:
    """Whether inputs come often and evenly enough for their maximum age."""
    for source, what in zip(robot.inputs, heard, strict=True):
        if len(what.times) < 2:
            text = f"{source.topic}: {len(what.times)} messages in {seconds:g} s, expected a stream"
            publishers, _ = answer(partial(transport.publishers, source.topic))
            findings.add(False, text + (DEAF if publishers and not what.times else ""))
            continue
        gap, rate = float(np.diff(what.times).max()), (len(what.times) - 1) / (what.times[-1] - what.times[0])
        text = f"{source.topic}: {rate:.1f} Hz, longest gap {1000 * gap:.0f} ms (may be {1000 * source.max_age:.0f})"
        findings.add(gap <= source.max_age, text)
        if source.check_stamps and not what.last.get("header", {}).get("stamp", {}).get("sec"):
            findings.add(None, f"{source.topic} has no stamps: messages that were delayed cannot be told from new ones")


def observation(findings: Findings, policy: Policy, robot: Robot, values: np.ndarray, position: np.ndarray) -> None:
    """Names, units and limits, by the numbers that came."""
    entries = policy.description.observations
    topics, missing = {source.topic for source in robot.inputs}, []
    for entry, value in zip(entries, values, strict=True):
        if not np.isfinite(value):
            source = entry.recorded
            lacking = source and source.topic not in topics and f" (recorded on {source.topic}, no input of the config)"
            missing.append(entry.name + (lacking or ""))
    findings.add(
        not missing, f"missing in the observation: {', '.join(missing)}" if missing else "observation complete"
    )
    unmeasured = [n for n, q in zip(robot.joints.values(), position, strict=True) if not np.isfinite(q)]
    if unmeasured:
        findings.add(False, f"no input gives the position of {', '.join(unmeasured)}")
    if missing or unmeasured:
        return
    novelty = float(np.max(policy.novelty(values, np.atleast_2d(policy.infer(policy.repeated(values)))[0])))
    if unlike := policy.outside(values):
        findings.add(False, f"far out of the training data (units? zero?): {', '.join(unlike)}")
    if policy.description.novelty:
        findings.add(None if novelty > 1.0 else True, f"novelty {novelty:.2f} (1 is what held-out data reach)")
    else:
        findings.add(None, "no novelty score: the bundle was made without data")
    if robot.limits is None:
        return
    limits, far = robot.limits, robot.limits.far_beyond(position)
    outside = np.flatnonzero((position < limits.low) | (position > limits.high))
    for i in outside:
        text = f"joint {list(robot.joints)[i]} is at {position[i]:.3f}, outside of {limits.low[i]:.3f} to "
        hint = "" if far[i] else ": it can only come back"
        findings.add(False if far[i] else None, f"{text}{limits.high[i]:.3f}{hint}")
    if not len(outside):
        findings.add(True, f"{len(position)} joints are within their limits")


def start_pose(findings: Findings, start: StartPose, position: np.ndarray) -> None:
    """How far the robot is from where the training episodes began, and whether it can go there by itself."""
    if start.known:
        far = start.far(position)
        findings.add(None if far else True, far or "near to where training episodes began")
    if obstacle := start.obstacle():
        findings.add(None, f"no way to the start pose: {obstacle}")


def control(findings: Findings, policy: Policy, robot: Robot) -> None:
    """Rates, and what the guards cost."""
    ratio = robot.rate / policy.description.control_rate
    if ratio < 1:
        findings.add(
            False, f"the loop ({robot.rate:g} Hz) is slower than the policy ({policy.description.control_rate:g} Hz)"
        )
    elif abs(ratio - round(ratio)) > 1e-6:
        findings.add(None, f"the loop's rate is {ratio:.2f} times the policy's: a whole number is steadier")
    Chain.of(robot.setup())  # the workspace's model is there
    times: list[float] = []
    values = policy.repeated(np.array([0.5 * (entry.low + entry.high) for entry in policy.description.observations]))
    while len(times) < 20 or (len(times) < 200 and sum(times) < 2.0):
        begin = time.perf_counter()
        policy.infer(values)
        times.append(time.perf_counter() - begin)
    slow = float(np.percentile(times, 99))
    patient = policy.description.model.chunk > 1 and slow < PATIENCE / robot.rate
    findings.add(
        slow < 0.2 / robot.rate or (None if patient else False),
        f"one inference takes {1e6 * np.median(times):.0f} µs, p99 {1e6 * slow:.0f} µs; the loop stands still then",
    )


def latency(findings: Findings, transport: Transport) -> None:
    """Round trips of a service of the rosbridge's."""
    times = []
    for _ in range(PINGS):
        begin = time.monotonic()
        _, error = answer(
            lambda done: transport.call_service("/rosapi/get_time", "rosapi_msgs/srv/GetTime", {}, done, TIMEOUT)
        )
        if error is not None:
            findings.add(None, f"round trips cannot be measured ({error})")
            return
        times.append(time.monotonic() - begin)
    p50, p99 = np.percentile(times, (50, 99))
    findings.add(True if p99 < ROUND_TRIP else None, f"round trip {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms")


def parser() -> ArgumentParser:
    parser = ArgumentParser(prog="robot_bridge.check", description=DESCRIPTION)
    parser.add_argument(
        "--policy", type=Path, required=True, help="folder of the bundle (lapo_tf.export, robot_bridge.bundle)"
    )
    parser.add_argument("--robot", required=True, help="config file, or name of one that comes along, e.g. franka")
    add_options(parser)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to listen")
    parser.add_argument("--list", action="store_true", help="only list what the policy observes and commands")
    return parser


@command
def main() -> None:
    """The command."""
    args = parser().parse_args()
    if args.list:
        d = Policy.load(args.policy).description
        for entry in d.observations:
            fixed = "" if entry.constant is None else f"   constant {entry.constant:g}"
            print(f"observes   {entry.name:36s} {entry.low:9.3f} to {entry.high:9.3f} {entry.unit}{fixed}")
        for action in d.actions:
            low, high = action.scale * action.low, action.scale * action.high
            print(f"commands   {action.joint + '/' + action.quantity:36s} {low:9.3f} to {high:9.3f} {action.unit}")
        return
    require(args.seconds > 0, "--seconds", args.seconds, "above 0")
    policy, robot = load(args.policy, args.robot)
    transport = connection(args)
    transport.start()
    try:
        findings = check(transport, policy, robot, args.seconds)
    finally:
        transport.close()
    for mark, text in findings.lines:
        print(f"{mark:6s} {text}")
    if findings.wrong:
        exit_with(f"{findings.wrong} thing(s) are wrong: mend them before the robot moves")
    print("all is well; next: python -m robot_bridge.run with the same options and --dry-run")


if __name__ == "__main__":
    main()
