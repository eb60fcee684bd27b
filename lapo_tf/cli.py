"""Command lines from dataclasses, with one-line errors."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from lapo_tf.errors import UserError, unknown

T = TypeVar("T")


def parse(
    kind: type[T],
    argv: Sequence[str] | None = None,
    *,
    default: Any = tyro.MISSING_NONPROP,
    description: str,
    name: str = "",
) -> T:
    """`argv` (default: the command line) as an instance of `kind`; its docstrings are `--help`.

    Args:
        kind: a dataclass.
        name: of the subcommand whose options these are.

    Raises:
        UserError: unknown option (with the nearest one) or a value that does not fit.
    """
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            config, rest = tyro.cli(
                kind,
                args=list(sys.argv[1:] if argv is None else argv),
                default=default,
                prog=f"{_program()} {name}".strip(),
                description=description,
                return_unknown_args=True,
                registry=_NUMBERS,
            )
    except SystemExit as exit:
        if not exit.code:
            raise  # --help
        raise UserError(f"{_message(errors.getvalue())} (see --help)") from None
    if rest:
        raise unknown("option", rest[0].split("=")[0], options(type(config)))
    return config


_NUMBERS = tyro.constructors.ConstructorRegistry()


@_NUMBERS.primitive_rule
def _whole_number(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
    """Whole numbers may be written 1e6, as in YAML files."""
    if info.type is not int:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: _whole(words[0]),
        is_instance=lambda value: isinstance(value, int) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


def _whole(text: str) -> int:
    with contextlib.suppress(ValueError):
        if float(text).is_integer() and "e" in text.lower():
            return int(float(text))
    return int(text)


def _program() -> str:
    """How this program was started, such as python -m lapo_tf.train."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else f"python {Path(sys.argv[0]).name}"


def _message(printed: str) -> str:
    """What tyro says is wrong: the first lines below the title that are no rules."""
    lines = [line.strip("│ ") for line in printed.splitlines()[1:]]
    said = next(group for text, group in itertools.groupby(lines, lambda line: not set(line) <= set("─-")) if text)
    return " ".join(said).removeprefix("Error parsing ")


def options(kind: Any, prefix: str = "--") -> list[str]:
    """All option names of a dataclass's command line."""
    names = []
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if typing.get_origin(hint) is typing.ClassVar or hint is typing.ClassVar:
            continue
        marks = getattr(hint, "__metadata__", ())
        if any(mark is tyro.conf.Positional for mark in marks):
            continue
        shown = next((mark.name for mark in marks if getattr(mark, "name", None)), name).replace("_", "-")
        inner = typing.get_args(hint)[0] if marks else hint
        names += options(inner, f"{prefix}{shown}.") if dataclasses.is_dataclass(inner) else [prefix + shown]
    return names
