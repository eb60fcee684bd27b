"""`use_sim_time`: the node's clock follows /clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from robot_bridge.interfaces import get_interface
from robot_bridge.ros.callback_groups import MutuallyExclusiveCallbackGroup
from robot_bridge.ros.clock import ROSClock
from robot_bridge.ros.node_parameters import NodeParameters
from robot_bridge.ros.parameter import Parameter
from robot_bridge.ros.qos import QoSProfile, ReliabilityPolicy
from robot_bridge.ros.time import Time

USE_SIM_TIME = "use_sim_time"


class TimeSource:
    """Switches ROS time with the parameter and feeds it from /clock, in the thread that spins the node.

    Args:
        parameters: the node's.
        clock: the node's.
        subscribe: the node's `create_subscription`.
    """

    def __init__(self, parameters: NodeParameters, clock: ROSClock, subscribe: Callable[..., Any]) -> None:
        self._clock, self._subscribe = clock, subscribe
        self._subscription: Any = None
        self._group = MutuallyExclusiveCallbackGroup()  # its own: time goes on while a callback waits
        if not parameters.has_parameter(USE_SIM_TIME):
            parameters.declare_parameter(USE_SIM_TIME, False)
        self._follow(bool(parameters.get_parameter(USE_SIM_TIME).value))
        parameters.add_post_set_parameters_callback(self._parameters_set)

    def _parameters_set(self, parameters: list[Parameter]) -> None:
        for parameter in parameters:
            if parameter.name == USE_SIM_TIME:
                self._follow(bool(parameter.value))

    def _follow(self, simulated: bool) -> None:
        if simulated and self._subscription is None:
            self._clock._set_ros_time_is_active(True)
            self._subscription = self._subscribe(
                get_interface("rosgraph_msgs/msg/Clock"),
                "/clock",
                lambda msg: self._clock.set_ros_time_override(Time.from_msg(msg.clock)),
                QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
                callback_group=self._group,
            )
        elif not simulated and self._subscription is not None:
            self._subscription.destroy()
            self._subscription = None
            self._clock._set_ros_time_is_active(False)
