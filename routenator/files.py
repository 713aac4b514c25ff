"""Files that are either whole or not there: atomic writes, hashes, canonical JSON."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from routenator.errors import InputError

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
        # Editors' swap files and the like are no input, and snapshots leave them out.
        if "__pycache__" in name or any(part.startswith(".") for part in name.split("/")) or exclude(name):
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
        Path(temporary).chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """``write_atomic`` of indented JSON."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_text(file: Path, expected: str = "a text file") -> str:
    """The text of a user's file, without a byte order mark.

    Args:
        file: what to read.
        expected: what it should hold, for the message.

    Raises:
        InputError: it is missing, a folder, unreadable, or not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError("a file is missing", file=file, expected=expected) from None
    except UnicodeDecodeError as error:
        raise InputError(
            "not UTF-8 text", file=file, key=f"byte {error.start + 1}", found=error.reason, expected=expected
        ) from None
    except OSError as error:
        raise InputError("a file that cannot be read", file=file, found=error.strerror, expected=expected) from None


def nearest_folder(path: Path) -> Path:
    """The path itself or the nearest folder above it that exists."""
    path = Path(os.path.abspath(path.expanduser()))
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_writable(path: Path, key: str) -> None:
    """Whether files can be made where ``path`` is to be. Tried with a file that has no name, because rights alone do
    not tell of read-only file systems, quotas and the super-user.

    Raises:
        InputError: no.
    """
    folder = nearest_folder(path)
    try:
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is not a folder")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            "no permission to write here",
            file=path,
            key=key,
            found=error.strerror or str(error),
            expected=f"a folder that {_user()} may write",
        ) from None


def check_file(path: Path, key: str) -> None:
    """Whether a file can be written at ``path``, be it new or in place of one that is there.

    Raises:
        InputError: no, or a folder is there.
    """
    if path.is_dir():
        raise InputError("a folder where a file is to be written", file=path, key=key, expected="a file's path")
    check_writable(path.parent, key)  # files are replaced whole, which takes no right but the folder's


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def read_json(path: Path) -> Any:
    """The JSON value in a file."""
    return json.loads(path.read_text(encoding="utf-8"))
