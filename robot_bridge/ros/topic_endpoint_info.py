"""Who publishes and subscribes a topic, as far as rosapi tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from robot_bridge.ros.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy


class TopicEndpointTypeEnum(IntEnum):
    INVALID = 0
    PUBLISHER = 1
    SUBSCRIPTION = 2


def _unknown() -> QoSProfile:
    return QoSProfile(
        depth=0,
        history=HistoryPolicy.UNKNOWN,
        reliability=ReliabilityPolicy.UNKNOWN,
        durability=DurabilityPolicy.UNKNOWN,
        liveliness=LivelinessPolicy.UNKNOWN,
    )


@dataclass(frozen=True)
class TopicEndpointInfo:
    """One node at a topic. rosapi tells neither its quality of service nor ids: policies are UNKNOWN, `endpoint_gid`
    is empty."""

    node_name: str = ""
    node_namespace: str = ""
    topic_type: str = ""
    endpoint_type: TopicEndpointTypeEnum = TopicEndpointTypeEnum.INVALID
    endpoint_gid: tuple[int, ...] = ()
    qos_profile: QoSProfile = field(default_factory=_unknown)
