"""Action clients and servers, by rclpy's names."""

from robot_bridge.ros.action.client import ActionClient, ClientGoalHandle
from robot_bridge.ros.action.graph import get_action_names_and_types
from robot_bridge.ros.action.server import ActionServer, CancelResponse, GoalResponse, ServerGoalHandle

__all__ = [
    "ActionClient",
    "ActionServer",
    "CancelResponse",
    "ClientGoalHandle",
    "GoalResponse",
    "ServerGoalHandle",
    "get_action_names_and_types",
]
