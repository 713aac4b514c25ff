"""The test cluster itself: closed to others, and two clusters under one slurmdbd."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest

from routenator.errors import InputError
from slurm.devcluster import cluster as module
from slurm.devcluster.cluster import VARIABLE, DevCluster, down, up
from slurm.devcluster.faults import below
from slurm.local import processes
from tests.cluster.conftest import until
from tests.strangers import Stranger

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def slurm(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def output(*command: str) -> str:
    """What a command prints, whatever it exits with."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_a_stranger_who_knows_its_configuration_can_do_nothing_with_it(
    cluster: DevCluster, stranger: Stranger, tmp_path: Path
) -> None:
    root = Path(cluster.root)
    shutil.copy(cluster.slurm_conf, stranger.folder / "slurm.conf")
    mine = stranger.folder / "slurm.conf"
    assert "n1" in slurm("sinfo", "--Node", "--noheader")
    for command in (["squeue"], ["sbatch", "--wrap", "id"], ["sacct"], ["scontrol", "shutdown"]):
        done = stranger.run(command, SLURM_CONF=str(mine))
        assert done.returncode != 0 and not done.stdout, f"{command}: {done.stdout}"
    assert stranger.run(["test", "-r", root / "etc" / "slurm.conf"]).returncode != 0
    done = stranger.run(["mariadb", "--no-defaults", f"--socket={root}/mariadb/s", "--user=root", "--execute=select 1"])
    assert done.returncode != 0 and "(13)" in done.stderr
    assert root.stat().st_mode & 0o777 == 0o700


def test_its_database_writes_no_files(cluster: DevCluster, stranger: Stranger) -> None:
    folder = stranger.folder / "open"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    query = ["mariadb", "--no-defaults", f"--socket={cluster.root}/mariadb/s", "--batch", "--execute"]
    assert "1" in slurm(*query, "select 1")
    done = subprocess.run(
        [*query, f"select 'x' into outfile '{folder}/planted'"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "secure-file-priv" in done.stderr
    assert not any(folder.iterdir())


def test_its_daemons_listen_on_loopback_only(cluster: DevCluster) -> None:
    assert cluster.loopback
    listening: dict[str, set[str]] = {}
    for process in below(cluster):
        if process.name() in ("slurmctld", "slurmd", "slurmdbd", "mariadbd", "munged"):
            found = listening.setdefault(process.name(), set())
            found |= {one.laddr.ip for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN}
    loopback = {"127.0.0.1"}
    assert listening == {
        "slurmctld": loopback,
        "slurmd": loopback,
        "slurmdbd": loopback,
        "mariadbd": set(),
        "munged": set(),
    }


def test_the_commands_of_one_cluster_reach_another_under_the_same_slurmdbd(
    other_cluster: DevCluster, tmp_path: Path
) -> None:
    command = ["sbatch", "--clusters=other", "--parsable", f"--output={tmp_path}/log", "--job-name=elsewhere"]
    reply = slurm(*command, "--wrap=scontrol show config")
    job, name = reply.strip().split(";")
    assert name == other_cluster.name
    until(
        lambda: "COMPLETED" in slurm("sacct", "--clusters=other", "--noheader", "--format=State", "--jobs", job),
        "the job's end",
    )
    assert "= other" in (tmp_path / "log").read_text()
    assert "COMPLETED" not in slurm("sacct", "--noheader", "--format=State", "--name=elsewhere")


def test_a_cluster_beside_another_needs_its_accounting_and_a_name_of_its_own(
    cluster: DevCluster, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="both are called devcluster"):
        up(tmp_path / "second", 1, beside=cluster)
    with pytest.raises(InputError, match="not a cluster's name"):
        up(tmp_path / "second", 1, name="Not One", beside=cluster)
    assert not (tmp_path / "second").exists()


def test_down_ends_jobs_that_ignore_signals_without_a_namespace_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a user who is not root: nothing but Slurm knows which processes are the jobs'."""
    monkeypatch.setattr(module, "_namespace_works", lambda: False)
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    mark = f"{600 + secrets.randbelow(10**6) / 10**6:.6f}"
    try:
        alone = up(root, 1, accounting=False)
        assert not alone.private
        for name, value in alone.environment.items():
            monkeypatch.setenv(name, value)
        slurm("sbatch", "--output=/dev/null", f"--wrap=trap '' TERM USR2; sleep {mark}; sleep {mark}")
        slurm("sbatch", "--output=/dev/null", f"--wrap=srun sleep {mark}")
        sleeping = ["pgrep", "--count", "--full", f"^(/[a-z/]*/)?sleep {mark}"]
        until(lambda: int(output(*sleeping)) == 2, "both jobs to run")
        assert down(root)
        assert int(output(*sleeping)) == 0
        assert not processes.with_variable(VARIABLE, str(root))
    finally:
        down(root)
        shutil.rmtree(root, ignore_errors=True)
