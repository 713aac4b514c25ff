"""Runs a real Slurm with several nodes on this machine for testing: ``launch.py devcluster up`` and ``down``.

Everything is in one folder. If permissions allow it, all daemons and jobs live in a private PID namespace, so that they
die with its first process; otherwise they are found by a variable in their environment. A Slurm that was not started
here is never touched.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from routenator.errors import InputError
from routenator.files import read_json, write_json
from routenator.place import COMMAND, ROOT
from slurm.devcluster.config import MEMORY_GROUPS, ClusterSpec, read_spec, write_files
from slurm.devcluster.folder import check_folder, make_folder
from slurm.devcluster.releases import Release
from slurm.devcluster.supervisor import MODULE as SUPERVISOR
from slurm.devcluster.supervisor import DevclusterError
from slurm.local import processes

# Command -> the Debian package that provides it.
COMMANDS = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sinfo": "slurm-client"}
ACCOUNTING_COMMANDS = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server"}
# Daemons may be in folders that are not in a plain user's PATH.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
VARIABLE = "ROUTENATOR_DEVCLUSTER"
START_LIMIT_S = 120.0
_END_LIMIT_S = 60.0
_LOOK_S = 0.1
_RECORD = "cluster.json"
_PORTS = range(20000, 32000)  # Linux hands out 32768 to 60999


@dataclass(frozen=True)
class DevCluster:
    """A running test cluster.

    Attributes:
        root: its folder.
        pid: id of the supervisor; the cluster stops when it dies.
        started: creation time of that process (ids are reused).
        private: whether it has its own PID namespace.
        nodes: number of nodes.
        accounting: whether sacct works.
        name: Slurm's name of the cluster, for ``--clusters``.
        loopback: whether its daemons listen on a loopback address only.
        commands: folder with this cluster's commands, or None if they are the system's.
    """

    root: str
    pid: int
    started: float
    private: bool
    nodes: int
    accounting: bool
    name: str
    loopback: bool
    commands: str | None

    @property
    def slurm_conf(self) -> Path:
        return Path(self.root) / "etc" / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which commands reach this cluster."""
        path = os.environ.get("PATH", "")
        if self.commands is not None:
            path = os.pathsep.join([self.commands, path])
        return {"SLURM_CONF": str(self.slurm_conf), "PATH": path}

    def held(self, daemon: str) -> Path:
        """Return the file that keeps a daemon (``slurmctld``, ``n1``) from being restarted while it exists."""
        return Path(self.root) / "run" / f"{daemon}.held"


def default_root() -> Path:
    """Return the default folder of a cluster. It is short, because a socket's path is limited to 107 bytes."""
    return Path(tempfile.gettempdir()) / f"devcluster-{os.getuid()}"


def missing_packages(accounting: bool = True, slurm: bool = True) -> list[str]:
    """Return the required Debian packages that are not installed, of Slurm's own only if ``slurm``."""
    needed = COMMANDS | (ACCOUNTING_COMMANDS if accounting else {})
    needed = {command: package for command, package in needed.items() if slurm or not package.startswith("slurm")}
    return sorted({package for command, package in needed.items() if shutil.which(command, path=_PATH) is None})


def up(
    root: Path,
    nodes: int = 2,
    *,
    accounting: bool = True,
    max_array_size: int = 1001,
    name: str = "devcluster",
    beside: DevCluster | None = None,
    release: Release | None = None,
    limit_memory: bool = False,
) -> DevCluster:
    """Start a cluster and wait until every node is idle.

    Args:
        root: its folder; new or empty.
        nodes: number of nodes, each with 8 cores, 4 GB and (as root) 4 fake GPUs, whatever this machine has.
        accounting: whether to run slurmdbd and MariaDB.
        max_array_size: the cluster's MaxArraySize.
        name: Slurm's name of the cluster; two under one slurmdbd need different ones.
        beside: a running cluster with accounting whose munged and slurmdbd this one uses, so that the commands of
            either reach the other by ``--clusters``. It must outlive this one.
        release: the version of Slurm; None for the system's.
        limit_memory: whether the kernel kills a step that uses more memory than its job asked for.

    Raises:
        InputError: packages are missing, the folder is in use, a link or another user's, or memory cannot be limited.
        DevclusterError: the cluster did not start.
    """
    root = _absolute(root)
    packages = missing_packages(accounting and beside is None, release is None)
    if packages:
        raise InputError(
            "Slurm is not installed here" if release is None else "the test cluster needs other packages",
            found=f"without {', '.join(packages)}",
            expected=f"apt-get install -y --no-install-recommends {' '.join(packages)}",
        )
    if read_cluster(root) is not None:
        raise InputError(
            "a test cluster is already running here",
            file=root,
            expected=f"`{COMMAND} devcluster down` first, or another --root",
        )
    if limit_memory and not os.access(MEMORY_GROUPS, os.W_OK):
        raise InputError(
            "this machine's kernel does not let us limit memory",
            file=MEMORY_GROUPS,
            expected="a folder that we may write to (control groups, version 1, as root)",
        )
    private = _namespace_works()
    address = "127.0.0.1" if private else _own_address()
    spec = _spec(root, nodes, max_array_size, name, accounting, address, beside, release, limit_memory)
    make_folder(root)
    write_files(spec)
    command = [sys.executable, "-m", SUPERVISOR, str(root)]
    if private:
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", *command]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with open(root / "log" / "supervisor.log", "ab") as log:
        process = subprocess.Popen(
            command,
            env=_environment(root, spec.commands) | {"PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    started = processes.started(process.pid) or 0.0
    cluster = DevCluster(
        root=str(root),
        pid=process.pid,
        started=started,
        private=private,
        nodes=nodes,
        accounting=spec.accounting_port is not None,
        name=name,
        loopback=address is not None,
        commands=spec.commands,
    )
    write_json(root / _RECORD, asdict(cluster))
    deadline = time.monotonic() + START_LIMIT_S
    while not (root / "ready").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            ends = "\n".join(f"{log.name}: {_last_line(log)}" for log in sorted((root / "log").glob("*.log")))
            _end(cluster)
            raise DevclusterError(f"the test cluster did not start; see {root / 'log'}\n{ends}")
        time.sleep(_LOOK_S)
    return cluster


def down(root: Path) -> bool:
    """Stop the cluster of a folder and all its jobs, and remove the folder.

    Returns:
        Whether a cluster was running.

    Raises:
        InputError: the folder is a link or another user's.
    """
    root = _absolute(root)
    cluster = read_cluster(root)
    if cluster is not None:
        _end(cluster)
    if (root / _RECORD).exists():
        shutil.rmtree(root, ignore_errors=True)
    return cluster is not None


def read_cluster(root: Path) -> DevCluster | None:
    """Return the cluster that runs from a folder, or None.

    Its record is trusted only in a folder of our own, and only if the process that it names is our supervisor for
    this folder: an id may belong to another process by now.

    Raises:
        InputError: the folder is a link or another user's, or its record cannot be read.
    """
    root = _absolute(root)
    check_folder(root)
    try:
        cluster = DevCluster(**read_json(root / _RECORD))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError) as error:
        raise InputError(
            "this is not the record of a test cluster",
            file=root / _RECORD,
            found=str(error),
            expected=f"what `{COMMAND} devcluster up` wrote",
        ) from None
    return cluster if cluster.root == str(root) and _is_supervisor(cluster) else None


def _is_supervisor(cluster: DevCluster) -> bool:
    try:
        process = psutil.Process(cluster.pid)
        return (
            processes.is_same(cluster.pid, cluster.started)
            and process.uids().real == os.getuid()
            and process.cmdline()[-2:] == [SUPERVISOR, cluster.root]
        )
    except psutil.Error:
        return False


def _absolute(root: Path) -> Path:
    """Make a path absolute without following a link in its last part."""
    root = Path(os.path.abspath(root))
    return root.parent.resolve() / root.name


def _spec(
    root: Path,
    nodes: int,
    max_array_size: int,
    name: str,
    accounting: bool,
    address: str | None,
    beside: DevCluster | None,
    release: Release | None,
    limit_memory: bool,
) -> ClusterSpec:
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise InputError("not a cluster's name", key="--name", found=name, expected="a word in lower case")
    if beside is None:
        ports = _free_ports(nodes + 2)
        accounting_port = ports.pop() if accounting else None
        munge_socket = root / "munge" / "s"
    else:
        other = read_spec(Path(beside.root))
        if other.accounting_port is None or other.name == name:
            raise InputError(
                "no second cluster can run beside this one",
                file=beside.root,
                key="--beside",
                found="it has no accounting" if other.accounting_port is None else f"both are called {name}",
                expected="a test cluster with accounting and another name",
            )
        ports, accounting_port, munge_socket = _free_ports(nodes + 1), other.accounting_port, other.munge_socket
    return ClusterSpec(
        root=root,
        name=name,
        nodes=nodes,
        max_array_size=max_array_size,
        user=getpass.getuser(),
        ports=ports,
        accounting_port=accounting_port,
        munge_socket=munge_socket,
        own_accounting=beside is None,
        address=address,
        commands=None if release is None else str(release.commands),
        plugins=None if release is None else str(release.plugins),
        version=None if release is None else release.version,
        limit_memory=limit_memory,
    )


def _end(cluster: DevCluster) -> None:
    if not cluster.private and _is_supervisor(cluster):
        # Jobs do not have our variable (Slurm gives them their submitter's environment), so Slurm must stop them.
        _end_jobs(cluster)
    if _is_supervisor(cluster):
        os.kill(cluster.pid, signal.SIGKILL)
    processes.end(VARIABLE, cluster.root, 0.0)
    # Slurm overlooks what a job started at its very end. A shell that uses the cluster has the first variable, too.
    for process in processes.with_variable("SLURM_CONF", str(cluster.slurm_conf)):
        with contextlib.suppress(psutil.Error):
            if "SLURM_JOB_ID" in process.environ():
                process.kill()


def _end_jobs(cluster: DevCluster) -> None:
    """Cancel all jobs, and wait until the nodes report that nothing of them is left; give up if nobody answers."""
    environment = _environment(Path(cluster.root), cluster.commands)
    deadline = time.monotonic() + _END_LIMIT_S
    with contextlib.suppress(subprocess.TimeoutExpired):
        while (left := deadline - time.monotonic()) > 0:
            for command in (["scancel", "--user", getpass.getuser()], ["squeue", "--noheader"]):
                done = subprocess.run(
                    command, env=environment, capture_output=True, text=True, timeout=left, check=False
                )
            if done.returncode == 0 and not done.stdout.strip():
                return
            time.sleep(_LOOK_S)


def _environment(root: Path, commands: str | None) -> dict[str, str]:
    """Return our environment without any settings of another Slurm."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
    path = os.pathsep.join([*filter(None, [commands]), _PATH])
    return kept | {"SLURM_CONF": str(root / "etc" / "slurm.conf"), VARIABLE: str(root), "PATH": path}


def _namespace_works() -> bool:
    if os.getuid() != 0 or shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "true"], capture_output=True, check=False
    )
    return tried.returncode == 0


def _own_address() -> str | None:
    """Return the address of this machine's name, if it is a loopback address."""
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        return None
    return address if address.startswith("127.") else None


def _free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on. All are held open at once, so that they differ.

    They are below the range from which the kernel assigns ports on request: until our daemons listen, some seconds
    pass in which it could give them to others.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            one = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", secrets.choice(_PORTS)))
                ports.append(one.getsockname()[1])
    return ports


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "(empty)"
