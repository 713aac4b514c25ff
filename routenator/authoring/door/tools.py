"""One tool of an API, as every reader returns it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from routenator.errors import InputError


@dataclass
class Tool:
    """A function that an API offers.

    Attributes:
        name: as published; for an operation without a name, one made from its method and path.
        description: one or more sentences; may be empty.
        parameters: JSON schema of an object, with references to places within it only.
        origin: where it is in the source, such as ``GET /pets/{petId}``.
        method: the HTTP method in lower case; empty if the source has none.
        summary: a short description, if the source has one besides the description.
        deprecated: the source says that it should not be used.
        notes: what was changed or left out of it while reading, one sentence each.
        error: why it cannot be read; it must then be excluded.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    origin: str
    method: str = ""
    summary: str = ""
    deprecated: bool = False
    notes: list[str] = field(default_factory=list)
    error: InputError | None = None


@dataclass
class Api:
    """What a source holds.

    Attributes:
        form: the source's form in words.
        title, description: of the API; empty if the source has none.
        tools: in the source's order.
        notes: of the source as a whole, one sentence each.
    """

    form: str
    tools: list[Tool]
    title: str = ""
    description: str = ""
    notes: list[str] = field(default_factory=list)


def argument_name(name: str) -> str:
    """The argument that a parameter becomes: characters other than letters, digits and ``_`` become ``_``."""
    made = re.sub(r"[^A-Za-z0-9_]+", "_", name.removesuffix("[]")).strip("_") or "value"
    return made if not made[0].isdigit() else f"n{made}"
