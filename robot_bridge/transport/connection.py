"""How the commands reach ROS: the options `--url` and `--transport`."""

from __future__ import annotations

import os
from argparse import Namespace
from urllib.parse import quote, urlsplit, urlunsplit

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
    return RosbridgeTransport(with_token(args.url, os.environ.get("ROSBRIDGE_TOKEN")))


def with_token(url: str, token: str | None) -> str:
    """The address with the token in it, unless there is none, or one already."""
    parts = urlsplit(url)
    if not token or "token=" in parts.query:
        return url
    query = f"{parts.query}&" if parts.query else ""
    return urlunsplit(parts._replace(path=parts.path or "/", query=f"{query}token={quote(token, safe='')}"))


def place(args: Namespace) -> str:
    """Where it leads, for people."""
    return "rclpy" if args.transport == "rclpy" else str(args.url).split("?")[0]  # it may hold a token
