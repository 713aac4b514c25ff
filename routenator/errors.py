"""The errors of this project.

Whatever a user can cause is an ``InputError``. It says where the problem is, what was found, what was expected, and the
nearest valid name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class RoutenatorError(Exception):
    """Base class of every error that this project raises on purpose."""

    exit_code = 1


def value_kind(value: object) -> str:
    """Name the kind of a value that was read from YAML or JSON, for ``found``: ``text``, ``a list``, ``nothing``."""
    for kinds, name in ((type(None), "nothing"), (bool, "true or false"), ((int, float), "a number"), (str, "text")):
        if isinstance(value, kinds):
            return name
    name = "mapping" if isinstance(value, dict) else "list"
    return f"a {name}" if value else f"an empty {name}"


class InputError(RoutenatorError):
    """Invalid input, refused before anything is written or submitted (exit code 2).

    Args:
        message: what is wrong, in one sentence.
        file: the file with the problem, if any.
        key: the key, line or column in the file.
        found: the value found there.
        expected: what would be valid.
        valid: all valid names; the nearest one is suggested.
    """

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        key: str | None = None,
        found: object = None,
        expected: str | None = None,
        valid: Iterable[str] | None = None,
    ) -> None:
        self.message = message
        self.file = str(file) if file is not None else None
        self.key = key
        self.found = found
        self.expected = expected
        self.nearest: str | None = None
        names = sorted(set(valid)) if valid is not None else []
        if names and found is not None:
            self.nearest = nearest_name(str(found), names)
        if names and expected is None:
            self.expected = "one of " + ", ".join(names[:24]) + (", ..." if len(names) > 24 else "")
        super().__init__(str(self))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.__dict__.copy()))

    def __str__(self) -> str:
        lines = [self.message]
        for label in ("file", "key", "found", "expected"):
            value = getattr(self, label)
            if value is not None:
                lines.append(f"  {label + ':':<10}{value}")
        if self.nearest is not None:
            lines.append(f"  {'nearest:':<10}{self.nearest}")
        return "\n".join(lines)


def nearest_name(found: str, names: list[str]) -> str | None:
    """The name most likely meant: the most similar one, else one that shares a prefix with the text found."""
    close = difflib.get_close_matches(found, names, n=1, cutoff=0.5)
    if close:
        return close[0]
    starts = [name for name in names if len(found) >= 3 and (name.startswith(found) or found.startswith(name))]
    return min(starts, key=len) if starts else None


class InputErrors(InputError):
    """Several invalid inputs found in one check; all of them are shown."""

    def __init__(self, errors: list[InputError]) -> None:
        self.errors = errors
        super().__init__("\n".join(str(error) for error in errors))


class StageError(RoutenatorError):
    """A stage cannot continue (missing shard, corrupt file, dead engine)."""


class CorruptShardError(StageError):
    """A committed shard does not match its receipt."""


def _rebuild(cls: type[InputError], state: dict[str, object]) -> InputError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    Exception.__init__(error, str(error))
    return error
