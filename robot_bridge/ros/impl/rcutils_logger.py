"""The class of loggers, under rclpy's name."""

from robot_bridge.ros.logging import RcutilsLogger

__all__ = ["RcutilsLogger"]
