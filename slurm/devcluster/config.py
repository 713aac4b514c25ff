"""Writes the configuration files of the test cluster."""

from __future__ import annotations

import os
import secrets
import socket
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from routenator.files import read_json, write_json

_SPEC = Path("etc", "spec.json")
CORES = 8
MEMORY_MB = 4000
GPUS = 4
# A daemon listens on the address of its machine's name instead of on all.
_LOOPBACK = "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny"
GRACE_S = 30  # seconds that a preempted job has to finish its chunk


# Version 1 of the kernel's control groups; memory alone is limited, and none of it may be swapped out instead.
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
_CGROUP = f"""CgroupPlugin=cgroup/v1
CgroupMountpoint={MEMORY_GROUPS.parent}
CgroupAutomount=no
ConstrainRAMSpace=yes
ConstrainSwapSpace=yes
AllowedSwapSpace=0
"""


@dataclass(frozen=True)
class ClusterSpec:
    """The parameters of a test cluster.

    Attributes:
        name: Slurm's name of the cluster.
        ports: free ports: slurmctld, then one for each node.
        accounting_port: slurmdbd's port, or None to run without accounting.
        munge_socket: the socket of the munged that the cluster's commands and daemons use.
        own_accounting: whether munged, MariaDB and slurmdbd are this cluster's own, not those of the cluster beside it.
        address: the address that the machine's name resolves to where the daemons run, if it is a loopback address;
            they then listen there only. Otherwise None.
        commands: folder with Slurm's commands and daemons, or None if they are the system's.
        plugins: folder with its plugins, or None likewise.
        version: its version, or None likewise.
        limit_memory: whether the kernel kills a step that uses more memory than its job asked for.
    """

    root: Path
    name: str
    nodes: int
    max_array_size: int
    user: str
    ports: list[int]
    accounting_port: int | None
    munge_socket: Path
    own_accounting: bool
    address: str | None
    commands: str | None = None
    plugins: str | None = None
    version: str | None = None
    limit_memory: bool = False

    @property
    def runs_slurmdbd(self) -> bool:
        return self.own_accounting and self.accounting_port is not None


def read_spec(root: Path) -> ClusterSpec:
    """Return the parameters that a cluster's folder was made with."""
    values = read_json(root / _SPEC)
    return ClusterSpec(**values | {"root": Path(values["root"]), "munge_socket": Path(values["munge_socket"])})


def machine_name() -> str:
    """Return this machine's name as Slurm uses it, without a domain."""
    return socket.gethostname().split(".", maxsplit=1)[0]


def write_files(spec: ClusterSpec) -> None:
    """Create folders, keys, device files and configuration in ``spec.root``."""
    root = spec.root
    for name in ("etc", "munge", "log", "run", "state", "spool", "dev", "mariadb"):
        (root / name).mkdir(mode=0o700)
    values = asdict(spec)
    write_json(root / _SPEC, values | {"root": str(root), "munge_socket": str(spec.munge_socket)})
    gpus = _fake_devices(root / "dev")
    if spec.own_accounting:
        _write(root / "etc" / "munge.key", secrets.token_bytes(128), 0o600)
    _write(root / "etc" / "hosts", _hosts().encode(), 0o644)
    _write(root / "etc" / "slurm.conf", slurm_conf(spec, gpus).encode(), 0o644)
    if spec.limit_memory:
        _write(root / "etc" / "cgroup.conf", _CGROUP.encode(), 0o644)
    if gpus:
        text = f"AutoDetect=off\nNodeName=n[1-{spec.nodes}] Name=gpu Type=fake File={root}/dev/gpu[0-{GPUS - 1}]\n"
        _write(root / "etc" / "gres.conf", text.encode(), 0o644)
    if spec.runs_slurmdbd:
        _write(root / "etc" / "slurmdbd.conf", slurmdbd_conf(spec).encode(), 0o600)
        # The user has no password because only we reach the socket, and no FILE privilege.
        init = (
            "CREATE DATABASE IF NOT EXISTS slurm_acct_db;\n"
            "CREATE USER IF NOT EXISTS 'slurm'@'localhost';\n"
            "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost';\n"
        )
        _write(root / "etc" / "init.sql", init.encode(), 0o600)


def _hosts() -> str:
    """Return this machine's /etc/hosts, but with its own name as a loopback address."""
    names = {socket.gethostname(), machine_name()}
    kept = []
    for line in _system_hosts().splitlines():
        if not names & set(line.split("#", maxsplit=1)[0].split()[1:]):
            kept.append(line)
    return "\n".join([f"127.0.0.1 {' '.join(sorted(names))}", *kept, ""])


def _system_hosts() -> str:
    try:
        return Path("/etc/hosts").read_text(errors="replace")
    except FileNotFoundError:
        return "127.0.0.1 localhost\n"


def slurm_conf(spec: ClusterSpec, gpus: bool) -> str:
    """Return slurm.conf, with scheduling as quick as possible, and nodes that may be larger than the machine."""
    root, host, address = spec.root, machine_name(), spec.address or "127.0.0.1"
    lines = [
        f"ClusterName={spec.name}",
        f"SlurmctldHost={host}({address})",
        f"SlurmctldPort={spec.ports[0]}",
        f"SlurmUser={spec.user}",
        f"SlurmdUser={spec.user}",
        "AuthType=auth/munge",
        # A requeued job waits for about the lifetime of a credential.
        f"AuthInfo=socket={spec.munge_socket},cred_expire=5",
        "CredType=cred/munge",
        f"StateSaveLocation={root}/state",
        f"SlurmdSpoolDir={root}/spool/%n",
        f"SlurmctldPidFile={root}/run/slurmctld.pid",
        f"SlurmdPidFile={root}/run/%n.pid",
        f"SlurmctldLogFile={root}/log/slurmctld.log",
        f"SlurmdLogFile={root}/log/%n.log",
        "ProctrackType=proctrack/linuxproc",
        f"TaskPlugin=task/{'cgroup' if spec.limit_memory else 'none'}",
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
    if spec.address is not None:
        lines.append(_LOOPBACK)
    if spec.plugins is not None:
        lines.append(f"PluginDir={spec.plugins}")
    if spec.accounting_port is not None:
        lines += [
            "AccountingStorageType=accounting_storage/slurmdbd",
            f"AccountingStorageHost={address}",
            f"AccountingStoragePort={spec.accounting_port}",
            # Clients of slurmdbd read their munge socket from here, not from AuthInfo.
            f"AccountingStoragePass={spec.munge_socket}",
        ]
    node = f"NodeName=DEFAULT Sockets=1 CoresPerSocket={CORES} ThreadsPerCore=1 CPUs={CORES} RealMemory={MEMORY_MB}"
    if gpus:
        lines.append("GresTypes=gpu")
        node += f" Gres=gpu:fake:{GPUS}"
    lines.append(node)
    for number in range(1, spec.nodes + 1):
        lines.append(f"NodeName=n{number} NodeHostname={host} NodeAddr={address} Port={spec.ports[number]}")
    every = f"Nodes=n[1-{spec.nodes}] MaxTime=INFINITE DefMemPerCPU=100"
    lines += [
        f"PartitionName=main {every} Default=YES PriorityTier=10 PreemptMode=OFF",
        f"PartitionName=gpu {every} PriorityTier=10 PreemptMode=OFF".replace("n[1-", f"n[{spec.nodes // 2 + 1}-"),
        f"PartitionName=urgent {every} PriorityTier=20 PreemptMode=OFF",
        f"PartitionName=spare {every} PriorityTier=1 PreemptMode=REQUEUE GraceTime={GRACE_S}",
    ]
    return "\n".join(lines) + "\n"


def slurmdbd_conf(spec: ClusterSpec) -> str:
    """Return slurmdbd.conf. MariaDB's socket is not in it: the client library takes it from ``MYSQL_UNIX_PORT``."""
    root = spec.root
    return "\n".join(
        [
            "AuthType=auth/munge",
            f"AuthInfo=socket={spec.munge_socket}",
            f"DbdHost={machine_name()}",
            f"DbdAddr={spec.address or '127.0.0.1'}",
            f"DbdPort={spec.accounting_port}",
            *([_LOOPBACK] if spec.address is not None else []),
            *([f"PluginDir={spec.plugins}"] if spec.plugins is not None else []),
            f"SlurmUser={spec.user}",
            f"LogFile={root}/log/slurmdbd.log",
            f"PidFile={root}/run/slurmdbd.pid",
            "StorageType=accounting_storage/mysql",
            "StorageHost=localhost",
            "StorageUser=slurm",
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
