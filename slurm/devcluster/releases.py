"""Other versions of Slurm for the test cluster, as Debian's packages unpacked into a folder of the cache, once.

Nothing is installed. debootstrap downloads Slurm's packages and all that they need from another suite of Debian and
checks their signatures; of the unpacked files only Slurm's commands and the libraries stay. The commands are edited
to use those libraries and their loader, so that they run beside the system's own, and jobs see the usual files.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from routenator.errors import InputError, RoutenatorError
from routenator.files import read_json, write_json
from routenator.trust import check_own

SYSTEM = "system"
# Name for --slurm -> Debian's suite.
SUITES = {"24.11": "trixie", "sid": "sid"}
_PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurmdbd", "patchelf")
_DAEMONS = ("slurmctld", "slurmd", "slurmstepd", "slurmdbd")
_TOOLS = {"debootstrap": "debootstrap", "dpkg-deb": "dpkg", "apt-get": "apt"}  # command -> Debian package
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])  # as in `cluster`
_OPTIONS = ("--variant=minbase", "--download-only")
_RECORD = "release.json"


class ReleaseError(RoutenatorError):
    """Another version of Slurm could not be fetched."""


@dataclass(frozen=True)
class Release:
    """A version of Slurm that is not installed.

    Attributes:
        version: for example ``24.11.5-4``.
        commands: folder with its commands and daemons, to be put at the front of the PATH.
        plugins: value of ``PluginDir`` in slurm.conf.
    """

    version: str
    commands: Path
    plugins: Path


def find_release(name: str, cache: Path) -> Release | None:
    """Return a version of Slurm from the cache, fetching it if need be; None for the system's.

    Args:
        name: ``system``, ``24.11`` or ``sid``.
        cache: folder for what is prepared once; created if missing.

    Raises:
        InputError: no such name; a tool is missing; or the cached folder belongs to another user.
        ReleaseError: it could not be fetched.
    """
    if name == SYSTEM:
        return None
    if name not in SUITES:
        raise InputError("no such version of Slurm", key="--slurm", found=name, valid=[SYSTEM, *SUITES])
    folder = cache.expanduser().resolve() / f"slurm-{SUITES[name]}"
    if folder.exists():
        check_own(folder, "this folder of Slurm's commands")
    if not _is_made(folder):
        _make(SUITES[name], folder)
    return Release(read_json(folder / _RECORD)["version"], folder / "bin", folder / "lib" / "slurm-wlm")


def missing_tools() -> list[str]:
    """Return the Debian packages that fetching a version needs and that are not installed."""
    return sorted(package for command, package in _TOOLS.items() if shutil.which(command, path=_PATH) is None)


def _is_made(folder: Path) -> bool:
    # The commands name their libraries by absolute paths, so a folder that was moved is of no use.
    return (folder / _RECORD).exists() and read_json(folder / _RECORD)["folder"] == str(folder)


def _make(suite: str, folder: Path) -> None:
    tools = missing_tools()
    if tools:
        raise InputError(
            f"Slurm's packages of Debian's suite {suite} cannot be fetched",
            key="--slurm",
            found=f"without {', '.join(tools)}",
            expected=f"apt-get install -y --no-install-recommends {' '.join(tools)}",
        )
    if os.getuid() != 0:
        raise InputError(
            f"Slurm's packages of Debian's suite {suite} cannot be fetched",
            key="--slurm",
            found=f"not root, and {folder} is not there",
            expected="root, as debootstrap needs; afterwards any user can use that folder",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    print(f"fetching Slurm from Debian's suite {suite}, once, to {folder}", file=sys.stderr, flush=True)
    try:
        _call(
            f"Debian's suite {suite} could not be fetched",
            ["debootstrap", *_OPTIONS, f"--include={','.join(_PACKAGES)}", suite, temporary / "packages", _mirror()],
        )
        version = ""
        for package in sorted((temporary / "packages" / "var" / "cache" / "apt" / "archives").glob("*.deb")):
            _call(f"{package.name} could not be unpacked", ["dpkg-deb", "--extract", package, temporary / "all"])
            if package.name.startswith("slurmctld_"):
                version = package.name.split("_")[1]
        made = temporary / "made"
        made.mkdir()
        _take(temporary / "all", made, folder)
        write_json(made / _RECORD, {"folder": str(folder), "suite": suite, "version": version})
        if folder.exists() and not _is_made(folder):
            shutil.rmtree(folder)
        try:
            made.rename(folder)
        except OSError:
            # Another process was first; its folder is as good as ours.
            if not _is_made(folder):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take(source: Path, target: Path, final: Path) -> None:
    """Move the libraries and Slurm's commands from an unpacked system to ``target``, which becomes ``final``."""
    [libraries] = {path.parent for path in source.glob("usr/lib/*/slurm-wlm")}
    [loader] = [path.name for path in libraries.glob("ld-linux*.so.*")]
    libraries.rename(target / "lib")
    commands = target / "bin"
    commands.mkdir()
    for name in _DAEMONS:
        # Debian names some daemons after the project, and makes links to them when a package is configured.
        found = [path for path in (source / "usr/sbin" / f"{name}-wlm", source / "usr/sbin" / name) if path.is_file()]
        shutil.copy2(found[0], commands / name)
    for path in (source / "usr/bin").glob("s*"):
        if b"slurm-wlm/" in path.read_bytes() or b"libslurmfull" in path.read_bytes():
            shutil.copy2(path, commands / path.name)
    lib = target / "lib"
    edit: list[str | Path] = [lib / loader, "--library-path", lib, source / "usr/bin/patchelf"]
    # `--force-rpath`, because only the older kind of path also holds for the libraries' own libraries and for plugins.
    edit += ["--force-rpath", "--set-rpath", f"{final}/lib:{final}/lib/slurm-wlm"]
    edit += ["--set-interpreter", f"{final}/lib/{loader}"]
    _call("Slurm's commands could not be edited", [*edit, *sorted(commands.iterdir())])


def _mirror() -> str:
    """Return the Debian mirror that apt uses here.

    Raises:
        ReleaseError: apt's sources name none.
    """
    # It prints what it would fetch, and needs no lists that were fetched before.
    text = _call("apt's sources could not be read", ["apt-get", "update", "--print-uris"])
    suites = {*SUITES.values(), "stable", "testing", "unstable", _codename()}
    # Third parties' suites and components have other names, and so have additions such as `-security`.
    for mirror, suite in re.findall(r"^'(\S+)/dists/([^/']+)/main/binary-", text, re.MULTILINE):
        if suite in suites:
            return str(mirror)
    raise ReleaseError("no Debian mirror is named by apt's sources on this machine, so Slurm cannot be fetched")


def _codename() -> str:
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


def _call(failure: str, command: Sequence[str | Path]) -> str:
    done = subprocess.run(
        command, env=os.environ | {"PATH": _PATH, "LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("E:", "W:"))]
        lines = lines or (done.stdout + done.stderr).strip().splitlines()
        raise ReleaseError(f"{failure}: {'; '.join(lines[-2:]) or f'exit {done.returncode}'}")
    return done.stdout
