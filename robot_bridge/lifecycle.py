"""States and transitions of ROS 2's managed nodes, with lifecycle_msgs' numbers."""

from __future__ import annotations

from typing import NamedTuple


class State(NamedTuple):
    label: str
    state_id: int


UNKNOWN = State("unknown", 0)
UNCONFIGURED = State("unconfigured", 1)
INACTIVE = State("inactive", 2)
ACTIVE = State("active", 3)
FINALIZED = State("finalized", 4)
CONFIGURING = State("configuring", 10)
CLEANING_UP = State("cleaningup", 11)
SHUTTING_DOWN = State("shuttingdown", 12)
ACTIVATING = State("activating", 13)
DEACTIVATING = State("deactivating", 14)
ERROR_PROCESSING = State("errorprocessing", 15)
STATES: tuple[State, ...] = (UNKNOWN, UNCONFIGURED, INACTIVE, ACTIVE, FINALIZED)
STATES += (CONFIGURING, CLEANING_UP, SHUTTING_DOWN, ACTIVATING, DEACTIVATING, ERROR_PROCESSING)


class Transition(NamedTuple):
    """One way between primary states: by a callback, in a state of its own."""

    id: int
    label: str
    start: State
    during: State
    goal: State
    callback: str


TRANSITIONS = (
    Transition(1, "configure", UNCONFIGURED, CONFIGURING, INACTIVE, "on_configure"),
    Transition(2, "cleanup", INACTIVE, CLEANING_UP, UNCONFIGURED, "on_cleanup"),
    Transition(3, "activate", INACTIVE, ACTIVATING, ACTIVE, "on_activate"),
    Transition(4, "deactivate", ACTIVE, DEACTIVATING, INACTIVE, "on_deactivate"),
    Transition(5, "shutdown", UNCONFIGURED, SHUTTING_DOWN, FINALIZED, "on_shutdown"),
    Transition(6, "shutdown", INACTIVE, SHUTTING_DOWN, FINALIZED, "on_shutdown"),
    Transition(7, "shutdown", ACTIVE, SHUTTING_DOWN, FINALIZED, "on_shutdown"),
)
