"""Location of this code, in a checkout or an installed package: its configs, and the command that runs it."""

from __future__ import annotations

import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A wheel installs the folder ``configs`` under this name (setup.py): beside other packages "configs" may be theirs.
_INSTALLED = ROOT / "routenator_configs"
IS_INSTALLED = _INSTALLED.is_dir()
CONFIGS = _INSTALLED if IS_INSTALLED else ROOT / "configs"
COMMAND = "routenator" if IS_INSTALLED else "python launch.py"


def command_line(*words: str | Path) -> str:
    """A line that a person can paste into a shell as it is, whatever its paths hold."""
    return f"{COMMAND} {shlex.join(map(str, words))}"
