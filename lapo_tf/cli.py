"""Command lines from dataclasses, with one-line errors."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from lapo_tf.errors import UserError, unknown

T = TypeVar("T")


def parse(
    kind: type[T], argv: Sequence[str] | None = None, *, default: Any = tyro.MISSING_NONPROP, description: str
) -> T:
    """`argv` (default: the command line) as an instance of the dataclass `kind`; its docstrings are `--help`.

    Raises:
        UserError: unknown option (with the nearest one) or a value that does not fit.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            config, rest = tyro.cli(
                kind,
                args=argv,
                default=default,
                prog=f"python -m lapo_tf.{Path(sys.argv[0]).stem}",
                description=description,
                return_unknown_args=True,
            )
    except SystemExit as exit:
        if not exit.code:
            raise  # --help
        raise UserError(f"{_message(errors.getvalue())} (see --help)") from None
    if rest:
        raise unknown("option", rest[0].split("=")[0], options(kind, default))
    return config


def _message(printed: str) -> str:
    """What tyro says is wrong, out of its box: between the title and the next rule."""
    lines = [line.strip("│ ") for line in printed.splitlines()]
    parts = [
        " ".join(group) for rule, group in itertools.groupby(lines, lambda line: set(line) <= set("─-")) if not rule
    ]
    if printed.startswith("╭"):  # the title is in the frame
        parts[0] = re.sub(r"^╭─.*?─+╮ ", "", parts[0])
    else:
        parts = parts[1:]
    return parts[0].removeprefix("Error parsing ")


def options(kind: type, default: Any) -> list[str]:
    """All option names of a dataclass's command line."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        tyro.cli(kind, args=["--help"], default=default)
    return re.findall(r"(?<=[\s])--[a-z][\w.-]*", out.getvalue())
