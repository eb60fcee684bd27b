"""Errors a user can cause, told in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import wraps
from typing import NoReturn, ParamSpec

P = ParamSpec("P")


class UserError(Exception):
    """Something the user can put right. The message is one line: what was wrong, what was expected, what to do."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """`UserError` for a name that is not among `known`, with the nearest known name."""
    known = sorted(set(known))
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UserError(f"unknown {kind} '{name}': {hint}known: {', '.join(known)}")


def first_line(error: BaseException) -> str:
    """An exception's type and the first line of what it says, at most 160 characters of it."""
    text = (str(error).splitlines() or [""])[0].strip().strip("'\"")
    return f"{type(error).__name__}: {text[:160]}" if text else type(error).__name__


def require(ok: bool, name: str, value: object, expected: str) -> None:
    """A `UserError` about the option `name`, unless `ok`."""
    if not ok:
        raise UserError(f"{name} is {value}: expected {expected}")


def exit_with(message: str, code: int = 1) -> NoReturn:
    """Print `error: message` on one line of stderr and exit with `code`."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(code)


def command(main: Callable[P, None]) -> Callable[P, None]:
    """Decorate a command's entry point: user errors become one line on stderr and exit status 1."""

    @wraps(main)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            main(*args, **kwargs)
        except UserError as error:
            exit_with(str(error))
        except BrokenPipeError:  # nobody reads on, as after `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what Python writes at its end goes nowhere, too
            raise SystemExit(141) from None
        except OSError as error:  # full disk, read-only folder, vanished file
            place = error.filename or "while reading or writing"
            exit_with(f"{error.strerror or error}: {place}; free or fix it and run again")
        except KeyboardInterrupt:
            exit_with("interrupted", code=130)

    return wrapper
