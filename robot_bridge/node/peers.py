"""Other nodes and programs that must not be there: asked of the graph before anything is declared."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Any

from robot_bridge.errors import UserError
from robot_bridge.robot.robot import ACTIONS, Robot
from robot_bridge.transport import Transport

TIMEOUT = 5.0  # s for an answer
GONE_WITHIN = 12.0  # s: a rosbridge_server forgets a publisher 10 s after its client went
ASK_EVERY = 1.0  # s


def answer(ask: Callable[[Callable[[Any, str | None], None]], None]) -> tuple[Any, str | None]:
    """The answer of one of the transport's asynchronous questions: values and None, or None and why not."""
    done, answers = Event(), []

    def answered(values: Any, error: str | None) -> None:
        answers.append((values, error))
        done.set()

    ask(answered)
    return answers[0] if done.wait(TIMEOUT + 1.0) else (None, "no answer")


def obstacles(transport: Transport, name: str, robot: Robot, *, commands: bool) -> tuple[list[str], str | None]:
    """Who else offers the services of a node called `name`, or publishes what it would command; and what could not be
    asked, or None."""
    services, error = answer(lambda done: transport.services(done, TIMEOUT))
    found = [f"another node offers {name}/enable"] if services and f"{name}/enable" in services else []
    for output in robot.outputs if commands and error is None else ():
        if output.kind not in ACTIONS:
            topic = output.topic
            publishers, error = answer(lambda done, topic=topic: transport.publishers(topic, done, TIMEOUT))  # type: ignore[misc]
            if publishers:
                found.append(f"{topic} is published by {', '.join(publishers)}")
    return found, error


def require_alone(transport: Transport, name: str, robot: Robot, *, commands: bool, say: Callable[[str], None]) -> None:
    """Wait until nobody stands in the way; nodes that have just ended are remembered by a rosbridge for some time.

    Raises:
        UserError: somebody does, for `GONE_WITHIN` seconds.
    """
    begin, told = time.monotonic(), False
    while True:
        found, error = obstacles(transport, name, robot, commands=commands)
        if error is not None:
            say(f"note: whether another node commands this robot cannot be asked ({error}): is rosapi running?")
        if not found:
            return
        if time.monotonic() - begin > GONE_WITHIN:
            raise UserError(
                f"{'; '.join(found)}: two would command one robot. End the other, or give this one another --name or "
                "--namespace and outputs of its own"
            )
        if not told:
            say(f"waiting up to {GONE_WITHIN:g} s: {'; '.join(found)}")
            told = True
        time.sleep(ASK_EVERY)
