"""Folders and secrets: scratch folders and links of others are left alone, and no secret is kept in a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.disk import Reserve
from jobs.scratch import Scratch
from jobs.task import Task
from routenator.compose import load_config
from routenator.files import digest
from slurm.preflight.secrets import secret_warnings
from tests.conftest import ROOT, TINY, launch_here
from tests.jobs.world import make_run
from tests.test_security_data import refused, run_config


def test_finding_18_a_link_in_the_place_of_the_reserve_is_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (tmp_path / ".reserve-1-0").symlink_to(mine)
    with Reserve(tmp_path / ".reserve-1-0"):
        assert mine.read_text() == "mine"
        assert (tmp_path / ".reserve-1-0").stat().st_size == Reserve.BYTES
        assert not (tmp_path / ".reserve-1-0").is_symlink()
    assert mine.read_text() == "mine"


PLANTED = {
    "a link": lambda path, victim: path.symlink_to(victim),
    "a folder that all may write": lambda path, _: (path.mkdir(), path.chmod(0o777)),
    "a folder of someone else": lambda path, _: (path.mkdir(0o700), os.chown(path, 65534, 65534)),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_finding_10_a_scratch_folder_that_someone_else_made_is_refused_and_left_alone(
    tmp_path: Path, planted: str
) -> None:
    if planted == "a folder of someone else" and os.geteuid() != 0:
        pytest.skip("only root can give a folder to another user")
    task = Task(make_run(tmp_path, merge={"spill_dir": str(tmp_path / "disk")}), "merge", 0)
    victim, disk = tmp_path / "victim", tmp_path / "disk"
    (victim / "attempt-dead").mkdir(parents=True)
    (victim / "attempt-dead" / "work").write_text("mine")
    disk.mkdir(0o777)
    scratch = Scratch(task, str(disk))
    PLANTED[planted](scratch.root, victim)
    error = refused(scratch.begin, "merge.spill_dir", scratch.root.name, "mode 0700")
    assert ("a link" in str(error)) == (planted == "a link")
    assert (victim / "attempt-dead" / "work").read_text() == "mine" and not list(victim.glob("*attempt-[!d]*"))
    another = Scratch(task, str(disk))  # what `retry` does
    assert another.root != scratch.root
    another.begin()
    assert another.root.stat().st_mode & 0o777 == 0o700
    another.end()
    assert not another.root.exists()


def test_finding_10_nobody_foresees_the_name_of_a_scratch_folder(tmp_path: Path) -> None:
    task = Task(make_run(tmp_path, merge={"spill_dir": str(tmp_path / "disk")}), "merge", 0)
    victim, disk = tmp_path / "victim", tmp_path / "disk"
    (victim / "attempt-dead").mkdir(parents=True)
    disk.mkdir()
    (disk / f"{task.dir.name}-{digest(str(task.dir), 8)}").symlink_to(victim)
    first, second = Scratch(task, str(disk)), Scratch(Task(task.run, "merge", 0), str(disk))
    assert first.root == second.root and len(first.root.name.removeprefix(task.dir.name)) > 32
    first.begin()
    first.end()
    assert list(victim.iterdir()) == [victim / "attempt-dead"]


def test_finding_10_a_scratch_folder_that_became_a_link_is_not_cleaned(tmp_path: Path) -> None:
    task = Task(make_run(tmp_path, merge={"spill_dir": str(tmp_path / "disk")}), "merge", 0)
    scratch = Scratch(task, str(tmp_path / "disk"))
    own = scratch.begin()
    (tmp_path / "victim" / own.name).mkdir(parents=True)
    scratch.root.rename(tmp_path / "moved")
    scratch.root.symlink_to(tmp_path / "victim")
    refused(scratch.end, "a link")
    assert (tmp_path / "victim" / own.name).is_dir()


SECRETS = {
    "HF_TOKEN": "hf_Qm3vXa81LkTz0pRbYw7c",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPx",
    "DB_PASSWORD": "correct horse battery",
    "PRIVATE_NOTE": "a value that belongs to nobody else",
}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("export HF_TOKEN=hf_Qm3vXa81LkTz0pRbYw7c", "value of $HF_TOKEN"),
        ("login correct horse battery", "value of $DB_PASSWORD"),
        ("export MY_API_KEY='abcd1234'", "a value for MY_API_KEY"),
        ("git clone https://me:pass1234@example.org/x", "an access token or a password"),
        ("echo AKIAABCDEFGHIJKLMNOP", "an access token or a password"),
        ("export HF_TOKEN=$HF_TOKEN", None),
        ("export HF_TOKEN=$(cat ~/.hf_token)", None),
        ("export HF_TOKEN_PATH=/home/me/.hf_token", None),
        ("export OMP_NUM_THREADS=8", None),
        ("module load token-ring", None),
    ],
)
@pytest.mark.parametrize("place", ["command line", "file"])
def test_finding_20_a_secret_in_a_config_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, told: str | None, place: str
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "run.yaml"
    base = {"name": "x", "domain": str(TINY), "model": "smollm2-135m"}
    own = {"cluster": {"profile": "local", "setup": ["true", line]}} if place == "file" else {"cluster": "local"}
    file.write_text(json.dumps(base | own))
    overrides = [f"cluster.setup=[{json.dumps('true')}, {json.dumps(line)}]"] if place == "command line" else []
    warnings = secret_warnings(load_config(file, overrides), ["launch.py", "run", str(file), *overrides], os.environ)
    assert len(warnings) == (told is not None)
    if told is not None:
        assert "cluster.setup" in warnings[0] and told in warnings[0] and "plan.json" in warnings[0]
        assert ("command line" in warnings[0]) == (place == "command line")
        assert not any(value in warnings[0] for value in (*SECRETS.values(), "pass1234", "AKIA"))


def test_finding_20_plan_warns_of_a_secret_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRETS["HF_TOKEN"])
    told = launch_here(
        "plan", str(run_config(tmp_path, TINY)), f"cluster.setup=['export HF_TOKEN={SECRETS['HF_TOKEN']}']"
    )
    assert "warning: cluster.setup seems to hold a secret (the value of $HF_TOKEN)" in told.stderr
    assert SECRETS["HF_TOKEN"] not in told.stderr


@pytest.mark.slow
def test_finding_20_a_run_directory_holds_no_value_of_the_environment(tmp_path: Path) -> None:
    """A run up to its data set, by its own process as from a shell; all files, names and links are searched."""
    file = run_config(tmp_path, TINY)
    routes = ["generate.routes={heuristic: 1.0}", "cluster.setup=['true $HF_TOKEN']"]
    command = [sys.executable, str(ROOT / "launch.py"), "run", str(file), "--until", "merge", *routes]
    ran = subprocess.run(command, env=os.environ | SECRETS, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert list((tmp_path / "runs").rglob("merge.json")) and list((tmp_path / "runs").rglob("*.log"))
    assert values_in(tmp_path / "runs", SECRETS) == []
    assert not any(value in ran.stdout + ran.stderr for value in SECRETS.values())
    (tmp_path / "runs" / "planted").write_text(f"x{SECRETS['DB_PASSWORD']}x")
    assert values_in(tmp_path / "runs", SECRETS) == ["DB_PASSWORD in planted"]


def values_in(folder: Path, values: dict[str, str]) -> list[str]:
    """Find values in the files of a folder, their names and the targets of links."""
    found = []
    for path in sorted(folder.rglob("*")):
        text = str(path.relative_to(folder)).encode() + b"\n"
        text += os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found += [f"{name} in {path.relative_to(folder)}" for name, value in values.items() if value.encode() in text]
    return found
