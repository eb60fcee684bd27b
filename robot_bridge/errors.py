"""Errors a user can cause, told in one line."""

from __future__ import annotations

import argparse
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
        except OSError as error:  # full disk, read-only folder, vanished file, port in use
            place = f": {error.filename}" if error.filename else ""
            exit_with(f"{error.strerror or error}{place}")
        except KeyboardInterrupt:
            exit_with("interrupted", code=130)

    return wrapper


class ArgumentParser(argparse.ArgumentParser):
    """`argparse`, with defaults in `--help`, and a `UserError` that names the nearest option instead of a usage dump.

    Options are never abbreviated: a later option of the same beginning would change what a script means.
    """

    def __init__(self, *, prog: str, description: str) -> None:
        super().__init__(
            prog=f"python -m {prog}",
            description=description,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )

    def parse_args(self, args=None, namespace=None):
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
            raise unknown("option", rest[0].split("=")[0], known)
        return options

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, except where there are none; keeps the description's lines."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)
