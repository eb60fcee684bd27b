"""The levels of loggers, under rclpy's name."""

from robot_bridge.ros.logging import LoggingSeverity

__all__ = ["LoggingSeverity"]
