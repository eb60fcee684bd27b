"""What the node on the robot loads, and what it need not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("roslibpy", reason="the robot extra is not installed")


@pytest.mark.parametrize("module", ["robot_bridge.run", "robot_bridge.node.policy_node", "robot_bridge.server"])
def test_what_runs_on_a_robot_loads_no_rclpy_layer(module):
    code = f"import sys, {module}; print(*(name for name in sys.modules if name.startswith('robot_bridge.ros')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
