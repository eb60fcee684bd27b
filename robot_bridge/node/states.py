"""The states of a policy node, and what leads from one to another.

                 enable or go_to_start, if nothing stands in the way
    inactive, fault ──────────────────────────────────────────▶ active
         ▲                                                        │
         │ stands, and has said so                                │ disable, stop, shut-down, a guard's STOP,
         │ (inactive after disable and shut-down, else fault)     │ a lost connection, a stall, an error
         │                                                        ▼
         └──────────────────────────────────────────────────── stopping

A halt is *planned*: the motion decelerates within its limits, and that is sent. Or it is *cut*: for some time nobody
said anything to the robot, or nothing sensible can be said, and what was planned for then must not come late. Each
output then only makes sure that its part of the robot stands; see `robot_bridge.node.outputs.Sender.halt`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from robot_bridge.guards.decision import Verdict
from robot_bridge.guards.guard import Level

State = Literal["inactive", "active", "stopping", "fault"]
REPEATS = 5  # times that a stand is said, before silence


class States:
    """The present state. Not for several threads at once."""

    def __init__(self, changed: Callable[[State, str], None]) -> None:
        """`changed(state, reason)` is called after every change."""
        self.state: State = "inactive"
        self.reason = "not enabled yet"
        self.faults = 0
        self.halt: Verdict | None = Verdict("node", Level.STOP, self.reason)
        """Why the robot is to stand, or to come to a stand; None while active."""
        self.cut = False
        """Whether the halt is cut: see above."""
        self.owed = 0
        """How often the outputs still have to make sure that the robot stands, whenever they can be reached."""
        self._changed = changed
        self._as_asked = True  # the halt is no fault
        self._repeats = 0
        self._until = 0.0  # time when what the robot was told has certainly ended

    @property
    def speaks(self) -> bool:
        """Whether commands are sent: those of the policy, or those of a planned halt."""
        return self.state == "active" or (self.state == "stopping" and not self.cut)

    def enable(self, reason: str = "enabled") -> None:
        """Anything but active -> active."""
        self.halt, self.cut, self.owed, self._repeats = None, False, 0, 0
        self._set("active", reason)

    def stop(self, verdict: Verdict, *, as_asked: bool = False, cut_until: float | None = None) -> None:
        """Active -> stopping. A halt that is under way keeps its reason.

        Args:
            verdict: why.
            as_asked: somebody asked for it, and all is well.
            cut_until: it is cut, and by this time (s) what the robot was told before has ended.
        """
        if cut_until is not None and not self.cut and self.state in ("active", "stopping"):
            self.cut, self.owed, self._repeats, self._until = True, REPEATS, REPEATS, cut_until
        if self.state != "active":
            return
        self.halt, self._as_asked = verdict, as_asked
        self.faults += not as_asked
        self._repeats = REPEATS
        if cut_until is None:
            self._until = 0.0
        self._set("stopping", verdict.reason if verdict.guard in ("operator", "node") else str(verdict))

    def settle(self, still: bool, now: float) -> None:
        """Stopping -> fault or inactive, once the motion stands and that was said often enough. Once a tick."""
        if self.state != "stopping":
            return
        if still and self._repeats <= 0 and now >= self._until:
            self._set("inactive" if self._as_asked else "fault", self.reason)
        elif still or self.cut:
            self._repeats -= 1

    def _set(self, state: State, reason: str) -> None:
        self.state, self.reason = state, reason
        self._changed(state, reason)
