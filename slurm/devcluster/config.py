"""Writes the configuration files of the test cluster."""

from __future__ import annotations

import os
import secrets
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

CORES = 8
MEMORY_MB = 4000
GPUS = 4
GRACE_S = 30  # seconds that a preempted job has to finish its chunk


@dataclass(frozen=True)
class ClusterSpec:
    """The parameters of a test cluster.

    Attributes:
        ports: free ports: slurmctld, slurmdbd, MariaDB, then one for each node.
        password: password of the accounting database's user.
    """

    root: Path
    nodes: int
    accounting: bool
    max_array_size: int
    user: str
    ports: list[int]
    password: str


def write_files(spec: ClusterSpec) -> None:
    """Create folders, keys, device files and configuration in ``spec.root``."""
    root = spec.root
    for name in ("etc", "munge", "log", "run", "state", "spool", "dev", "mariadb"):
        (root / name).mkdir(exist_ok=True)
    gpus = _fake_devices(root / "dev")
    _write(root / "etc" / "munge.key", secrets.token_bytes(128), 0o600)
    _write(root / "etc" / "slurm.conf", slurm_conf(spec, gpus).encode(), 0o644)
    if gpus:
        text = f"AutoDetect=off\nNodeName=n[1-{spec.nodes}] Name=gpu Type=fake File={root}/dev/gpu[0-{GPUS - 1}]\n"
        _write(root / "etc" / "gres.conf", text.encode(), 0o644)
    if spec.accounting:
        _write(root / "etc" / "slurmdbd.conf", slurmdbd_conf(spec).encode(), 0o600)
        _write(root / "etc" / "mariadb.port", str(spec.ports[2]).encode(), 0o644)
        init = (
            "CREATE DATABASE IF NOT EXISTS slurm_acct_db;\n"
            f"CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED BY '{spec.password}';\n"
            f"CREATE USER IF NOT EXISTS 'slurm'@'localhost' IDENTIFIED BY '{spec.password}';\n"
            "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';\n"
            "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost';\n"
        )
        _write(root / "etc" / "init.sql", init.encode(), 0o600)


def slurm_conf(spec: ClusterSpec, gpus: bool) -> str:
    """Return slurm.conf, with scheduling as quick as possible, and nodes that may be larger than the machine."""
    root, host = spec.root, socket.gethostname().split(".", maxsplit=1)[0]
    lines = [
        "ClusterName=devcluster",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={spec.ports[0]}",
        f"SlurmUser={spec.user}",
        f"SlurmdUser={spec.user}",
        "AuthType=auth/munge",
        # A requeued job waits for about the lifetime of a credential.
        f"AuthInfo=socket={root}/munge/s,cred_expire=5",
        "CredType=cred/munge",
        f"StateSaveLocation={root}/state",
        f"SlurmdSpoolDir={root}/spool/%n",
        f"SlurmctldPidFile={root}/run/slurmctld.pid",
        f"SlurmdPidFile={root}/run/%n.pid",
        f"SlurmctldLogFile={root}/log/slurmctld.log",
        f"SlurmdLogFile={root}/log/%n.log",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "SwitchType=switch/none",
        "MpiDefault=none",
        "JobAcctGatherType=jobacct_gather/linux",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU_Memory",
        "SlurmdParameters=config_overrides",
        "SlurmctldParameters=preempt_send_user_signal",
        # Jobs of a higher tier preempt those of a lower one, but only in the partition `spare`, which alone allows it.
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        "ReturnToService=2",
        "SlurmdTimeout=10",
        "KillWait=3",
        f"MaxArraySize={spec.max_array_size}",
        # Every array task counts, and a large stage has more than the default of 10000.
        "MaxJobCount=200000",
        "SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,bf_continue",
    ]
    if spec.accounting:
        lines += [
            "AccountingStorageType=accounting_storage/slurmdbd",
            "AccountingStorageHost=127.0.0.1",
            f"AccountingStoragePort={spec.ports[1]}",
            # Clients of slurmdbd read their munge socket from here, not from AuthInfo.
            f"AccountingStoragePass={root}/munge/s",
        ]
    node = f"NodeName=DEFAULT Sockets=1 CoresPerSocket={CORES} ThreadsPerCore=1 CPUs={CORES} RealMemory={MEMORY_MB}"
    if gpus:
        lines.append("GresTypes=gpu")
        node += f" Gres=gpu:fake:{GPUS}"
    lines.append(node)
    for number in range(1, spec.nodes + 1):
        lines.append(f"NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={spec.ports[2 + number]}")
    every = f"Nodes=n[1-{spec.nodes}] MaxTime=INFINITE DefMemPerCPU=100"
    lines += [
        f"PartitionName=main {every} Default=YES PriorityTier=10 PreemptMode=OFF",
        f"PartitionName=gpu {every} PriorityTier=10 PreemptMode=OFF".replace("n[1-", f"n[{spec.nodes // 2 + 1}-"),
        f"PartitionName=urgent {every} PriorityTier=20 PreemptMode=OFF",
        f"PartitionName=spare {every} PriorityTier=1 PreemptMode=REQUEUE GraceTime={GRACE_S}",
    ]
    return "\n".join(lines) + "\n"


def slurmdbd_conf(spec: ClusterSpec) -> str:
    """Return slurmdbd.conf."""
    root = spec.root
    return "\n".join(
        [
            "AuthType=auth/munge",
            f"AuthInfo=socket={root}/munge/s",
            "DbdHost=localhost",
            "DbdAddr=127.0.0.1",
            f"DbdPort={spec.ports[1]}",
            f"SlurmUser={spec.user}",
            f"LogFile={root}/log/slurmdbd.log",
            f"PidFile={root}/run/slurmdbd.pid",
            "StorageType=accounting_storage/mysql",
            "StorageHost=127.0.0.1",
            f"StoragePort={spec.ports[2]}",
            "StorageUser=slurm",
            f"StoragePass={spec.password}",
            "StorageLoc=slurm_acct_db",
            # Commit at once, so that what was written can be read immediately.
            "CommitDelay=0",
            "",
        ]
    )


def _fake_devices(folder: Path) -> bool:
    """Create character devices as fake GPUs (copies of the null device), since Slurm rejects plain files.

    Returns:
        False if we lack the permission.
    """
    try:
        for number in range(GPUS):
            os.mknod(folder / f"gpu{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        return False
    return True


def _write(path: Path, data: bytes, mode: int) -> None:
    path.touch(mode=mode)
    path.write_bytes(data)
