"""A second, unprivileged user of this machine, for tests of what others must not be able to do."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_BUSY_S = 60.0


@dataclass(frozen=True)
class Stranger:
    """Another user.

    Attributes:
        name: the login name.
        folder: a folder of theirs, which all may enter and nobody else may write to.
    """

    name: str
    uid: int
    gid: int
    folder: Path

    def run(self, command: Sequence[str | Path], **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, in their folder, with nothing of our environment but the PATH.

        Args:
            more: environment variables.
        """
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C", "USER": self.name}
        return subprocess.run(
            [str(part) for part in command],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd=self.folder,
            env=environment | more,
            umask=0o022,
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def second_user() -> Iterator[Stranger]:
    """Make a user, and remove it with its folder; needs root."""
    name = f"stranger-{secrets.token_hex(4)}"
    _edit_users("useradd", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/sh", name)
    folder = Path(tempfile.mkdtemp(prefix="stranger-"))
    try:
        entry = pwd.getpwnam(name)
        folder.chmod(0o755)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        yield Stranger(name, entry.pw_uid, entry.pw_gid, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _edit_users("userdel", "--force", name)


def _edit_users(*command: str) -> None:
    # Another worker may hold the lock of /etc/passwd.
    deadline = time.monotonic() + _BUSY_S
    while True:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        assert "lock" in done.stderr and time.monotonic() < deadline, done.stderr
        time.sleep(0.2)
