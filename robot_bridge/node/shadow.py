"""Shadow: what a policy would command, compared with what another controller commands meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from robot_bridge.counters import Counters
from robot_bridge.guards.decision import Outcome
from robot_bridge.node.outputs import hear
from robot_bridge.node.sender import Sender, TopicSender
from robot_bridge.transport import Closable, Message, Transport

KEPT = 10_000  # ticks


class Shadow:
    """Listens to the outputs. Velocities are compared with velocities, efforts with efforts, and positions one period
    ahead with positions: those of arrays and of trajectories."""

    def __init__(self, senders: list[Sender], counters: Counters) -> None:
        self._senders = [s for s in senders if isinstance(s, TopicSender) and s.listens_to]
        self._deaf = [sender.output.topic for sender in senders if sender not in self._senders]
        self._counters = counters
        self._heard: dict[int, tuple[Message, float]] = {}
        self.joints = [name for sender in self._senders for name in sender.output.joints]
        """The joints that are compared."""
        self.differences: list[np.ndarray] = []
        """Ours minus the other controller's, [joints] each, of the latest ticks."""
        self.problem = ""
        """What was wrong with the latest message that could not be read."""

    def open(self, transport: Transport, clock: Callable[[], float]) -> list[Closable]:
        """Listen."""

        def listener(number: int) -> Callable[[Message], None]:
            def listen(message: Message) -> None:
                self._heard[number] = message, clock()

            return listen

        return [
            transport.subscribe(str(sender.listens_to), sender.type, listener(i))
            for i, sender in enumerate(self._senders)
        ]

    def compare(self, outcome: Outcome, now: float, period: float) -> None:
        """Of one tick, if all outputs were heard."""
        pairs = []
        for i, sender in enumerate(self._senders):
            if i not in self._heard:
                return
            message, came = self._heard[i]
            theirs, wrong = hear(sender, message, now - came + period)
            if wrong:
                self._counters.add("rejected.shadow")
                self.problem = f"{sender.output.topic}: {wrong}"
            if theirs is None:
                return
            pairs.append(sender.commanded(outcome) - theirs)
        if pairs:
            self.differences.append(np.concatenate(pairs))
            del self.differences[:-KEPT]

    def summary(self) -> str | dict[str, str]:
        """By joint, or why nothing was compared."""
        if self.differences:
            sizes = np.abs(self.differences)
            return {
                joint: f"mean {mean:.4f}, max {most:.4f}"
                for joint, mean, most in zip(self.joints, sizes.mean(0), sizes.max(0), strict=True)
            }
        if not self._senders:
            return f"nothing was compared: goals of {', '.join(self._deaf)} cannot be heard by others"
        silent = [sender.output.topic for i, sender in enumerate(self._senders) if i not in self._heard]
        if silent:
            return f"nothing was compared: nobody commanded on {', '.join(silent)}"
        return f"nothing was compared: {self.problem or 'nothing was commanded'}"
