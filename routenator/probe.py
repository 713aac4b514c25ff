"""Tries what a run asks of a file system: files, renaming, hard and symbolic links, locks."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from routenator.errors import InputError
from routenator.files import NO_LINKS, check_writable, nearest_folder
from routenator.locks import has_flock

HARD_LINKS = "it has no hard links, so receipts are renamed under a lock instead"
SYMBOLIC_LINKS = "it has no symbolic links, so the run's folder shows no outputs; `status --json` names their folders"
LOCKS = "it has no file locks (flock), so lock files named *.held are used instead"


def lacks(path: Path, key: str) -> list[str]:
    """Return a sentence for each ability that the file system at ``path`` lacks, with what is used instead.

    Writes a temporary folder into ``path``, or into its nearest ancestor that exists, and removes it.

    Args:
        path: a folder, which need not exist yet.
        key: the setting that names it, for errors.

    Raises:
        InputError: files cannot be created or renamed there; nothing replaces that.
    """
    check_writable(path, key)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".probe-", dir=nearest_folder(path)))
    except OSError as error:
        raise _refused(path, key, error, "a folder cannot be created here") from None
    try:
        return _try_all(folder, path, key)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try_all(folder: Path, path: Path, key: str) -> list[str]:
    first, second = folder / "first", folder / "second"
    try:
        first.write_text("1")
        second.write_text("2")
        os.replace(first, second)
        if second.read_text() != "1":
            raise OSError(errno.EIO, "a renamed file has the content of the one it replaced")
    except OSError as error:
        raise _refused(path, key, error, "files cannot be written and renamed here") from None
    found = []
    for make, name, sentence in ((os.link, "third", HARD_LINKS), (os.symlink, "fourth", SYMBOLIC_LINKS)):
        try:
            make(second, folder / name)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise _refused(path, key, error, "files cannot be linked here") from None
            found.append(sentence)
    try:
        if not has_flock(second):
            found.append(LOCKS)
    except OSError as error:
        raise _refused(path, key, error, "files cannot be locked here") from None
    return found


def _refused(path: Path, key: str, error: OSError, message: str) -> InputError:
    return InputError(
        message,
        file=path,
        key=key,
        found=error.strerror or str(error),
        expected="a file system where files can be created, renamed and replaced",
    )
