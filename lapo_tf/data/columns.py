"""The columns of HDF5 files: one place that finds them, checks what they hold, and joins those of a layout.

Nothing outside the file is read: links and storage in other files are refused, because a data set from somewhere else
could point to any file here.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Protocol

import h5py
import numpy as np

from lapo_tf.data.layouts import Layout, entries, flatten
from lapo_tf.errors import UserError

_KINDS = {"S": "text", "U": "text", "O": "text or lists", "V": "records", "c": "complex numbers", "M": "dates"}
_NUMBERS = "biuf"
OUTSIDE = "lie in another file, which is not read: copy them into this one, for example with h5repack"


class Column(Protocol):
    """Rows of numbers, read a slice at a time."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> np.ndarray: ...


class Joined:
    """Columns of a group, joined by a layout; a `Column` of float32 [S, size]."""

    dtype = np.dtype(np.float32)

    def __init__(self, columns: dict[str, h5py.Dataset], layout: Layout) -> None:
        self._columns, self._layout = columns, layout
        lengths = {len(column) for column in columns.values()}
        if len(lengths) != 1:
            raise UserError(f"observation layout: {', '.join(columns)} have {sorted(lengths)} rows: expected as many")
        self.shape = (lengths.pop(), self[:1].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return flatten(self._layout, lambda key: self._columns[key][rows])


def column(group: h5py.Group, name: str, where: str) -> h5py.Dataset:
    """A column of numbers.

    Args:
        group: in which to look.
        name: path in it.
        where: the file's name, for messages.

    Raises:
        UserError: there is none, or it holds no numbers, or they lie in another file.
    """
    found = node(group, name, where)
    if isinstance(found, h5py.Group):
        raise UserError(f"{where}: {name} is a group of {_listed(found)}: expected an array of numbers")
    if found.shape is None or found.dtype.kind not in _NUMBERS:
        what = "nothing" if found.shape is None else f"{_KINDS.get(found.dtype.kind, 'no numbers')} ({found.dtype})"
        raise UserError(f"{where}: {name} holds {what}: expected numbers")
    return found


def observations(group: h5py.Group, name: str, layout: Layout | None, where: str) -> Column:
    """A column of observations: an array, or the entries of a dictionary that a layout names.

    Raises:
        UserError: a dictionary without a layout, an array with one, or entries that are not there.
    """
    found = node(group, name, where)
    if not isinstance(found, h5py.Group):
        if layout:
            raise UserError(f"{where}: {name} are an array, no dictionary: leave the layout (--layout) out")
        return column(group, name, where)
    if not layout:
        raise UserError(dictionary(f"{where}: {name}", list(found)))
    return Joined({key: column(group, f"{name}/{key}", where) for key in entries(layout)}, layout)


def dictionary(what: str, keys: list[str]) -> str:
    """What to say of observations that are a dictionary, where no layout was given."""
    return (
        f"{what} are a dictionary of {', '.join(keys)}: choose and join its entries with a layout, "
        f"such as --layout {' '.join(keys[:2])}, or parts of them, such as {keys[0]}[0:3]"
    )


def node(group: h5py.Group, name: str, where: str) -> Any:
    """What is at a path of a file, which must not lead out of it.

    Raises:
        UserError: nothing is there, or it lies in another file.
    """
    found: Any = group
    for part in name.split("/"):
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            raise UserError(f"{where}: {name} {OUTSIDE}")
        found = None if link is None else found.get(part)
        if found is None:
            raise UserError(f"{where}: no {name}; it has {_listed(group)}")
    if isinstance(found, h5py.Dataset) and not _inside(found.id):
        raise UserError(f"{where}: {name} {OUTSIDE}")
    return found


def numbers_below(group: h5py.Group, lengths: Container[int]) -> list[str]:
    """Paths of the arrays below a group that hold numbers and have one of the lengths. Links out are not followed."""
    names: list[str] = []

    def visit(name: str, found: h5py.Group | h5py.Dataset) -> None:
        fits = isinstance(found, h5py.Dataset) and found.shape and found.dtype.kind in _NUMBERS
        if fits and found.shape[0] in lengths and _inside(found.id):
            names.append(name)

    group.visititems(visit)
    return names


def read(file: h5py.File, path: str, dtype: type[np.generic]) -> np.ndarray:
    """One array, converted by HDF5 while it is read. h5py's high-level objects would triple the time.

    Raises:
        UserError: it lies in another file.
        OSError, KeyError, TypeError: it cannot be read.
    """
    found = h5py.h5d.open(file.id, path.encode())
    if h5py.h5f.get_name(found) != h5py.h5f.get_name(file.id) or not _inside(found):
        raise UserError(f"{file.filename}: {path} {OUTSIDE}")
    array = np.empty(found.shape, dtype)
    found.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
    return array


def _inside(found: h5py.h5d.DatasetID) -> bool:
    """Whether a dataset's numbers are stored in its own file."""
    plist = found.get_create_plist()
    if plist.get_layout() == h5py.h5d.VIRTUAL:
        return all(plist.get_virtual_filename(i) == "." for i in range(plist.get_virtual_count()))
    return plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count() == 0


def _listed(group: h5py.Group) -> str:
    names = list(group)
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") or "nothing"
