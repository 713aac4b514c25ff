"""The command that messages name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from routenator.place import COMMAND, command_line
from tests.conftest import ROOT


def test_a_printed_command_can_be_pasted_whatever_its_paths_hold() -> None:
    run = Path("/scratch/it's mine/$HOME/pet-1")
    assert shlex.split(command_line("status", run, "--watch")) == [*COMMAND.split(), "status", str(run), "--watch"]
    assert command_line("retry", Path("runs/pet-1")) == f"{COMMAND} retry runs/pet-1"


def test_no_message_puts_a_path_into_a_command_by_itself() -> None:
    """`retry`, `status` and others were printed so that a folder with a space made two words of them."""
    by_itself = re.compile(r"\{COMMAND\}[^`\"\n]*\{(?!name\})")  # names of packages have no spaces
    files = [file for folder in ("routenator", "jobs", "slurm") for file in (ROOT / folder).rglob("*.py")]
    found = [str(file) for file in files if file.name != "place.py" and by_itself.search(file.read_text())]
    assert len(files) > 200 and not found
