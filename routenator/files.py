"""Files that are either whole or not there: atomic writes, hashes, canonical JSON."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: sorted keys, no spaces, UTF-8 kept. Fingerprints are made of it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any, length: int = 12) -> str:
    """First ``length`` hex digits of the sha256 of a JSON value's canonical text."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, in blocks of 1 MiB."""
    state = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


def sha256_tree(root: Path, exclude: Callable[[str], bool] = lambda name: False) -> str:
    """sha256 over the sorted relative names and contents of the files below ``root``.

    Args:
        root: a folder.
        exclude: called with each relative POSIX name; true leaves the file out.
    """
    state = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if "__pycache__" in name or exclude(name):
            continue
        state.update(f"{name}\0{sha256_file(path)}\n".encode())
    return state.hexdigest()


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write to a temporary name in the same folder, fsync, rename over ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data.encode() if isinstance(data, str) else data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes 0600; a run directory is shared by a team, so the umask decides.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def write_json(path: Path, value: Any) -> None:
    """``write_atomic`` of indented JSON."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in a file."""
    return json.loads(path.read_text(encoding="utf-8"))
