"""Decides whose files are trusted: this user's, as long as nobody else can write to them.

A run directory holds code that tasks run, receipts that say what is done, and checkpoints that are unpickled. On a
shared disk anybody may plant such a folder where others will find it. So before a command or a task acts on one, the
folder must belong to this user (or to root) and be writable by nobody else. What is inside such a folder needs no check
of its own, because nobody else could have put it there.

A group that shares its runs on purpose sets ``shared_group: true``. Its folders carry the group and are writable by it,
and every member's files are trusted. That is consent to run each other's code, so a run that somebody else made is only
trusted if ROUTENATOR_SHARED_GROUP names its group in this user's own environment.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from routenator.errors import InputError

GROUP_VARIABLE = "ROUTENATOR_SHARED_GROUP"


class TrustError(InputError):
    """A file or folder that somebody else could have written."""


def check_own(path: Path, what: str, group: int | None = None) -> None:
    """Check that a file or folder that exists is this user's and that nobody else can write to it.

    Access control lists are not looked at.

    Args:
        path: the file or folder; a link must be this user's too.
        what: what it is, for the message ("this run", "the cache of weights").
        group: id of a group whose members are trusted as well.

    Raises:
        TrustError: it is not.
    """
    info = path.stat()
    owners = {path.lstat().st_uid, info.st_uid} - {os.geteuid(), 0}
    strangers = {owner for owner in owners if group is None or info.st_gid != group or not _is_member(owner, group)}
    writable = info.st_mode & stat.S_IWOTH or (info.st_mode & stat.S_IWGRP and info.st_gid != group)
    if not strangers and not writable:
        return
    mend = f"chmod go-w {path}" if not strangers else "one that you made yourself"
    raise TrustError(
        f"{what} could have been written by somebody else, and would run code as you",
        file=path,
        found=f"owner {user_name(info.st_uid)}, group {group_name(info.st_gid)}, mode {stat.S_IMODE(info.st_mode):04o}",
        expected=f"owner {user_name(os.geteuid())}, writable by nobody else ({mend}); "
        "for groups that share runs, see shared_group in docs/security.md",
    )


def is_own(path: Path, group: int | None = None) -> bool:
    """Whether ``check_own`` accepts a file or folder."""
    try:
        check_own(path, "", group)
    except TrustError:
        return False
    return True


def trusted_group(folder: Path) -> int | None:
    """Return the id of the group whose members are trusted in a folder that is shared on purpose; None if none is.

    Args:
        folder: a run directory whose config says that its group shares it.

    Raises:
        TrustError: somebody else made it, and this user has not said that the group is trusted.
    """
    info = folder.stat()
    name = group_name(info.st_gid)
    if info.st_uid not in (os.geteuid(), 0) and os.environ.get(GROUP_VARIABLE) != name:
        raise TrustError(
            f"this run belongs to {user_name(info.st_uid)}, who shares it with the group {name}",
            file=folder,
            key=GROUP_VARIABLE,
            found=os.environ.get(GROUP_VARIABLE, "nothing"),
            expected=f"export {GROUP_VARIABLE}={name}, if every member of that group may run code as you",
        )
    if info.st_gid not in {os.getegid(), *os.getgroups()}:
        raise TrustError(
            "this run is shared with a group that you are not a member of",
            file=folder,
            found=name,
            expected="your group",
        )
    return info.st_gid


def named_group() -> int | None:
    """Return the id of the group that this user's environment names as trusted; None if it names none."""
    name = os.environ.get(GROUP_VARIABLE)
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise InputError("no such group", key=GROUP_VARIABLE, found=name, expected="the name of a group") from None


def make_folder(path: Path, shared: bool = False) -> None:
    """Create a folder that only this user may enter, or with ``shared`` its parent's group too; keep one that exists.

    Folders above it are created as usual, with ``shared`` for the group.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        try:
            folder.mkdir(0o700 if folder == path and not shared else 0o777)
        except FileExistsError:
            continue
        if shared:
            os.chown(folder, -1, folder.parent.stat().st_gid)
            folder.chmod(0o2770)


def is_open(path: Path) -> str | None:
    """Return who else may add files to a folder: ``all users``, ``the group NAME``, or None."""
    info = path.stat()
    if info.st_mode & stat.S_IWOTH:
        return "all users"
    return f"the group {group_name(info.st_gid)}" if info.st_mode & stat.S_IWGRP else None


def user_name(number: int) -> str:
    """Return a user's name, or the number if there is none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """Return a group's name, or the number if there is none."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _is_member(user: int, group: int) -> bool:
    try:
        entry = pwd.getpwuid(user)
        return entry.pw_gid == group or entry.pw_name in grp.getgrgid(group).gr_mem
    except KeyError:
        return False
