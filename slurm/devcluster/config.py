"""The configuration files of the test cluster, kept apart because they are text."""

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
GRACE_S = 30  # seconds that a preempted job has to close its chunk


@dataclass(frozen=True)
class ClusterSpec:
    """What a test cluster is to be.

    Attributes:
        ports: free ports: slurmctld, slurmdbd, MariaDB, then one for each node.
        password: of the accounting database's user.
    """

    root: Path
    nodes: int
    accounting: bool
    max_array_size: int
    user: str
    ports: list[int]
    password: str


def write_files(spec: ClusterSpec) -> None:
    """Folders, keys, device files and configuration below ``spec.root``."""
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
    """The text of slurm.conf. Scheduling is made as quick as it gets; more cores and memory than the machine has may be
    declared.
    """
    root, host = spec.root, socket.gethostname().split(".", maxsplit=1)[0]
    lines = [
        "ClusterName=devcluster",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={spec.ports[0]}",
        f"SlurmUser={spec.user}",
        f"SlurmdUser={spec.user}",
        "AuthType=auth/munge",
        # A requeued job waits about as long as a credential lives.
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
        # A job of a lower tier makes room for one of a higher: only in the partition `spare`, the only one that may be
        # preempted.
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        "ReturnToService=2",
        "SlurmdTimeout=10",
        "KillWait=3",
        f"MaxArraySize={spec.max_array_size}",
        # Every task of an array counts; the default, 10000, is less than one large stage.
        "MaxJobCount=200000",
        "SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,bf_continue",
    ]
    if spec.accounting:
        lines += [
            "AccountingStorageType=accounting_storage/slurmdbd",
            "AccountingStorageHost=127.0.0.1",
            f"AccountingStoragePort={spec.ports[1]}",
            # The clients of slurmdbd read their munge socket here, not from AuthInfo.
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
    """The text of slurmdbd.conf."""
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
            # What is written can be read at once.
            "CommitDelay=0",
            "",
        ]
    )


def _fake_devices(folder: Path) -> bool:
    """Character devices that stand for GPUs (copies of the null device); plain files are refused. False where one may
    not make them.
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
