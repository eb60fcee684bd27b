"""Quality of service, by rclpy's names. Only the depth has an effect: rosbridge carries no QoS (docs/ros-layer.md)."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any, TypeVar

from robot_bridge.ros.duration import Duration, Infinite

P = TypeVar("P", bound="QoSPolicyEnum")


class InvalidQoSProfileException(Exception):
    """A profile that does not say how many messages to keep."""

    def __init__(self, *args: Any) -> None:
        super().__init__("Invalid QoSProfile", *args)


class QoSPolicyKind(IntEnum):
    INVALID = 1 << 0
    DURABILITY = 1 << 1
    DEADLINE = 1 << 2
    LIVELINESS = 1 << 3
    RELIABILITY = 1 << 4
    HISTORY = 1 << 5
    LIFESPAN = 1 << 6
    DEPTH = 1 << 7
    LIVELINESS_LEASE_DURATION = 1 << 8
    AVOID_ROS_NAMESPACE_CONVENTIONS = 1 << 9


class QoSPolicyEnum(IntEnum):
    """Base of the policies."""

    @classmethod
    def short_keys(cls) -> list[str]:
        return [member.name.lower() for member in cls if member.name != "UNKNOWN"]

    @classmethod
    def get_from_short_key(cls: type[P], name: str) -> P:
        return cls[name.upper()]

    @property
    def short_key(self) -> str:
        if self.name == "UNKNOWN":
            raise AttributeError("UNKNOWN has no short key")
        return self.name.lower()


class HistoryPolicy(QoSPolicyEnum):
    SYSTEM_DEFAULT = 0
    KEEP_LAST = 1
    KEEP_ALL = 2
    UNKNOWN = 3


class ReliabilityPolicy(QoSPolicyEnum):
    SYSTEM_DEFAULT = 0
    RELIABLE = 1
    BEST_EFFORT = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4


class DurabilityPolicy(QoSPolicyEnum):
    SYSTEM_DEFAULT = 0
    TRANSIENT_LOCAL = 1
    VOLATILE = 2
    UNKNOWN = 3
    BEST_AVAILABLE = 4


class LivelinessPolicy(QoSPolicyEnum):
    SYSTEM_DEFAULT = 0
    AUTOMATIC = 1
    MANUAL_BY_TOPIC = 3
    UNKNOWN = 4
    BEST_AVAILABLE = 5


QoSHistoryPolicy = HistoryPolicy
QoSReliabilityPolicy = ReliabilityPolicy
QoSDurabilityPolicy = DurabilityPolicy
QoSLivelinessPolicy = LivelinessPolicy

_FIELDS: dict[str, Any] = {
    "history": (HistoryPolicy, HistoryPolicy.KEEP_LAST),
    "depth": (int, 10),
    "reliability": (ReliabilityPolicy, ReliabilityPolicy.RELIABLE),
    "durability": (DurabilityPolicy, DurabilityPolicy.VOLATILE),
    "lifespan": (Duration, Duration()),  # zero: not specified
    "deadline": (Duration, Duration()),
    "liveliness": (LivelinessPolicy, LivelinessPolicy.SYSTEM_DEFAULT),
    "liveliness_lease_duration": (Duration, Duration()),
    "avoid_ros_namespace_conventions": (bool, False),
}


class QoSProfile:
    """How messages are kept and delivered.

    Raises:
        InvalidQoSProfileException: neither history nor depth, or KEEP_LAST without a depth.
        AssertionError: an unknown keyword, or a value of the wrong type.
    """

    __slots__ = tuple(f"_{name}" for name in _FIELDS)

    history: HistoryPolicy
    depth: int
    reliability: ReliabilityPolicy
    durability: DurabilityPolicy
    lifespan: Duration
    deadline: Duration
    liveliness: LivelinessPolicy
    liveliness_lease_duration: Duration
    avoid_ros_namespace_conventions: bool

    def __init__(self, **kwargs: Any) -> None:
        for name in kwargs:
            if name not in _FIELDS:
                raise AssertionError(f"Invalid arguments passed to constructor: {name}: expected {', '.join(_FIELDS)}")
        if "history" not in kwargs and "depth" not in kwargs:
            raise InvalidQoSProfileException("History and/or depth settings are required.")
        if kwargs.get("history") == HistoryPolicy.KEEP_LAST and "depth" not in kwargs:
            raise InvalidQoSProfileException("History set to KEEP_LAST without a depth setting.")
        for name, (_, default) in _FIELDS.items():
            setattr(self, name, kwargs.get(name, default))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QoSProfile):
            return False
        return all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"QoSProfile({', '.join(f'{name}={getattr(self, name)}' for name in _FIELDS)})"


def _property(name: str, kind: Any) -> property:
    def get(self: QoSProfile) -> Any:
        return getattr(self, f"_{name}")

    def put(self: QoSProfile, value: Any) -> None:
        if issubclass(kind, IntEnum):
            value = kind(value)
        elif not isinstance(value, kind):
            raise AssertionError(f"{name} is {value!r}: expected {kind.__name__}")
        if name == "depth" and value < 0:
            raise ValueError(f"depth is {value}: expected at least 0")
        setattr(self, f"_{name}", value)

    return property(get, put)


for _name, (_kind, _) in _FIELDS.items():
    setattr(QoSProfile, _name, _property(_name, _kind))

qos_profile_unknown = QoSProfile(
    history=HistoryPolicy.UNKNOWN,
    reliability=ReliabilityPolicy.UNKNOWN,
    durability=DurabilityPolicy.UNKNOWN,
    liveliness=LivelinessPolicy.UNKNOWN,
)
qos_profile_system_default = QoSProfile(
    history=HistoryPolicy.SYSTEM_DEFAULT,
    reliability=ReliabilityPolicy.SYSTEM_DEFAULT,
    durability=DurabilityPolicy.SYSTEM_DEFAULT,
    liveliness=LivelinessPolicy.SYSTEM_DEFAULT,
)
qos_profile_default = QoSProfile(depth=10)
qos_profile_sensor_data = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
qos_profile_services_default = QoSProfile(depth=10)
qos_profile_parameters = QoSProfile(depth=1000)
qos_profile_parameter_events = QoSProfile(depth=1000)
qos_profile_action_status_default = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
qos_profile_rosout_default = QoSProfile(
    depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL, lifespan=Duration(seconds=10)
)
qos_profile_best_available = QoSProfile(
    depth=10,
    reliability=ReliabilityPolicy.BEST_AVAILABLE,
    durability=DurabilityPolicy.BEST_AVAILABLE,
    liveliness=LivelinessPolicy.BEST_AVAILABLE,
)


class QoSPresetProfiles(Enum):
    UNKNOWN = qos_profile_unknown
    DEFAULT = qos_profile_default
    SYSTEM_DEFAULT = qos_profile_system_default
    SENSOR_DATA = qos_profile_sensor_data
    SERVICES_DEFAULT = qos_profile_services_default
    PARAMETERS = qos_profile_parameters
    PARAMETER_EVENTS = qos_profile_parameter_events
    ACTION_STATUS_DEFAULT = qos_profile_action_status_default
    BEST_AVAILABLE = qos_profile_best_available

    @classmethod
    def short_keys(cls) -> list[str]:
        return [name.lower() for name in cls.__members__]

    @classmethod
    def get_from_short_key(cls, name: str) -> QoSProfile:
        return cls[name.upper()].value


def as_profile(qos_profile: Any) -> QoSProfile:
    """rclpy's rule for `qos_profile` arguments: a profile, or an int that is a depth.

    Raises:
        ValueError: a negative depth.
        TypeError: neither.
    """
    if isinstance(qos_profile, QoSProfile):
        return qos_profile
    if isinstance(qos_profile, int):
        if qos_profile < 0:
            raise ValueError("depth must be greater than or equal to zero")
        return QoSProfile(depth=qos_profile)
    raise TypeError(f"Expected QoSProfile or int, but received {type(qos_profile)}")


def without_effect(profile: QoSProfile) -> list[str]:
    """What a profile asks for and nobody here keeps: a node should not rely on it."""
    names = ("lifespan", "deadline", "liveliness_lease_duration")
    found = [name for name in names if getattr(profile, name) not in (Duration(), Infinite)]
    return found + ["liveliness"] * (profile.liveliness is LivelinessPolicy.MANUAL_BY_TOPIC)
