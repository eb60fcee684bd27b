"""What a policy has seen and what it plans: the latest observations, and a chunk of actions of which some are executed.

    step           0     1     2     3     4     5          history 2, chunk 4, horizon 3
    is shown     o0 o0                   o2 o3              oldest first; the first observation stands for those before
    executed       a0    a1    a2    a0    a1    a2         a new chunk after `horizon` actions; the rest is dropped

Nothing survives an interruption: after `drop` the history begins anew, and what was planned is never executed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from robot_bridge.guards.limits import Array
from robot_bridge.robot.bundle import Policy


class Plan:
    """A policy's, in steps of its control rate."""

    def __init__(self, policy: Policy, clock: Callable[[], float]) -> None:
        model = policy.description.model
        self.horizon = model.horizon
        self._history, self._policy, self._clock = model.history, policy, clock
        self._period = 1.0 / policy.description.control_rate
        self._seen: deque[Array] = deque(maxlen=model.history)
        self._actions: Array | None = None
        self._step = 0  # of the chunk
        self.timed = True
        """Whether time goes by while the policy is asked."""
        self.took: deque[float] = deque(maxlen=1000)
        """Seconds that each of the latest askings took."""

    @property
    def spent(self) -> bool:
        """Whether the policy has to be asked before anything is executed."""
        return self._actions is None or self._step >= self.horizon

    @property
    def action(self) -> Array | None:
        """What is to be executed in this step, [act]; None if `spent`."""
        return None if self._actions is None or self.spent else self._actions[self._step]

    def drop(self) -> None:
        """Forget what was seen and what was planned."""
        self._seen.clear()
        self._actions = None

    def see(self, observation: Array, steps: int = 1) -> None:
        """A new step begins, `steps` after the one before, with an observation [obs].

        Where steps were left out, it stands for their observations, too.
        """
        self._step += steps
        self._seen.extend([observation] * (steps if self._seen else self._history))

    def ask(self) -> int:
        """Ask the policy. Whatever it raises is raised, and nothing is planned then.

        Returns:
            How many steps went by meanwhile: their actions are out of date and left out, but for the horizon's last.
        """
        self._actions, begin = None, self._clock()
        seen = self._seen[-1] if self._history == 1 else np.stack(self._seen)
        actions = np.atleast_2d(self._policy.infer(seen))
        took = self._clock() - begin
        self.took.append(took)
        self._step = min(int(took / self._period), self.horizon - 1) if self.timed else 0
        self._actions = actions
        return self._step
