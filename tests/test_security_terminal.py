"""Text of others reaches the terminal with its control characters shown, not obeyed."""

from __future__ import annotations

import ast
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Group
from rich.table import Table
from rich.text import Text

from jobs.entry import write_failure
from routenator.console import PlainConsole
from routenator.terminal import shown
from slurm.submission.submissions import Submission, append_submission, local_log
from slurm.watching.monitor_table import text_of
from tests.conftest import ROOT, launch_here
from tests.jobs.world import make_run

EVIL = "job\x1b]0;title\x07\x1b[31m\x9b2J\u202eevil\x7f\udcff"


SAFE = "job\\u001b]0;title\\u0007\\u001b[31m\\u009b2J\\u202eevil\\u007f\\udcff"


CONTROLS = set(range(0x20)) - {9, 10} | set(range(0x7F, 0xA0)) | set(range(0x202A, 0x202F)) | set(range(0x2066, 0x206A))


def harmless(text: str) -> bool:
    """Whether the text sends no control character to a terminal."""
    return not CONTROLS & set(map(ord, text)) and not any(0xD800 <= ord(sign) < 0xE000 for sign in text)


def test_finding_11_control_characters_are_shown_and_letters_are_kept() -> None:
    assert shown(EVIL) == SAFE and harmless(shown("".join(map(chr, range(0x3000)))))
    kept = "tab\tline\nÄöß ελ 日本 עברית 👩‍👩‍👧 é"
    assert shown(kept) == kept
    assert harmless(text_of(EVIL).plain)  # what `monitor` draws
    assert json.loads(shown(json.dumps(EVIL, ensure_ascii=False))) == EVIL


@pytest.mark.parametrize("terminal", [True, False])
def test_finding_11_a_console_sends_its_own_colors_and_nobody_elses(terminal: bool) -> None:
    out = io.StringIO()
    console = PlainConsole(file=out, width=200, force_terminal=terminal, color_system="standard" if terminal else None)
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(EVIL)
    table.add_row(Text(EVIL))
    console.print(EVIL, style="green")
    console.print(Text(EVIL, style="red"))
    console.print(table)
    console.print(Group(Text(EVIL), EVIL), soft_wrap=True)
    text = out.getvalue()
    assert ("\x1b[32m" in text) == terminal
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text) if terminal else text
    assert harmless(plain)
    assert plain.count("\\u001b]0;title") == 8 and plain.count("\\u202eevil") == 8


def test_a_table_keeps_its_cells_on_a_narrow_terminal() -> None:
    """At 40 columns `runs` showed no names at all."""
    out = io.StringIO()
    console = PlainConsole(file=out, width=40)
    table = Table("run", "state", "age", "stage", "done", "failed", "rows", "ETA", box=None, pad_edge=False)
    table.add_row("quickstart-eac1abbdad5b", "running", "43m16s", "generate", "12/400", "3", "1,000", "3m")
    for printed in (table, Group(table)):
        console.print(printed)
    assert out.getvalue().count("quickstart-eac1abbdad5b") == 2 and "1,000" in out.getvalue()
    assert console.width == 40


def test_finding_11_a_name_is_no_markup_of_the_console() -> None:
    out = io.StringIO()
    PlainConsole(file=out, width=80).print("[/nothing] [red]x[/red] :smile:")
    assert out.getvalue() == "[/nothing] [red]x[/red] :smile:\n"


def test_finding_11_logs_status_and_runs_show_what_a_task_wrote(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    submission = Submission(kind="local", stage="sample", job="999999", shards="0", host="elsewhere", started=1.0)
    append_submission(run, submission)
    log = run.log_dir("sample") / local_log(submission.job)
    log.parent.mkdir(parents=True)
    log.write_text(f"begin {EVIL[:-1]} end\n")
    write_failure(
        run, "sample", 0, kind="StageError", message=f"because {EVIL[:-1]}", attempt=1, job="local-999999", trace=""
    )
    for command in (["status"], ["status", "--json"], ["logs"]):
        shows = launch_here(*command[:1], str(run.path), *command[1:])
        assert shows.returncode in (0, 1), shows.stderr
        assert harmless(shows.stdout) and harmless(shows.stderr)
        assert "\\u001b" in shows.stdout, shows.stdout


def test_finding_11_all_text_for_the_terminal_goes_one_way() -> None:
    """What a user sees is printed by `put` and `PlainConsole`; other prints go to a task's log."""
    logs = {
        "slurm/worker", "slurm/local", "slurm/experiments/child.py", "slurm/devcluster", "slurm/planning",
        "routenator/generation/engine.py", "routenator/training/trainer.py", "routenator/training/worker.py",
        "routenator/authoring/door/pythonworker.py", "slurm/experiments/observe.py",
    }  # fmt: skip
    paths = [ROOT / "launch.py", *(ROOT / "slurm").rglob("*.py"), *(ROOT / "routenator").rglob("*.py")]
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        if any(name.startswith(place) for place in logs) or name == "routenator/terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in {"typer.echo", "click.echo", "Console", "sys.stdout.write", "rich.print"}, name
            # A file of data, redirected by the user.
            assert called != "print" or name == "slurm/commands/domain.py", f"{name}:{node.lineno}"
