"""File helpers: atomic writes, hashes, canonical JSON, and readable errors for files that a user named."""

from __future__ import annotations

import errno
import getpass
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from routenator.errors import InputError

_BLOCK = 1 << 20
NO_PERMISSION = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
# What file systems without hard or symbolic links answer (FAT, some FUSE and SMB mounts).
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def canonical_json(value: Any) -> str:
    """A JSON value as canonical text: sorted keys, no spaces, UTF-8 kept. Fingerprints are computed from it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any, length: int = 12) -> str:
    """First ``length`` hex digits of the sha256 of a JSON value's canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def sha256_file(path: Path) -> str:
    """sha256 of a file, read in blocks of 1 MiB."""
    state = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


def sha256_tree(root: Path, exclude: Callable[[str], bool] = lambda name: False) -> str:
    """sha256 over the sorted relative names and contents of the files below ``root``.

    Args:
        root: a folder.
        exclude: called with each relative POSIX path; files for which it is true are left out.
    """
    state = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        # Editors' swap files and the like are not input, and snapshots omit them.
        if "__pycache__" in name or any(part.startswith(".") for part in name.split("/")) or exclude(name):
            continue
        state.update(f"{name}\0{sha256_file(path)}\n".encode())
    return state.hexdigest()


def check_contained(root: Path) -> None:
    """Check that a folder from elsewhere holds only files, folders, and links to what is within it.

    Otherwise copying the folder would copy the files that its links name, and reading a pipe or a device in it would
    never end. Hidden files are neither read nor copied.

    Raises:
        InputError: a link that leads outside or nowhere, or something that is neither file nor folder.
    """
    inside = root.resolve()
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        for path in (Path(folder, name) for name in (*folders, *files) if not name.startswith(".")):
            target = path.resolve()
            if path.is_symlink() and not (target.is_relative_to(inside) and target.exists()):
                raise InputError(
                    "this link leads out of its folder",
                    file=path,
                    found=f"a link to {path.readlink()}",
                    expected=f"a file, or a link to one in {root}",
                )
            if not (target.is_file() or target.is_dir()):
                raise InputError("neither a file nor a folder", file=path, found="a pipe, socket or device")


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write to a temporary file in the same folder, fsync it, and rename it to ``path``.

    A reader sees the old file or the new one, never part of it; after a crash too, since the data reach the disk
    before the name does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data.encode() if isinstance(data, str) else data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp creates files with mode 0600, but teams share run directories: apply the umask instead.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value atomically as indented JSON."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_text(file: Path, expected: str = "a text file") -> str:
    """The text of a user's file, without a byte order mark.

    Args:
        file: the file to read.
        expected: what the file should contain, for the error message.

    Raises:
        InputError: the file is missing, a folder, unreadable, or not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        beside = [path.name for path in file.parent.iterdir()] if file.parent.is_dir() else []
        names = get_close_matches(file.name, beside, n=1, cutoff=0.8)  # a likely typo, not just any file
        raise InputError("file not found", file=file, found=file.name, expected=expected, valid=names) from None
    except UnicodeDecodeError as error:
        raise InputError(
            "not UTF-8 text", file=file, key=f"byte {error.start + 1}", found=error.reason, expected=expected
        ) from None
    except OSError as error:
        raise InputError("cannot read this file", file=file, found=error.strerror, expected=expected) from None


def nearest_folder(path: Path) -> Path:
    """The path itself if it exists, else its nearest existing ancestor."""
    path = Path(os.path.abspath(path.expanduser()))
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_writable(path: Path, key: str) -> None:
    """Check that files can be created at ``path``, which need not exist yet.

    Creates an unnamed temporary file, because permission bits say nothing about read-only file systems, quotas or root.

    Raises:
        InputError: they cannot.
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
            expected=f"a folder that {_user()} can write to",
        ) from None


def check_file(path: Path, key: str) -> None:
    """Check that a file can be created or replaced at ``path``.

    Raises:
        InputError: it cannot, or ``path`` is a folder.
    """
    if path.is_dir():
        raise InputError("a folder has the name of the file to write", file=path, key=key, expected="a file's path")
    check_writable(path.parent, key)  # files are replaced by renaming, which needs write permission on the folder only


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


class DamagedFileError(InputError, ValueError):
    """A file that this program wrote is no longer JSON."""


def read_json(path: Path) -> Any:
    """The JSON value in a file that this program wrote.

    Raises:
        DamagedFileError: it is not JSON; a full disk or a copy that broke off leaves such files.
    """
    expected = "JSON as it was written; restore the file, or make it again"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DamagedFileError(
            "this file is damaged", file=path, key=f"line {error.lineno}", found=error.msg, expected=expected
        ) from None
    except UnicodeDecodeError as error:
        raise DamagedFileError(
            "this file is damaged", file=path, key=f"byte {error.start + 1}", found=error.reason, expected=expected
        ) from None
