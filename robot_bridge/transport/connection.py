"""How the commands reach ROS: the options `--url` and `--transport`."""

from __future__ import annotations

import os
from argparse import Namespace
from urllib.parse import quote

from robot_bridge.errors import ArgumentParser
from robot_bridge.transport import RosbridgeTransport, Transport


def add_options(parser: ArgumentParser) -> None:
    """The options, to a command's parser."""
    parser.add_argument(
        "--url",
        default=os.environ.get("ROSBRIDGE_URL") or "ws://localhost:9090",
        help="of the rosbridge; its token, if it wants one, is taken from ROSBRIDGE_TOKEN",
    )
    parser.add_argument(
        "--transport",
        choices=("rosbridge", "rclpy"),
        default="rosbridge",
        help="rclpy: the ROS 2 that is installed on this computer, without a rosbridge (--url is not used then)",
    )


def connection(args: Namespace) -> Transport:
    """The transport that the options ask for, not started yet."""
    if args.transport == "rclpy":
        from robot_bridge.transport.rclpy import RclpyTransport

        return RclpyTransport()
    token = os.environ.get("ROSBRIDGE_TOKEN")
    return RosbridgeTransport(f"{args.url}/?token={quote(token)}" if token and "?" not in args.url else args.url)


def place(args: Namespace) -> str:
    """Where it leads, for people."""
    return "rclpy" if args.transport == "rclpy" else str(args.url).split("?")[0]  # it may hold a token
