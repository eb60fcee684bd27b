"""The clock by which a sender stamps its messages, as far as it can be known from their arrival."""

from __future__ import annotations

import math

CLOCK_JUMP = 1.0  # s; stamps that run back by more are another clock
STEPPED = (
    5  # messages in a row that are older than an earlier one, yet each newer than the last: the clock was set back
)
DRIFT = 1e-3  # s per s by which two computers' clocks may differ
STEADY = 0.005  # s by which the least delays of two halves of some seconds differ, where no queue is growing
GAP = 0.5  # s of silence after which the pace is measured anew
LATEST = 2**31  # stamps are int32


def seconds(stamp: dict) -> float:
    """A stamp's time, s; 0 where there is none.

    Raises:
        ValueError: no time that a stamp can hold.
    """
    value = stamp.get("sec", 0) + 1e-9 * stamp.get("nanosec", 0)
    if not 0.0 <= value < LATEST:
        raise ValueError(f"its stamp is {value} s, expected 0 to 2^31")
    return value


class SenderClock:
    """How much longer than others a message took, by its stamp, whatever the two clocks say; and what time it is there.

    The smallest difference of the clocks so far is what a message without delay has. It is forgotten where stamps run
    back, and where all messages of the last `patience` seconds were late by the same: the clock was set, or a
    simulation was paused. Until then they are late, so that a robot that moves has stopped.
    """

    def __init__(self, max_delay: float, patience: float) -> None:
        """`max_delay`: s by which a message may be late. `patience`: s of steady lateness that are another clock."""
        self.last, self.came = 0.0, -math.inf
        self.pace = 1.0
        """Its seconds per second of ours, over the last second or so."""
        self.late = False
        """Whether the latest message was late."""
        self._max_delay, self._patience = max_delay, patience
        self._base, self._since = math.inf, 0.0  # the smallest difference, and when it was seen
        self._begin = (0.0, 0.0)  # stamp and time from which the pace is measured
        self._older = (0, 0.0)  # messages in a row that are older than the newest, and the stamp of the last of them
        self._late: list[tuple[float, float]] = []  # times and delays of the latest messages, all of them late

    def delay(self, stamp: float, now: float) -> float | None:
        """Seconds, or None for a message that is to be dropped: the same again, or out of order."""
        if self.last - CLOCK_JUMP < stamp <= self.last and not self._set_back(stamp):
            return None
        if stamp <= self.last:
            self._base = math.inf  # another clock
        self._measure_pace(stamp, now)
        difference, allowed = now - stamp, self._base + DRIFT * (now - self._since)
        if difference <= allowed:
            self._base, self._since, allowed = difference, now, difference
        self.last, self.came, self._older = stamp, now, (0, 0.0)
        return self._settled(difference - allowed, difference, now)

    def now(self, now: float, *, paced: bool) -> float:
        """The sender's time at our time `now`, 0 if it gives none; `paced`: its pace is not ours."""
        if math.isinf(self._base):
            return 0.0
        return self.last + self.pace * (now - self.came) if paced else now - self._base

    def _set_back(self, stamp: float) -> bool:
        count, before = self._older
        self._older = (count + 1 if stamp > before else 0, stamp)
        return self._older[0] >= STEPPED

    def _measure_pace(self, stamp: float, now: float) -> None:
        begin_stamp, begin = self._begin
        if stamp <= self.last or now - self.came > GAP:
            self._begin = (stamp, now)
        elif now - begin > 1.0:
            self.pace = (stamp - begin_stamp) / (now - begin)
            if now - begin > 2.0:
                self._begin = (0.5 * (stamp + begin_stamp), 0.5 * (now + begin))

    def _settled(self, delay: float, difference: float, now: float) -> float:
        """The delay; 0 once it has been too long by the same for long enough."""
        self.late = delay > self._max_delay
        if not self.late or (self._late and now - self._late[-1][0] > GAP):
            self._late = []
        if not self.late:
            return delay
        self._late.append((now, delay))
        if now - self._late[0][0] < self._patience:
            return delay
        half = len(self._late) // 2
        least, most = sorted(min(d for _, d in part) for part in (self._late[:half], self._late[half:]))
        self._late = self._late[half:]
        if most - least > STEADY:
            return delay
        self._base, self._since, self.late = difference - (delay - least), now, False
        return delay - least
