"""Small things that rclpy keeps in `rclpy.utilities`."""

from __future__ import annotations

from robot_bridge.ros.arguments import Arguments
from robot_bridge.ros.context import Context, get_default_context


def ok(*, context: Context | None = None) -> bool:
    return (context or get_default_context()).ok()


def shutdown(*, context: Context | None = None) -> None:
    (context or get_default_context()).shutdown()


def try_shutdown(*, context: Context | None = None) -> None:
    (context or get_default_context()).try_shutdown()


def remove_ros_args(args: list[str]) -> list[str]:
    """What is left of a command line without `--ros-args …`."""
    return Arguments.parse(args).rest


def timeout_sec_to_nsec(timeout_sec: float | None) -> int:
    """ns; -1 for None and negative ones, which mean for ever."""
    return -1 if timeout_sec is None or timeout_sec < 0 else int(float(timeout_sec) * 1e9)


__all__ = ["get_default_context", "ok", "remove_ros_args", "shutdown", "timeout_sec_to_nsec", "try_shutdown"]
