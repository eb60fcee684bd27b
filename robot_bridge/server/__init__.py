"""An embedded rosbridge v2 server: `python -m robot_bridge.server`, or `RosbridgeServer` in a program."""

from robot_bridge.server.faults import Faults
from robot_bridge.server.server import RosbridgeServer

__all__ = ["Faults", "RosbridgeServer"]
