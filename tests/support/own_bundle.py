"""`python -m robot_bridge.bundle` within a test."""

from __future__ import annotations

import sys

import pytest

from robot_bridge import bundle
from robot_bridge.robot.bundle import Policy


def bundled(model: str, *options: str) -> Policy:
    """The command with the numbers of arm.yaml in the present folder; the bundle is in policy/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bundle", "--model", model, "--numbers", "arm.yaml", "--out", "policy", *options])
        bundle.main()
    return Policy.load("policy")
