"""Where definitions come from: rosbags' store of one distribution, our definition files, the user's."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, TypesysError, get_typestore
from rosbags.typesys.base import Field, make_typesdict
from rosbags.typesys.msg import MSGParser
from rosbags.typesys.store import Typestore

from robot_bridge.errors import UserError, unknown
from robot_bridge.interfaces.fields import FILLER, Codec, codec_for
from robot_bridge.interfaces.message import Action, Message, Service, make_class

LOGGER = logging.getLogger(__name__)

DISTROS = {"humble": Stores.ROS2_HUMBLE, "jazzy": Stores.ROS2_JAZZY}  # oldest first
DEFINITIONS = Path(__file__).parent / "definitions"


class Store:
    """All interfaces of one ROS distribution; each class is made when it is first asked for. Thread-safe."""

    def __init__(self, distro: str) -> None:
        if distro not in DISTROS:
            raise UserError(f"ROS distribution is {distro}: expected {' or '.join(DISTROS)}; choose one of them")
        self.distro = distro
        self.typestore: Typestore = get_typestore(DISTROS[distro])
        self._files: dict[str, Path] = {}
        self._classes: dict[str, Any] = {}
        self._defaults: dict[str, dict[str, Any]] = {"geometry_msgs/msg/Quaternion": {"w": 1.0}}  # rosbags drops them
        self._lock = threading.RLock()
        self.add_folder(DEFINITIONS / "common")
        self.add_folder(DEFINITIONS / distro)

    def add_folder(self, folder: Path) -> None:
        """Add definition files: `<folder>/<package>/<msg|srv|action>/<Name>.<msg|srv|action>`, as in ROS packages.

        What rosbags defines stays as it is, so that the whole `share` folder of a ROS installation will do. Of what is
        defined by files, the new definition counts.

        Raises:
            UserError: no such files, or another definition of a type that is in use already.
        """
        found = {
            f"{path.parent.parent.name}/{path.parent.name}/{path.stem}": path
            for kind in ("msg", "srv", "action")
            for path in sorted(Path(folder).glob(f"*/{kind}/*.{kind}"))
        }
        if not found:
            raise UserError(f"no interface definitions in {folder}: expected <package>/msg/<Name>.msg and the like")
        with self._lock:
            for name, path in found.items():
                if name not in self._classes and name not in self.typestore.fielddefs:
                    self._files[name] = path
                elif name in self._files and _statements(path) != _statements(self._files[name]):
                    raise UserError(f"{path}: {name} is in use with another definition: add the folder before")

    def names(self) -> Iterator[str]:
        """The names of all interfaces: pkg/msg/Name, pkg/srv/Name, pkg/action/Name."""
        parts = ("_Request", "_Response", "_Goal", "_Result", "_Feedback")
        yield from sorted({n for n in self.typestore.fielddefs if not n.endswith(parts)} | self._files.keys())

    def get(self, name: str) -> Any:
        """The class of the message, service or action `name`; also of a part: `std_srvs/srv/Trigger_Request`.

        Raises:
            UserError: unknown.
        """
        try:
            return self._classes[name]
        except KeyError:
            pass
        with self._lock:
            if name not in self._classes:
                self._make(name)
            return self._classes[name]

    def _make(self, name: str) -> None:
        folder = name.split("/")[1] if name.count("/") == 2 else ""
        whole = name.rpartition("_")[0]
        if folder in ("srv", "action") and name in self._files:
            self._make_group(name, Service if folder == "srv" else Action)
        elif folder in ("srv", "action") and whole in self._files:
            self.get(whole)
            if name not in self._classes:
                raise unknown("interface", name, [n for n in self._classes if n.startswith(whole)])
        elif name in self._files:
            self._parse(name, self._files[name].read_text(encoding="utf-8"))
            self._make_message(name)
        elif name in self.typestore.fielddefs:
            self._make_message(name)
        else:
            raise unknown("interface", name, self.names())

    def _make_group(self, name: str, base: type[Service] | type[Action]) -> None:
        parts = base._parts
        texts: list[str] = [""]
        for line in self._files[name].read_text(encoding="utf-8").splitlines():
            if line.startswith("---"):
                texts.append("")
            else:
                texts[-1] += line + "\n"
        if len(texts) != len(parts):
            raise UserError(f"{self._files[name]}: {len(texts)} parts, expected {len(parts)} ({', '.join(parts)})")
        members: dict[str, Any] = {}
        for part, text in zip(parts, texts, strict=True):
            part_name = f"{name}_{part}"
            self._parse(part_name, text)
            members[part] = self._make_message(part_name)
        package, folder, short = name.split("/")
        members |= {"__msgtype__": name, "__module__": f"{__package__}.{package}.{folder}", "__doc__": name}
        self._classes[name] = type(short, (base,), members)

    def _parse(self, name: str, text: str) -> None:
        """Have rosbags parse one message's text, and register it for bags."""
        package, _, short = name.split("/")
        try:  # named as a message, so that `JointTolerance` in an action means control_msgs/msg/JointTolerance
            (parsed,) = MSGParser(f"MSG: {package}/msg/{short}\n{text}").specification()
        except TypesysError as error:
            raise UserError(f"{name} cannot be parsed: {str(error).splitlines()[-1]}") from None
        fields: list[Field] = parsed.fields
        self._defaults[name] = {field.name: field.value for field in fields if field.value is not None}
        for _, description in make_typesdict([parsed])[parsed.name][1]:
            for nested in _names_in(description):
                self.get(nested)
        self.typestore.register(make_typesdict([parsed._replace(name=name)]))

    def _make_message(self, name: str) -> type[Message]:
        constants, fields = self.typestore.fielddefs[name]
        codecs: dict[str, Codec] = {n: codec_for(d, self.get) for n, d in fields if n != FILLER}
        values = {n: bytes((v,)) if kind == "byte" and isinstance(v, int) else v for n, kind, v in constants}
        made = make_class(name, values, codecs, self._defaults.get(name, {}), lambda: self.typestore.types[name])
        self._classes[name] = made
        return made


def _statements(path: Path) -> list[str]:
    """A definition without comments, and with single blanks."""
    lines = (" ".join(line.partition("#")[0].split()) for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def _names_in(description: Any) -> Iterator[str]:
    kind, detail = description
    if kind == Nodetype.NAME:
        yield detail
    elif kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        yield from _names_in(detail[0])


_store: Store | None = None
_store_lock = threading.Lock()


def store() -> Store:
    """The process's store, made on first use: of `use_distro`, else of ROS_DISTRO, else of Humble.

    For a distribution that is not known, it has the newest known one's definitions, and says so.
    """
    global _store
    if _store is None:
        with _store_lock:
            if _store is None:
                distro = os.environ.get("ROS_DISTRO") or "humble"
                if distro not in DISTROS:
                    newest = list(DISTROS)[-1]
                    LOGGER.warning("ROS_DISTRO is %s, whose messages are not known: %s's are used", distro, newest)
                    distro = newest
                _store = Store(distro)
    return _store


def use_distro(distro: str) -> None:
    """Choose the distribution, `humble` or `jazzy`, before the first interface is used.

    Raises:
        UserError: unknown, or another one is in use.
    """
    global _store
    with _store_lock:
        if _store is None:
            _store = Store(distro)
        elif _store.distro != distro:
            raise UserError(f"ROS distribution is {_store.distro} already: choose {distro} before the first import")
