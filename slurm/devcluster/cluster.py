"""Runs a real Slurm with several nodes on this machine for testing: ``launch.py devcluster up`` and ``down``.

Everything is in one folder. If permissions allow it, all daemons and jobs live in a private PID namespace, so that they
die with its first process; otherwise they are found by a variable in their environment. A Slurm that was not started
here is never touched.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from routenator.errors import InputError, RoutenatorError
from routenator.files import read_json, write_json
from slurm.devcluster.config import ClusterSpec, write_files
from slurm.local import processes

# Command -> the Debian package that provides it.
COMMANDS = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sinfo": "slurm-client"}
ACCOUNTING_COMMANDS = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server"}
# Daemons may be in folders that are not in a plain user's PATH.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
VARIABLE = "ROUTENATOR_DEVCLUSTER"
START_LIMIT_S = 120.0
_LOOK_S = 0.1
_PORTS = range(20000, 32000)  # Linux gives away 32768 to 60999


class ClusterError(RoutenatorError):
    """The test cluster did not start; the message names its logs."""


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
    """

    root: str
    pid: int
    started: float
    private: bool
    nodes: int
    accounting: bool

    @property
    def slurm_conf(self) -> Path:
        return Path(self.root) / "etc" / "slurm.conf"

    def held(self, daemon: str) -> Path:
        """Return the file that keeps a daemon (``slurmctld``, ``n1``) from being restarted while it exists."""
        return Path(self.root) / "run" / f"{daemon}.held"


def default_root() -> Path:
    """Return the default folder of a cluster.

    It is short, because a socket's path is limited to 107 bytes, and accessible to others, as munge requires.
    """
    return Path(tempfile.gettempdir()) / f"devcluster-{os.getuid()}"


def missing_packages(accounting: bool = True) -> list[str]:
    """Return the required Debian packages that are not installed."""
    needed = COMMANDS | (ACCOUNTING_COMMANDS if accounting else {})
    return sorted({package for command, package in needed.items() if shutil.which(command, path=_PATH) is None})


def up(root: Path, nodes: int = 2, *, accounting: bool = True, max_array_size: int = 1001) -> DevCluster:
    """Start a cluster and wait until every node is idle.

    Args:
        root: its folder; new or empty.
        nodes: number of nodes, each with 8 cores, 4 GB and (as root) 4 fake GPUs, whatever this machine has.
        accounting: whether to run slurmdbd and MariaDB.
        max_array_size: the cluster's MaxArraySize.

    Raises:
        InputError: packages are missing, or the folder is in use.
        ClusterError: the cluster did not start.
    """
    root = root.resolve()
    packages = missing_packages(accounting)
    if packages:
        raise InputError(
            "Slurm is not installed here", found=f"without {', '.join(packages)}",
            expected="apt-get install -y --no-install-recommends "
            + " ".join(sorted({*COMMANDS.values(), *ACCOUNTING_COMMANDS.values()})),
        )  # fmt: skip
    if read_cluster(root) is not None:
        raise InputError(
            "a test cluster is already running here",
            file=root,
            expected="`launch.py devcluster down` first, or another --root",
        )
    if root.exists() and any(root.iterdir()):
        raise InputError("this folder is not empty", file=root, key="--root", expected="a new or empty folder")
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    spec = ClusterSpec(
        root, nodes, accounting, max_array_size, getpass.getuser(), _free_ports(nodes + 3), secrets.token_hex(12)
    )
    write_files(spec)
    private = _namespace_works()
    command = [sys.executable, "-m", "slurm.devcluster.cluster", str(root), str(nodes), str(int(accounting))]
    if private:
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", *command]
    project = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(project), *filter(None, [os.environ.get("PYTHONPATH")])])
    with open(root / "log" / "supervisor.log", "ab") as log:
        process = subprocess.Popen(
            command,
            env=_environment(root) | {"PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    cluster = DevCluster(str(root), process.pid, processes.started(process.pid) or 0.0, private, nodes, accounting)
    write_json(root / "cluster.json", asdict(cluster))
    deadline = time.monotonic() + START_LIMIT_S
    while not (root / "ready").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            ends = "\n".join(f"{log.name}: {_last_line(log)}" for log in sorted((root / "log").glob("*.log")))
            _end(cluster)
            raise ClusterError(f"the test cluster did not start; see {root / 'log'}\n{ends}")
        time.sleep(_LOOK_S)
    return cluster


def down(root: Path) -> bool:
    """Stop the cluster of a folder and all its jobs, and remove the folder.

    Returns:
        Whether a cluster was running.
    """
    root = root.resolve()
    cluster = read_cluster(root)
    if cluster is not None:
        _end(cluster)
    if (root / "cluster.json").exists():
        shutil.rmtree(root, ignore_errors=True)
    return cluster is not None


def read_cluster(root: Path) -> DevCluster | None:
    """Return the cluster that runs from a folder, or None."""
    try:
        cluster = DevCluster(**read_json(root.resolve() / "cluster.json"))
    except FileNotFoundError:
        return None
    return cluster if processes.is_same(cluster.pid, cluster.started) else None


def _end(cluster: DevCluster) -> None:
    if not cluster.private and processes.is_same(cluster.pid, cluster.started):
        # Jobs do not have our variable (Slurm gives them their submitter's environment), so Slurm must stop them.
        user = getpass.getuser()
        subprocess.run(
            ["scancel", "--user", user],
            env=_environment(Path(cluster.root)),
            capture_output=True,
            timeout=30,
            check=False,
        )
        time.sleep(4.0)
    if processes.is_same(cluster.pid, cluster.started):
        os.kill(cluster.pid, signal.SIGKILL)
    processes.end(VARIABLE, cluster.root, 0.0)


def _environment(root: Path) -> dict[str, str]:
    """Return our environment without any settings of another Slurm."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
    return kept | {"SLURM_CONF": str(root / "etc" / "slurm.conf"), VARIABLE: str(root), "PATH": _PATH}


def _namespace_works() -> bool:
    if os.getuid() != 0 or shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "true"], capture_output=True, check=False
    )
    return tried.returncode == 0


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


class Supervisor:
    """The cluster's main process: starts the daemons in order, and restarts them until it is stopped."""

    def __init__(self, root: Path, nodes: int, accounting: bool) -> None:
        self.root = root
        self.nodes = nodes
        self.accounting = accounting
        self.commands: dict[str, str] = {}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def serve(self) -> None:
        """Start the cluster and keep it running: as on a real one, a daemon that exits is restarted.

        Raises:
            ClusterError: a daemon exited before all were running.
        """
        root = self.root
        self._start(
            "munged",
            f"munged --foreground --force --key-file={root}/etc/munge.key --socket={root}/munge/s "
            f"--pid-file={root}/run/munged.pid "
            f"--seed-file={root}/munge/seed --log-file={root}/log/munged.log --num-threads=10",
        )
        self._until((root / "munge" / "s").exists, "munge's socket")
        if self.accounting:
            self._accounting()
        self._start("slurmctld", "slurmctld -D")
        for number in range(1, self.nodes + 1):
            self._start(f"n{number}", f"slurmd -D -N n{number}")
        self._until(lambda: self._idle_nodes() == self.nodes, "idle nodes")
        (root / "ready").touch()
        while True:
            time.sleep(1.0)
            self._reap()
            for name, process in list(self.daemons.items()):
                if process.poll() is not None and not (root / "run" / f"{name}.held").exists():
                    print(f"{name} exited with code {process.returncode}; restarted", file=sys.stderr, flush=True)
                    self._start(name, self.commands[name])

    def _accounting(self) -> None:
        root = self.root
        data = root / "mariadb" / "data"
        # A server deletes other servers' files in its folder for temporary tables, so each needs its own.
        temporary = root / "mariadb" / "tmp"
        temporary.mkdir()
        install = (
            f"mariadb-install-db --no-defaults --user={getpass.getuser()} --datadir={data} "
            "--auth-root-authentication-method=normal"
        )
        with open(root / "log" / "mariadb-install.log", "wb") as log:
            subprocess.run(
                shlex.split(install), env={**os.environ, "TMPDIR": str(temporary)}, stdout=log, stderr=log, check=True
            )
        port = (root / "etc" / "mariadb.port").read_text()
        self._start(
            "mariadbd",
            f"mariadbd --no-defaults --user={getpass.getuser()} --datadir={data} --tmpdir={temporary} "
            f"--bind-address=127.0.0.1 --port={port} --socket={root}/mariadb/s --pid-file={root}/run/mariadbd.pid "
            f"--init-file={root}/etc/init.sql "
            "--innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=32M --performance-schema=off",
        )
        self._until((root / "mariadb" / "s").exists, "MariaDB's socket")
        self._start("slurmdbd", "slurmdbd -D")
        self._until(lambda: self._ask("sacctmgr -n show cluster") is not None, "slurmdbd")
        self._until(lambda: self._ask("sacctmgr -i add cluster devcluster") is not None, "the cluster's record")

    def _start(self, name: str, command: str) -> None:
        self.commands[name] = command
        with open(self.root / "log" / f"{name}.out.log", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                shlex.split(command), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        while not condition():
            dead = [name for name, process in self.daemons.items() if process.poll() is not None]
            if dead:
                raise ClusterError(f"{dead} exited while we waited for {what}")
            time.sleep(_LOOK_S)

    def _idle_nodes(self) -> int:
        text = self._ask("sinfo --noheader --Node --format=%N|%T")
        return len({line for line in (text or "").splitlines() if line.endswith("|idle")})

    @staticmethod
    def _ask(command: str) -> str | None:
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def _reap(self) -> None:
        # As process 1 of its namespace it inherits orphans and must reap them; `poll` notices our own children.
        own = {process.pid for process in self.daemons.values()}
        while os.getpid() == 1:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None or ended.si_pid in own:
                return
            os.waitpid(ended.si_pid, 0)


def main(arguments: list[str]) -> None:
    """Run the cluster. Arguments: ROOT NODES ACCOUNTING."""
    root, nodes, accounting = arguments
    Supervisor(Path(root), int(nodes), accounting == "1").serve()


if __name__ == "__main__":
    main(sys.argv[1:])
