"""A run keeps its snapshot of the domain; ``retry`` says so once the domain has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.plan import Run
from routenator.compose import load_config
from slurm.commands.retry import app
from slurm.planning.planner import make_plan
from slurm.watching.snapshot import domain_remarks
from tests.conftest import TINY
from tests.slurm.conftest import PACKAGE


def mend(domain: Path) -> None:
    statistics = domain / "statistics.yaml"
    statistics.write_text(statistics.read_text().replace("search: 0.6", "search: 0.5"))


def test_retry_says_that_a_mended_domain_needs_a_new_run(make_run: Callable[..., Run], tmp_path: Path) -> None:
    """A user fixed the domain and called ``retry``, as told, which failed in the same way: it uses the run's
    snapshot."""
    domain = Path(shutil.copytree(TINY, tmp_path / "mine"))
    run = make_run(domain=str(domain))
    assert domain_remarks(run) == []
    (domain / "golden.jsonl").touch()
    (domain / "README.md").write_text("A note is no change.")
    assert domain_remarks(run) == []
    mend(domain)
    changed, command = domain_remarks(run)
    assert str(domain) in changed and str(run.domain_dir) in changed and "snapshot" in changed
    file = run.path / "config.yaml"
    assert command == f"for a run with the changed domain: python launch.py run {file}"
    # The command makes another run, of the fixed domain.
    again = make_plan(load_config(file), package=PACKAGE)
    assert again.fingerprint != run.plan.fingerprint and again.domain_sha256 != run.plan.domain_sha256

    shutil.rmtree(domain)
    assert domain_remarks(run) == [], "nothing can be said of a domain that is gone"


def test_retry_of_a_run_in_a_folder_of_its_own_names_another(make_run: Callable[..., Run], tmp_path: Path) -> None:
    domain = Path(shutil.copytree(TINY, tmp_path / "mine"))
    run = make_run(domain=str(domain), run_dir=str(tmp_path / "own"))
    mend(domain)
    assert domain_remarks(run)[1].endswith(" run_dir=OTHER")


def test_retry_prints_the_remark(make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = Path(shutil.copytree(TINY, tmp_path / "mine"))
    run = make_run(domain=str(domain))
    mend(domain)
    monkeypatch.setattr("slurm.commands.retry.go", lambda *args, **options: None)
    shown = CliRunner().invoke(app, [str(run.path)])
    assert shown.exit_code == 0 and "has changed since this run was planned" in shown.output
