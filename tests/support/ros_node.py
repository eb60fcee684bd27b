"""A node of the rclpy-shaped layer on a hub in memory, and ways to run it."""

from __future__ import annotations

import time

import pytest
from ros_hub import Hub, HubTransport

import robot_bridge.ros as rclpy
from robot_bridge.ros.node import Node


@pytest.fixture(name="hub")
def ros_hub():
    hub = Hub()
    yield hub
    rclpy.try_shutdown()
    hub.stop()


@pytest.fixture(name="transport")
def ros_transport(hub):
    return HubTransport(hub)


@pytest.fixture(name="node")
def ros_node(transport):
    rclpy.init(args=[], transport=transport)
    node = Node("test")
    yield node
    node.destroy_node()


def spin_until(node, condition, timeout=5.0) -> bool:
    end = time.monotonic() + timeout
    while not condition() and time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.05)
    return condition()


def run_ready(node, hub) -> None:
    """Run everything that is ready, and nothing more."""
    hub.settle()
    executor = rclpy.get_global_executor()
    executor.add_node(node)
    for _ in range(200):
        before = executor._context.ok() and any(entity._is_ready() for entity in node._entities())
        if not before:
            break
        executor.spin_once(timeout_sec=0)
    executor.remove_node(node)
