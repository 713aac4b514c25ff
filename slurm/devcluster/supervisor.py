"""The test cluster's main process: starts its daemons in order and restarts them until it is killed.

With a PID namespace of its own it is the first process there, so that everything else ends with it.
"""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from routenator.errors import RoutenatorError
from slurm.devcluster.config import ClusterSpec, read_spec

MODULE = "slurm.devcluster.supervisor"
_LOOK_S = 0.1


class DevclusterError(RoutenatorError):
    """The test cluster did not start; the message names its logs."""


class Supervisor:
    """Starts the daemons in order, and restarts them until it is stopped."""

    def __init__(self, spec: ClusterSpec) -> None:
        self.spec = spec
        self.root = spec.root
        self.commands: dict[str, str] = {}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def serve(self) -> None:
        """Start the cluster and keep it running: as on a real one, a daemon that exits is restarted.

        Raises:
            DevclusterError: a daemon exited before all were running.
        """
        root = self.root
        if os.getpid() == 1:
            # Only we see this mount. Slurm's daemons listen on all addresses or on that of the machine's name.
            subprocess.run(["mount", "--bind", root / "etc" / "hosts", "/etc/hosts"], check=True)
        if self.spec.own_accounting:
            # Munge wants its socket to be reachable by all users; --force starts it in a folder that only we may enter.
            self._start(
                "munged",
                f"munged --foreground --force --key-file={root}/etc/munge.key --socket={self.spec.munge_socket} "
                f"--pid-file={root}/run/munged.pid "
                f"--seed-file={root}/munge/seed --log-file={root}/log/munged.log --num-threads=10",
            )
        self._until(self.spec.munge_socket.exists, "munge's socket")
        if self.spec.runs_slurmdbd:
            self._accounting()
        if self.spec.accounting_port is not None:
            self._until(lambda: self._ask("sacctmgr -n show cluster") is not None, "slurmdbd")
            add = f"sacctmgr -i add cluster {self.spec.name}"
            self._until(lambda: self._ask(add) is not None, "the cluster's record")
        # From 26.05 on, a controller that was killed in its first minutes does not start again, because a file is
        # missing that it had not written yet, unless told to ignore that.
        ignore = " -i" if (self.spec.version or "").split(".") >= ["26"] else ""
        self._start("slurmctld", f"slurmctld -D{ignore}")
        steps = "" if self.spec.commands is None else f" -d {self.spec.commands}/slurmstepd"
        for number in range(1, self.spec.nodes + 1):
            self._start(f"n{number}", f"slurmd -D -N n{number}{steps}")
        self._until(lambda: self._idle_nodes() == self.spec.nodes, "idle nodes")
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
        # SELECT ... INTO OUTFILE writes here and nowhere else; there is no value for "nowhere".
        export = root / "mariadb" / "export"
        export.mkdir()
        install = (
            f"mariadb-install-db --no-defaults --user={getpass.getuser()} --datadir={data} "
            f"--auth-root-authentication-method=socket --auth-root-socket-user={getpass.getuser()}"
        )
        with open(root / "log" / "mariadb-install.log", "wb") as log:
            subprocess.run(
                shlex.split(install), env={**os.environ, "TMPDIR": str(temporary)}, stdout=log, stderr=log, check=True
            )
        self._start(
            "mariadbd",
            f"mariadbd --no-defaults --user={getpass.getuser()} --datadir={data} --tmpdir={temporary} "
            f"--skip-networking --socket={root}/mariadb/s --pid-file={root}/run/mariadbd.pid "
            f"--init-file={root}/etc/init.sql --secure-file-priv={export} "
            "--innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=32M --performance-schema=off",
        )
        self._until((root / "mariadb" / "s").exists, "MariaDB's socket")
        self._start("slurmdbd", "slurmdbd -D")

    def _start(self, name: str, command: str) -> None:
        self.commands[name] = command
        with open(self.root / "log" / f"{name}.out.log", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                shlex.split(command),
                env={**os.environ, "MYSQL_UNIX_PORT": f"{self.root}/mariadb/s"},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        while not condition():
            dead = [name for name, process in self.daemons.items() if process.poll() is not None]
            if dead:
                raise DevclusterError(f"{dead} exited while we waited for {what}")
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


if __name__ == "__main__":
    Supervisor(read_spec(Path(sys.argv[1]))).serve()
