"""The rhythm of a policy node: a tick every period at absolute times, or one for every step of a locked simulation."""

from __future__ import annotations

import time

import numpy as np

from robot_bridge.node.policy_node import PolicyNode
from robot_bridge.node.timing import Timing

BEHIND = 0.1  # of a period that a tick is to come after its input: inputs come a little late at times
DRIFT = 0.005  # of a period
GAP = 1.5  # periods of the policy's between two observations in lock-step, beyond which an episode began anew
STALLED = 5  # periods without a tick after which what was planned is out of date


def run(node: PolicyNode, duration: float | None = None) -> None:
    """Tick at absolute times until `shut_down`, or for `duration` seconds; see `shift`."""
    period, begin = 1.0 / node.robot.rate, node.clock()
    deadline = begin
    while not (node.ending and node.state not in ("active", "stopping")):
        if duration is not None and deadline - begin > duration:
            node.shut_down()
            duration = None
        now = node.clock()
        if now < deadline:
            time.sleep(deadline - now)
        woke = node.clock()
        missed = int((woke - deadline) / period)
        if missed > STALLED:
            node.halt("timing", f"the loop stood still for {missed} periods", cut=True)
        node.tick(woke)
        done = node.clock()
        left_out = node.timing.tick(woke - deadline, done - woke, node.age + done - woke if node.sent else np.nan)
        deadline += (left_out + 1) * period
        node.timing.seconds = deadline - begin
        deadline += shift(node, period)


def shift(node: PolicyNode, period: float) -> float:
    """By how much the grid moves, s, so that ticks follow closely on the first input's messages.

    Two loops of one rate that know nothing of each other are up to a period apart, and a policy feels it. While the
    robot moves it is a `DRIFT` of a period at most.
    """
    if not node.since < 2.0 * period:  # silent, or slower than the loop
        return 0.0
    error = BEHIND * period - node.since
    error -= period * round(error / period)
    most = period if node.state in ("inactive", "fault") else DRIFT * period
    return min(most, max(-most, error))


def run_lock_step(node: PolicyNode, timeout: float = 30.0) -> None:
    """One tick for every observation of a simulation that waits for its command; enables itself.

    Returns after `shut_down`, or when nothing came for `timeout` seconds.
    """
    done, node.timing = 0.0, Timing(np.inf)
    while not node.ending:
        if not node.arrived.wait(timeout):
            node.say(f"no new observation for {timeout:g} s: the simulation has ended")
            return
        node.arrived.clear()
        stamp = node.observer.complete()
        if stamp is None or stamp <= done:
            continue
        if node.state != "active":
            enabled, why = node.enable()
            if not enabled:
                node.say(f"not enabled: {why}")
                continue
        if stamp - done > GAP / node.policy.description.control_rate:  # a new episode
            node.inference.restart()
        node.inference.advance()
        done, begin = stamp, node.clock()
        outcome = node.tick(begin)
        while not node.sent and not node.ending:  # the simulation waits for it
            time.sleep(0.005)
            node.sent = node.send(outcome, stamp, begin)
        node.timing.tick(0.0, node.clock() - begin)
