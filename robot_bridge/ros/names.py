"""ROS's rules for names: what is allowed, and what `~` and relative names mean."""

from __future__ import annotations

import re

from robot_bridge.ros.exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidServiceNameException,
    InvalidTopicNameException,
)

MAX_LENGTH = 255


def validate_node_name(name: str) -> None:
    """Raises `InvalidNodeNameException`."""
    if not name:
        raise InvalidNodeNameException(name, "node name must not be empty", 0)
    if wrong := re.search(r"[^A-Za-z0-9_]", name):
        text = "node name must not contain characters other than alphanumerics or '_'"
        raise InvalidNodeNameException(name, text, wrong.start())
    if name[0].isdigit():
        raise InvalidNodeNameException(name, "node name must not start with a number", 0)
    if len(name) > MAX_LENGTH:
        raise InvalidNodeNameException(name, f"node name length should not exceed {MAX_LENGTH}", MAX_LENGTH)


def validate_namespace(namespace: str) -> None:
    """Raises `InvalidNamespaceException`. An absolute one: starts with '/'."""
    if not namespace.startswith("/"):
        raise InvalidNamespaceException(namespace, "namespace must be absolute, it must lead with a '/'", 0)
    if namespace == "/":
        return
    if fault := _fault(namespace, r"[^A-Za-z0-9_/]", "alphanumerics, '_', or '/'"):
        raise InvalidNamespaceException(namespace, f"namespace {fault[0]}", fault[1])


def validate_topic_name(name: str, *, is_service: bool = False) -> None:
    """Raises `InvalidTopicNameException` or `InvalidServiceNameException`; `~`, `{node}` and `{ns}` are allowed."""
    refuse = InvalidServiceNameException if is_service else InvalidTopicNameException
    kind = "service" if is_service else "topic"
    if not name:
        raise refuse(name, f"{kind} name must not be empty", 0)
    if "~" in name[1:]:
        raise refuse(name, f"{kind} name must not have tilde '~' unless it is the first character", name.index("~", 1))
    if name.startswith("~") and len(name) > 1 and name[1] != "/":
        raise refuse(name, f"{kind} name must not have tilde '~' unless it is the first character", 1)
    if unknown := re.search(r"\{(?!node\}|ns\}|namespace\})|(?<!\{node)(?<!\{ns)(?<!\{namespace)\}", name):
        raise refuse(name, f"{kind} name has an unknown or unbalanced substitution", unknown.start())
    if fault := _fault(name, r"[^A-Za-z0-9_/~{}]", "alphanumerics, '_', '/', '~', '{', or '}'"):
        raise refuse(name, f"{kind} name {fault[0]}", fault[1])


def _fault(name: str, forbidden: str, allowed: str) -> tuple[str, int] | None:
    if wrong := re.search(forbidden, name):
        return f"must not contain characters other than {allowed}", wrong.start()
    if "//" in name:
        return "must not contain repeated '/'", name.index("//") + 1
    if name.endswith("/"):
        return "must not end with a '/'", len(name) - 1
    if number := re.search(r"(^|/)[0-9]", name):
        return "token must not start with a number", number.end() - 1
    if len(name) > MAX_LENGTH:
        return f"length should not exceed {MAX_LENGTH}", MAX_LENGTH
    return None


def expand_topic_name(topic_name: str, node_name: str, node_namespace: str) -> str:
    """The absolute name: `~/x` is private to the node, `x` relative to its namespace."""
    base = node_namespace.rstrip("/")
    name = topic_name.replace("{node}", node_name).replace("{namespace}", base).replace("{ns}", base)
    if name.startswith("~"):
        return f"{base}/{node_name}{name[1:]}"
    return re.sub(r"^//", "/", name) if name.startswith("/") else f"{base}/{name}"
