"""The test cluster's folder: its owner's alone.

Whoever can reach munge's socket can submit jobs as its owner, and `down` kills the process that a file in the folder
names. So the folder has mode 0700, and one of another user, or a link, is refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from routenator.errors import InputError
from routenator.trust import user_name

_MODE = 0o700


def make_folder(root: Path) -> None:
    """Create the folder, or take an empty one of our own, with mode 0700.

    Raises:
        InputError: it is a link, another user's, not a folder, or not empty.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    try:
        root.mkdir(_MODE)
    except FileExistsError:
        check_folder(root)
        if any(root.iterdir()):
            raise InputError(
                "this folder is not empty", file=root, key="--root", expected="a new or empty folder"
            ) from None
    # mkdir's mode is narrowed by the umask, and the folder may have been there.
    root.chmod(_MODE)


def check_folder(root: Path) -> None:
    """Refuse a folder that another user made, or that a link may have been made to lead elsewhere.

    Raises:
        InputError: it exists, and is a link, another user's, or not a folder.
    """
    try:
        found = root.lstat()
    except FileNotFoundError:
        return
    expected = "a folder of your own, not a link; choose another with --root"
    if stat.S_ISLNK(found.st_mode):
        raise InputError(
            "the test cluster's folder is a link", file=root, key="--root", found=root.readlink(), expected=expected
        )
    if not stat.S_ISDIR(found.st_mode):
        raise InputError(
            "the test cluster needs a folder", file=root, key="--root", found="something else", expected=expected
        )
    if found.st_uid != os.getuid():
        raise InputError(
            "the test cluster's folder belongs to another user",
            file=root,
            key="--root",
            found=f"owner {user_name(found.st_uid)}",
            expected=expected,
        )
