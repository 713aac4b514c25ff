"""Stand-ins for squeue, sacct and sbatch, by which ``benchmarks/chaos.py`` has them fail and lie.

Each stands on the PATH in front of the real command and calls it. For one call it misbehaves, namely if there is a file
``COMMAND.NUMBER.KIND.laid`` in their folder; that call renames the file to ``....fired``.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

COMMANDS = ("squeue", "sacct", "sbatch")
LATE_S = 4
# Kind -> what the command does, for the table.
KINDS = {
    "timeout": "timed out, did nothing",
    "nothing": "answered nothing, exit 0",
    "late": "answered late",
    "denied": "succeeded, said it failed",
    "quiet": "failed, exit 0",
}
_ERROR = "error: Socket timed out on send/recv operation"
_SCRIPT = """#!/bin/sh
# A stand-in for {name}, for one benchmark.
for laid in {folder}/{name}.*.laid; do
  fired="${{laid%.laid}}.fired"
  mv "$laid" "$fired" 2>/dev/null || continue
  kind="${{fired%.fired}}"
  case "${{kind##*.}}" in
    timeout) echo "{name}: {error}" >&2; exit 1 ;;
    quiet) echo "{name}: {error}" >&2; exit 0 ;;
    nothing) {nothing} exit 0 ;;
    late) answer="$({real} "$@")"; code=$?; sleep {late}; echo "$answer"; exit $code ;;
    denied) {real} "$@" {hidden}; echo "{name}: {error}" >&2; exit 1 ;;
  esac
done
exec {real} "$@"
"""


class Answers:
    """Lays failures and lies for the stand-ins.

    Args:
        folder: for the stand-ins and the files that they look for; created. Use ``environment`` to run with them.

    Attributes:
        plain: the variables with which a process uses none of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands = folder / "bin"
        self.commands.mkdir(parents=True)
        self.plain = {"PATH": os.environ["PATH"]}
        self._count = 0
        for name in COMMANDS:
            real = shutil.which(name)
            assert real is not None, f"there is no {name}"
            # A submission that is silent or denied is the worst: the job is there.
            submits = name == "sbatch"
            text = _SCRIPT.format(
                name=name,
                folder=folder,
                real=real,
                error=_ERROR,
                late=LATE_S,
                nothing=f'{real} "$@" >/dev/null;' if submits else "",
                hidden=">/dev/null" if submits else "",
            )
            (self.commands / name).write_text(text)
            (self.commands / name).chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a process finds the stand-ins first."""
        return {"PATH": os.pathsep.join([str(self.commands), self.plain["PATH"]])}

    def lay(self, command: str, choice: random.Random) -> bool:
        """Have the next call of a command misbehave; return False if one has yet to come."""
        if any(self.folder.glob(f"{command}.*.laid")):
            return False
        self._count += 1
        kind = choice.choice(list(KINDS))
        (self.folder / f"{command}.{self._count}.{kind}.laid").touch()
        return True

    def clear(self) -> None:
        """Remove those that no call has used."""
        for path in self.folder.glob("*.laid"):
            path.unlink(missing_ok=True)

    def fired(self) -> Counter[str]:
        """Count the calls that misbehaved, by command and kind."""
        return Counter(
            f"{command} {KINDS[kind]}"
            for command, _, kind, _ in (path.name.split(".") for path in self.folder.glob("*.fired"))
        )
