from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from routenator.errors import InputError
from slurm.devcluster.cluster import down, missing_packages, read_cluster, up
from slurm.devcluster.config import ClusterSpec, slurm_conf, slurmdbd_conf
from slurm.preflight import doctor


def test_missing_things_come_with_a_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "REQUIRED", "pydantic no-such-package")
    findings = doctor.examine(tmp_path)
    by_level = {level: [finding for finding in findings if finding.level == level] for level in ("ok", "note", "error")}
    [error] = by_level["error"]
    assert error.text == "missing: no-such-package" and error.mend is not None and "pip install" in error.mend
    assert any("no Slurm here" in finding.text for finding in by_level["note"])
    assert any("no NVIDIA GPU" in finding.text for finding in by_level["note"])
    assert any(finding.topic == "models" for finding in findings)


def test_a_broken_slurm_is_an_error_where_one_is_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in doctor.SLURM_COMMANDS:
        (tmp_path / name).write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("SLURM_CONF", "/etc/ours.conf")
    [finding] = [finding for finding in doctor.examine(tmp_path) if finding.topic == "slurm"]
    assert finding.level == "error" and "Unable to contact" in finding.text
    (tmp_path / "sbatch").unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    [finding] = [finding for finding in doctor.examine(tmp_path) if finding.topic == "slurm"]
    assert finding.level == "error" and "without sbatch" in finding.text


def test_cluster_settings_that_affect_jobs() -> None:
    text = (
        "ClusterName = c1\nSLURM_VERSION = 24.05.1\nMaxArraySize            = 5001\nPreemptMode             = REQUEUE\n"
    )
    first, second = doctor._cluster(text + "SlurmctldParameters     = (null)\n")
    assert first.text == "cluster c1, Slurm 24.05.1, arrays of up to 5001 tasks"
    assert second.level == "note" and second.mend is not None and "preempt_send_user_signal" in second.mend
    assert len(list(doctor._cluster(text + "SlurmctldParameters     = preempt_send_user_signal\n"))) == 1


def test_the_test_cluster_names_missing_packages_and_touches_no_folder_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurm.devcluster.cluster._PATH", str(tmp_path))
    assert missing_packages() == ["mariadb-server", "munge", "slurm-client", "slurmctld", "slurmd", "slurmdbd"]
    assert missing_packages(accounting=False) == ["munge", "slurm-client", "slurmctld", "slurmd"]
    with pytest.raises(InputError, match="apt-get install"):
        up(tmp_path / "cluster")
    (tmp_path / "precious").touch()
    assert read_cluster(tmp_path) is None and not down(tmp_path)
    assert (tmp_path / "precious").exists()


def test_the_test_clusters_files_name_its_own_folder_and_ports(tmp_path: Path) -> None:
    spec = ClusterSpec(tmp_path, "one", 2, 4, "me", [7001, 7002, 7003], 7004, tmp_path / "munge/s", True, "127.0.0.1")
    text = slurm_conf(spec, gpus=True)
    assert "MaxArraySize=4" in text and "Gres=gpu:fake:4" in text and "NodeName=n2" in text and "Port=7003" in text
    assert f"AccountingStoragePass={tmp_path}/munge/s" in text and "AccountingStoragePort=7004" in text
    assert "DbdPort=7004" in slurmdbd_conf(spec) and "NoInAddrAny" in text and "NoInAddrAny" in slurmdbd_conf(spec)
    elsewhere = dataclasses.replace(spec, address=None)
    assert "NoInAddrAny" not in slurm_conf(elsewhere, gpus=True) + slurmdbd_conf(elsewhere)
    assert "Gres" not in slurm_conf(spec, gpus=False)
