"""The fingerprint of a domain's folder, by which a run knows whether its domain has changed.

Kept apart from ``loader``: importing its models takes longer than a command that only compares fingerprints.
"""

from __future__ import annotations

from pathlib import Path

from routenator.files import check_contained, digest, sha256_file, sha256_tree
from routenator.routes import ROUTES

SUFFIX = ".yaml"  # of files of templates
_DEFAULTS = Path(__file__).resolve().parent / "prompts"  # ROUTE.yaml
_NOT_INPUT = ("golden.jsonl", "README.md", "golden.LICENSE", "run.yaml")


def domain_fingerprint(path: Path) -> str:
    """sha256 of everything that sampling and generation depend on: all files except the golden set and the notes.

    For routes for which the domain has no prompts of its own, the package's count too.

    Raises:
        InputError: the folder has links that lead out of it.
    """
    check_contained(path)
    own = sha256_tree(path, exclude=lambda name: name in _NOT_INPUT)
    borrowed = default_prompts(path / "templates")
    return digest([own, {route: sha256_file(file) for route, file in borrowed.items()}], 64) if borrowed else own


def default_prompts(directory: Path) -> dict[str, Path]:
    """The package's files of prompts, by route, for the routes without a template file in a domain's folder."""
    files = {route: _DEFAULTS / f"{route}{SUFFIX}" for route in ROUTES}
    return {
        route: file
        for route, file in files.items()
        if file.is_file() and not any((directory / route).glob(f"*{SUFFIX}"))
    }
