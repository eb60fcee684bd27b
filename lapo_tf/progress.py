"""Progress of long work: a bar in a terminal or notebook, elsewhere a plain line every half minute."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO, TypeAlias

from tqdm.auto import tqdm

SECONDS = 30.0  # between two lines


class Lines:
    """What `progress_bar` gives where nobody watches: tqdm's interface as far as it is used here, and whole lines."""

    def __init__(self, total: float | None, desc: str, unit: str, initial: int, unit_scale: bool, file: TextIO) -> None:
        self.total = total
        self.n: float = initial
        self._desc, self._unit, self._scale, self._file = desc, unit, unit_scale, file
        self._initial, self._postfix = initial, ""
        self._begun = self._told = time.monotonic()

    def update(self, n: float = 1) -> None:
        """So much more is done."""
        self.n += n
        if time.monotonic() >= self._told + SECONDS:
            self._told = time.monotonic()
            line = tqdm.format_meter(
                self.n,
                self.total,  # type: ignore[arg-type]  # None, too, as tqdm itself does
                self._told - self._begun,
                prefix=self._desc,
                unit=self._unit,
                unit_scale=self._scale,
                initial=self._initial,
                postfix=self._postfix,
                bar_format="{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
            )
            print(line, file=self._file, flush=True)

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """What stands at the end of the next line."""
        self._postfix = text

    def set_description(self, text: str) -> None:
        """What stands at its beginning."""
        self._desc = text

    def close(self) -> None:
        """Nothing is left to tidy up."""

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


Bar: TypeAlias = "tqdm[Any] | Lines"


def progress_bar(
    *,
    total: float | None,
    desc: str = "",
    unit: str = "it",
    initial: int = 0,
    unit_scale: bool = False,
    leave: bool = True,
    disable: bool = False,
) -> Bar:
    """A progress bar on stderr with tqdm's options, in place where it can be redrawn and in lines elsewhere.

    Args:
        total: what there is to do, in `unit`; None if nobody knows.
        initial: how much of it was done before.
        disable: show nothing.
    """
    if disable or sys.stderr.isatty() or in_notebook():
        return tqdm(
            total=total,
            desc=desc,
            unit=unit,
            initial=initial,
            unit_scale=unit_scale,
            leave=leave,
            disable=disable,
            dynamic_ncols=True,
        )
    return Lines(total, desc, unit, initial, unit_scale, sys.stderr)


def in_notebook() -> bool:
    """Whether this is a notebook's kernel, which can redraw what it shows."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")
