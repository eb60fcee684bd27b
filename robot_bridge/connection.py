"""How the commands reach ROS: the options `--url` and `--transport`."""

from __future__ import annotations

from argparse import Namespace

from robot_bridge.errors import ArgumentParser
from robot_bridge.transport import RosbridgeTransport, Transport


def add_options(parser: ArgumentParser) -> None:
    """The options, to a command's parser."""
    parser.add_argument("--url", default="ws://localhost:9090", help="of the rosbridge")
    parser.add_argument(
        "--transport",
        choices=("rosbridge", "rclpy"),
        default="rosbridge",
        help="rclpy: the ROS 2 that is installed on this computer, without a rosbridge (--url is not used then)",
    )


def connection(args: Namespace) -> Transport:
    """The transport that the options ask for, not started yet."""
    if args.transport == "rclpy":
        from robot_bridge.ros.native import RclpyTransport

        return RclpyTransport()
    return RosbridgeTransport(args.url)


def place(args: Namespace) -> str:
    """Where it leads, for people."""
    return "rclpy" if args.transport == "rclpy" else args.url
