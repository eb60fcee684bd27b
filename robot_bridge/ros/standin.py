"""Run a node that is written for rclpy, unchanged but for one line at its top:

    import robot_bridge.ros.standin  # real rclpy where it is installed, else rosbridge

After it `import rclpy`, `from rclpy.node import Node`, `from sensor_msgs.msg import JointState`, `import tf2_ros`,
`import message_filters` and the like resolve to this package. Where the real rclpy is installed, it does nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from robot_bridge.interfaces.finder import install as install_interfaces
from robot_bridge.interfaces.store import store

REAL = "rclpy"
OURS = {REAL: "robot_bridge.ros"}
OURS |= {name: f"robot_bridge.ros.{name}" for name in ("message_filters", "tf2_ros", "tf2_geometry_msgs")}


class StandInFinder(MetaPathFinder, Loader):
    """Gives our module for each of rclpy's and its companions': the same object under a second name."""

    def __init__(self) -> None:
        self._specs: dict[str, Any] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = _our_name(fullname)
        ours = find_spec(name) if name else None
        if ours is None:
            return None
        return ModuleSpec(fullname, self, is_package=ours.submodule_search_locations is not None)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(str(_our_name(spec.name)))
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It ran already; give it back the specification that the import system just replaced."""
        module.__spec__ = self._specs.pop(module.__spec__.name)  # type: ignore[union-attr]


def _our_name(name: str) -> str | None:
    root, dot, rest = name.partition(".")
    return f"{OURS[root]}{dot}{rest}" if root in OURS else None


def install() -> bool:
    """Stand in for rclpy; returns False where the real one is installed."""
    if any(isinstance(finder, StandInFinder) for finder in sys.meta_path):
        return True
    if find_spec(REAL) is not None:
        return False
    store()  # a ROS_DISTRO that is not known is told here, not by some import later
    sys.meta_path.insert(0, StandInFinder())  # else `rclpy.node` would be found in our folder and loaded twice
    install_interfaces("")
    return True


install()
