"""What the bridge asks of a connection to ROS: the `Transport` protocol and the types that pass through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from robot_bridge.counters import Counters
from robot_bridge.errors import UserError

Message: TypeAlias = dict[str, Any]
"""A ROS message, request, goal … as plain JSON-able values: dict, list, str, int, float (finite), bool."""

Done: TypeAlias = Callable[[Message | None, str | None], None]
"""Receives (values, None) or (None, error), exactly once, on the I/O thread."""

Result: TypeAlias = Callable[[Message | None, int, str | None], None]
"""Receives (values, status, None) or (values or None, status, error), exactly once, on the I/O thread."""


class GoalStatus:
    """The numbers of ROS 2's action_msgs/msg/GoalStatus."""

    UNKNOWN = 0
    ACCEPTED = 1
    EXECUTING = 2
    CANCELING = 3
    SUCCEEDED = 4
    CANCELED = 5
    ABORTED = 6


class TransportError(UserError):
    """No connection: wrong address, nobody listening, refused, not started."""


class Closable(Protocol):
    """A subscription or an advertisement."""

    def close(self) -> None:
        """End it. Closing twice, or after the transport was closed, does nothing."""


class Closing:
    """Undoes something, once."""

    def __init__(self, undo: Callable[[], None]) -> None:
        self._undo: Callable[[], None] | None = undo

    def close(self) -> None:
        """See `Closable.close`."""
        undo, self._undo = self._undo, None
        if undo:
            undo()


class Respond(Protocol):
    """Answers one service request, from any thread."""

    def __call__(self, values: Message | None, error: str | None = None) -> bool:
        """Send `values`, or a failure with `error` as its reason.

        Only the first answer counts. Returns whether it was sent: False if this was not the first, or the connection
        that the request came by is gone (counted as `dropped.answer`).

        Raises:
            TypeError, ValueError: as `Transport.publish`; the request then still waits for its answer.
        """


class GoalHandle(Protocol):
    """One goal at an action server of ours. All methods may be called from any thread."""

    goal_id: str

    @property
    def cancel_requested(self) -> bool:
        """Whether the client asked to cancel, or its connection was lost."""

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Have `callback` called on the I/O thread, once, when cancel is requested (at once if it already was)."""

    def feedback(self, values: Message) -> bool:
        """Send feedback; returns whether it was sent. Never queued, like `publish`."""

    def result(self, values: Message | None, status: int, error: str | None = None) -> bool:
        """End the goal with a terminal status (SUCCEEDED, CANCELED, ABORTED). Only the first counts; returns whether it
        was sent. With `error`, which rosbridge has no place for and which is logged here, it is ABORTED.

        Raises:
            TypeError, ValueError: as `Transport.publish`; or no terminal status. The goal is then still to be ended.
        """


class Transport(Protocol):
    """A connection to ROS.

    All callbacks run on the transport's one I/O thread and must only hand over: what blocks there blocks everything,
    and what waits there for an answer of this transport waits for ever. A callback that raises is logged once per kind
    and counted (`callback_errors`), and starves nobody. All methods may be called from any thread, the I/O thread and
    callbacks included, except `start` and `close`, which block.

    Messages are `Message`s and type names are ROS 2's: `sensor_msgs/msg/JointState`, `std_srvs/srv/Trigger`,
    `control_msgs/action/FollowJointTrajectory`.

    What is advertised and subscribed outlives the connection: it is told to the server again after every reconnect,
    before anything else is sent. It may be declared before `start`.
    """

    counters: Counters
    """What was dropped and lived through:

    dropped.*       publishes, feedback and answers that were not sent, and why
    received.*      incoming messages that were not delivered, and why
    late_answers    answers to calls and goals that had timed out, been lost or never been made
    callback_errors callbacks that raised
    slow_callbacks  callbacks that held the I/O thread for more than 20 ms
    lost.*          connections lost, and why
    displaced       services and actions of ours that another client took over
    reconnects      connections that came back
    """

    @property
    def connected(self) -> bool:
        """Whether messages can be sent now. False within about 1.5 s after the peer stopped answering."""

    def start(self, timeout: float | None = 5.0) -> None:
        """Connect. Returns once `connected`; `timeout` in seconds, None: keep trying in the background and return.

        Raises:
            TransportError: no connection within the time-out (it is then closed again), or started already.
        """

    def close(self) -> None:
        """Close the connection and end the I/O thread; calls and goals under way end with an error. Can start again,
        with everything that is still advertised and subscribed. Closing twice does nothing."""

    def on_connection(self, callback: Callable[[bool], None]) -> Closable:
        """Have `callback` called with `connected` whenever it changes."""

    def advertise(self, topic: str, type: str, *, latch: bool = False) -> Closable:
        """Declare that this client publishes `topic`, with a queue of one at the server. Several may declare the same;
        the topic is unadvertised when the last one is closed. `latch`: whoever subscribes later gets the last message.

        Raises:
            ValueError: already advertised with another type.
        """

    def publish(self, topic: str, message: Message) -> bool:
        """Send a message now, or never. Returns False if it was not handed to the connection: dropped and counted.

        Never queued: it is written only while connected and while the peer answers, see `RosbridgeTransport`.

        Raises:
            TypeError: something in the message is no plain JSON value (a NumPy array or scalar, bytes, …).
            ValueError: NaN or infinity, which JSON lacks; or `topic` is not advertised.
        """

    def subscribe(
        self,
        topic: str,
        type: str,
        callback: Callable[[Message], None],
        *,
        queue_length: int = 10,
        throttle_ms: int = 0,
        renew_after: float | None = None,
        latched: bool = False,
    ) -> Closable:
        """Have `callback` called with the messages of `topic`.

        At most the latest `queue_length` messages wait for the callback; older ones are dropped and counted
        (`received.overrun`). With 1, a callback that cannot keep up sees only the newest. `throttle_ms`: least time
        between messages, kept by the server; where a topic is subscribed several times, the shortest holds for all.

        `renew_after`: for topics that never pause. While nothing has come for so many seconds, the topic is subscribed
        anew: a rosbridge_server takes the quality of service of the publishers that were there at its first
        subscription, and stays deaf to others. A message that comes at that moment may be lost.

        `latched`: for topics of latching publishers alone, the latest message of which is wanted. A rosbridge gives it
        in any case, if the publisher was there first.

        NaN and infinity arrive as None: JSON has neither.

        Raises:
            ValueError: already subscribed with another type; queue_length < 1; throttle_ms < 0.
        """

    def call_service(self, name: str, type: str, request: Message, done: Done, timeout: float) -> None:
        """Call a service; `done(values, None)` or `done(None, error)` exactly once, at the latest after `timeout`
        seconds. Without connection it fails at once (before `start` even in the caller's thread); a lost connection
        fails all calls under way.

        Raises:
            TypeError, ValueError: as `publish`.
        """

    def advertise_service(self, name: str, type: str, handler: Callable[[Message, Respond], None]) -> Closable:
        """Offer a service. `handler(request, respond)`; a handler that raises answers the request with an error.

        Raises:
            ValueError: already offered by this transport.
        """

    def send_goal(
        self,
        action: str,
        type: str,
        goal: Message,
        *,
        feedback: Callable[[Message], None] | None = None,
        result: Result,
        timeout: float | None = None,
        accept_timeout: float | None = None,
    ) -> str:
        """Send a goal; returns its id. `result(values, status, error)` exactly once.

        Rosbridge never says that a goal was accepted, nor answers a refused one. So: `accept_timeout` is the longest
        time in seconds to the first feedback or result (leave None for servers that give no feedback), `timeout` the
        longest to the result. When one of them passes, the goal is cancelled, for it may be running, and ends with
        UNKNOWN. Without connection it fails at once; a lost connection ends all goals under way.

        Raises:
            TypeError, ValueError: as `publish`.
        """

    def cancel_goal(self, action: str, goal_id: str, timeout: float = 5.0) -> bool:
        """Ask to cancel; the goal ends by its result, or with UNKNOWN after `timeout` seconds without one. Returns
        whether the request was sent. A cancel may be delayed by the server: no stop may depend on it."""

    def advertise_action(self, action: str, type: str, handler: Callable[[Message, GoalHandle], None]) -> Closable:
        """Offer an action. `handler(goal, handle)`; a handler that raises aborts the goal.

        Raises:
            ValueError: already offered by this transport.
        """

    def topics_and_types(self, done: Callable[[dict[str, str] | None, str | None], None], timeout: float = 3.0) -> None:
        """All topics of the graph: `done({name: type}, None)`, or `done(None, error)`. Asks rosapi."""

    def publishers(
        self, topic: str, done: Callable[[list[str] | None, str | None], None], timeout: float = 3.0
    ) -> None:
        """The names of all nodes that publish a topic, likewise; the clients of a rosbridge_server are one."""

    def services(self, done: Callable[[list[str] | None, str | None], None], timeout: float = 3.0) -> None:
        """The names of all services of the graph, likewise."""

    def action_servers(self, done: Callable[[list[str] | None, str | None], None], timeout: float = 3.0) -> None:
        """The names of all actions that are offered, likewise."""
