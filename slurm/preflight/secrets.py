"""Warns of secrets in a run's config, which plan.json and config.yaml keep in plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from routenator.compose import texts_in
from routenator.config import RunConfig

_NAMES = r"(?:TOKEN|SECRET|PASSW(?:OR)?D|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)"
_NAME = re.compile(_NAMES, re.IGNORECASE)
# NAME=value, unless the value is a variable or what a command prints, and unless NAME is that of a file.
_ASSIGNED = re.compile(rf"\b(\w*{_NAMES}(?!\w*(?:PATH|FILE|DIR)\b)\w*)=['\"]?(?![$`'\"\s])\S{{4}}", re.IGNORECASE)
_SHAPES = re.compile(
    r"\bhf_\w{20}|\bgh[pousr]_\w{20}|\bgithub_pat_\w{20}|\bglpat-[\w-]{16}|\bsk-[\w-]{20}|\bxox[abp]-[\w-]{10}"
    r"|\bAKIA[0-9A-Z]{16}|://[^/\s:@]+:[^/\s@$]+@"
)
_ITEM = re.compile(r"\[\d+\]")
_SHORTEST = 8  # shared with an environment variable's value, this many characters are not a coincidence


def secret_warnings(config: RunConfig, arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return a warning, without the secret, for each value that seems to hold one.

    Args:
        arguments: the command line.
        environment: environment variables; the values of those whose names suggest a secret are looked for.
    """
    private = {name: value for name, value in environment.items() if _NAME.search(name) and len(value) >= _SHORTEST}
    warnings = []
    for place, text in texts_in(config.model_dump(mode="json")):
        key = _ITEM.sub("", place)  # as a command line names it
        what = _secret_in(text, private)
        if what is not None:
            seen = any(text in argument or key in argument for argument in arguments)
            warnings.append(
                f"{key} seems to hold a secret ({what}), which plan.json and config.yaml will keep in plain text"
                + (", and all users of this machine can read your command line" if seen else "")
                + "; have the job read it from a file of yours, e.g. 'export HF_TOKEN=$(cat ~/.hf_token)'"
            )
    return warnings


def _secret_in(text: str, private: Mapping[str, str]) -> str | None:
    for name, value in private.items():
        if value in text:
            return f"the value of ${name}"
    if found := _ASSIGNED.search(text):
        return f"a value for {found.group(1)}"
    return "it looks like an access token or a password" if _SHAPES.search(text) else None
