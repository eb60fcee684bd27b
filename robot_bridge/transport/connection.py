"""How the commands reach ROS: the options `--url` and `--transport`."""

from __future__ import annotations

import os
import ssl
from argparse import Namespace
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from robot_bridge.errors import ArgumentParser, UserError
from robot_bridge.transport import RosbridgeTransport, Transport


def add_options(parser: ArgumentParser) -> None:
    """The options, to a command's parser."""
    parser.add_argument(
        "--url",
        default=os.environ.get("ROSBRIDGE_URL") or "ws://localhost:9090",
        help="of the rosbridge; its token, if it wants one, is taken from ROSBRIDGE_TOKEN",
    )
    parser.add_argument("--ca", type=Path, metavar="FILE", help="certificates (PEM) to trust for wss://, and no others")
    parser.add_argument(
        "--transport",
        choices=("rosbridge", "rclpy"),
        default="rosbridge",
        help="rclpy: the ROS 2 that is installed on this computer, without a rosbridge (--url is not used then)",
    )


def connection(args: Namespace) -> Transport:
    """The transport that the options ask for, not started yet.

    Raises:
        UserError: the file of `--ca` holds no certificate.
    """
    if args.ca is not None:
        trust(args.ca)
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


def trust(certificates: Path) -> None:
    """Have wss:// addresses trust the authorities of a PEM file, and no others.

    Raises:
        UserError: it cannot be read, or holds none.
    """
    try:
        ssl.create_default_context(cafile=str(certificates))
    except OSError as error:  # an SSLError is one
        reason = error.strerror or str(error)
        raise UserError(f"--ca: {certificates} holds no certificates ({reason}): expected a PEM file") from None
    os.environ["SSL_CERT_FILE"] = str(certificates.absolute())  # what Python's ssl takes for its defaults


def place(args: Namespace) -> str:
    """Where it leads, for people."""
    return "rclpy" if args.transport == "rclpy" else str(args.url).split("?")[0]  # it may hold a token
