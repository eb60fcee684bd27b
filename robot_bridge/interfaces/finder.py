"""Import hook: `from robot_bridge.interfaces.sensor_msgs.msg import JointState`; classes are made when first used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from robot_bridge.interfaces.store import store

FOLDERS = ("msg", "srv", "action")


class InterfaceModule(ModuleType):
    """`<package>.msg`, `.srv` or `.action`: its attributes are the classes, made on first access."""

    def __getattr__(self, name: str) -> Any:
        full = f"{self.__dict__['_folder']}/{name}"
        if name.startswith("_") or full not in set(store().names()):
            raise AttributeError(f"module '{self.__name__}' has no interface '{name}'")
        cls = store().get(full)
        setattr(self, name, cls)
        return cls

    def __dir__(self) -> list[str]:
        prefix = self.__dict__["_folder"] + "/"
        return sorted({*super().__dir__(), *(n[len(prefix) :] for n in store().names() if n.startswith(prefix))})


class InterfaceFinder(MetaPathFinder, Loader):
    """Finds interface packages below the package `parent`; '' for the top level.

    It is asked last, so real packages win.
    """

    def __init__(self, parent: str) -> None:
        self.prefix = f"{parent}." if parent else ""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(self.prefix):
            return None
        package, _, folder = fullname[len(self.prefix) :].partition(".")
        if "_" not in package or package.startswith("_") or (folder and folder not in FOLDERS):
            return None  # every interface package has an underscore; do not load the store for other imports
        start = f"{package}/{folder}/" if folder else f"{package}/"
        if not any(name.startswith(start) for name in store().names()):
            return None
        return ModuleSpec(fullname, self, is_package=not folder)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        package, _, folder = spec.name[len(self.prefix) :].partition(".")
        if not folder:
            return None
        module = InterfaceModule(spec.name)
        module.__dict__["_folder"] = f"{package}/{folder}"
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


def install(parent: str) -> None:
    """Make the interfaces importable below `parent`. Twice does nothing."""
    finders = (finder for finder in sys.meta_path if isinstance(finder, InterfaceFinder))
    if not any(finder.prefix == (f"{parent}." if parent else "") for finder in finders):
        sys.meta_path.append(InterfaceFinder(parent))
