"""The test cluster's folder is its owner's alone, and ``down`` kills nothing but the test cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from routenator.errors import InputError
from routenator.files import write_json
from slurm.devcluster import cluster as module
from slurm.devcluster.cluster import DevCluster, down, read_cluster, up
from tests.strangers import Stranger


@pytest.fixture
def victim() -> Iterator[psutil.Process]:
    """A process of ours that no test cluster may touch."""
    process = subprocess.Popen(["sleep", "600"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "missing_packages", lambda *_: [])


def record(root: Path, process: psutil.Process) -> dict[str, object]:
    """A cluster's record that names a process as its supervisor."""
    return asdict(DevCluster(str(root), process.pid, process.create_time(), False, 1, False, "devcluster", True, None))


def test_down_does_not_kill_a_process_that_a_strangers_file_names(stranger: Stranger, victim: psutil.Process) -> None:
    root = stranger.folder / "devcluster"
    done = stranger.run(["mkdir", "-m", "777", root])
    assert done.returncode == 0, done.stderr
    write_json(stranger.folder / "devcluster" / "cluster.json", record(root, victim))
    for act in (down, read_cluster, up):
        with pytest.raises(InputError, match="belongs to another user") as refused:
            act(root)
        assert stranger.name in str(refused.value)
    assert victim.is_running() and (root / "cluster.json").exists()


def test_down_does_not_kill_a_process_that_is_no_test_cluster(tmp_path: Path, victim: psutil.Process) -> None:
    # The supervisor died, and its id and even its start time now fit another process of ours.
    write_json(tmp_path / "dc" / "cluster.json", record(tmp_path / "dc", victim))
    assert not down(tmp_path / "dc")
    assert victim.is_running() and victim.status() != psutil.STATUS_ZOMBIE
    assert not (tmp_path / "dc").exists()


def test_up_and_down_follow_no_link(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir(mode=0o755)
    (tmp_path / "precious" / "cluster.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for name in ("precious", "empty"):
        link = tmp_path / f"to-{name}"
        link.symlink_to(tmp_path / name)
        for act in (down, up):
            with pytest.raises(InputError, match="is a link"):
                act(link)
    assert (tmp_path / "precious" / "cluster.json").exists() and not any((tmp_path / "empty").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="needs a folder"):
        up(tmp_path / "file")


def test_a_record_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    for text in ("{}", "[", '{"pid": 1}'):
        (tmp_path / "cluster.json").write_text(text)
        with pytest.raises(InputError, match="not the record of a test cluster"):
            down(tmp_path)
    assert (tmp_path / "cluster.json").exists()
