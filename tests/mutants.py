"""Plants faults in copies of the code and counts how many the fast tests see: ``make mutants``.

A fault is one operator or constant changed. Ten are drawn from each module of ``MODULES``; the draw depends on the seed
and on the module's text alone. For each fault, the test files that mirror the module run first, then, if they see
nothing, the other fast tests that can import it. Faults run two at a time in copies outside of the checkout, which is
never written to, so that nothing has to be undone after Ctrl-C. A fault that makes the tests hang counts as seen.

Not drawn are annotations, options of decorators, text inside f-strings, and the faults in ``mutants.yaml``: no test can
tell them from the code as it is, and each has its reason there.

Why not mutmut or cosmic-ray: mutmut leaves out decorated functions and the constants of a module and draws nothing by
module and seed; cosmic-ray mutates the checkout itself.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from types import FrameType

import psutil
import yaml

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENTS = Path(__file__).with_suffix(".yaml")
EACH = 10  # faults drawn from a module
NEEDED = 60 / 70  # share that must be seen
WORKERS = 2

# Module -> the tests that mirror it, the quickest first.
MODULES: dict[str, tuple[str, ...]] = {
    "routenator/evaluation/verdict.py": (
        "tests/routenator/test_evaluation_metrics.py",
        "tests/routenator/test_evaluation_berkeley.py",
    ),
    "routenator/dataset/quotas.py": ("tests/routenator/test_dataset_merge.py",),
    "routenator/sampling/strata.py": (
        "tests/routenator/test_strata.py",
        "tests/routenator/test_sampling.py",
        "tests/routenator/test_domain_joint.py",
    ),
    "slurm/submission/answers.py": ("tests/slurm/test_queue.py",),
    "slurm/submission/queue.py": ("tests/slurm/test_queue.py", "tests/slurm/test_lost.py"),
    "jobs/task.py": ("tests/jobs/test_task.py",),
    "routenator/validation/checks.py": (
        "tests/routenator/test_validation_checks.py",
        "tests/routenator/test_validation_prefilter.py",
    ),
    "slurm/watching/shard_state.py": ("tests/slurm/test_shard_state.py", "tests/slurm/test_status.py"),
}
# Folders of tests that cannot import a package, because imports run one way: launch -> slurm -> jobs -> routenator.
BEYOND: dict[str, tuple[str, ...]] = {
    "routenator": (),
    "jobs": ("tests/routenator",),
    "slurm": ("tests/routenator", "tests/jobs"),
}

_COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.BitOr: "&",
    ast.BitAnd: "|",
    ast.LShift: ">>",
    ast.RShift: "<<",
}


@dataclass(frozen=True)
class Fault:
    """One change of a module's text.

    Attributes:
        path: the module, relative to the root of the repository.
        start, end: offsets in the text, in characters; ``new`` replaces what is between them.
        line: 1-based.
        before, after: that line without its indentation.
    """

    path: str
    start: int
    end: int
    new: str
    line: int
    before: str
    after: str

    def apply(self, text: str) -> str:
        return text[: self.start] + self.new + text[self.end :]


class _Source:
    """A module's text, with the offsets of its tokens and syntax nodes."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text, self.lines = path, text, text.splitlines(keepends=True)
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line))
        self._tokens = [
            (self._starts[token.start[0] - 1] + token.start[1], self._starts[token.end[0] - 1] + token.end[1])
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type in (tokenize.OP, tokenize.NAME) and token.string not in "()"
        ]

    def span(self, node: ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset)

    def between(self, low: int, high: int) -> tuple[int, int]:
        """Where the operator between two offsets is; it may have two words (``is not``)."""
        found = [(start, end) for start, end in self._tokens if low <= start < high]
        return found[0][0], found[-1][1]

    def fault(self, span: tuple[int, int], new: str) -> Fault:
        start, end = span
        number = max(index for index, first in enumerate(self._starts) if first <= start)
        first, line = self._starts[number], self.lines[number]
        after = line[: start - first] + new + line[end - first :]
        return Fault(self.path, start, end, new, number + 1, line.strip(), after.strip())

    def _offset(self, line: int, column: int) -> int:
        """``column`` counts bytes of UTF-8, as the syntax tree does."""
        return self._starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())


def faults_of(path: str, text: str) -> list[Fault]:
    """Every fault that can be planted in a module, in the order of its text."""
    source = _Source(path, text)
    found = [source.fault(span, new) for node in _expressions(ast.parse(text)) for span, new in _changes(node, source)]
    return sorted(found, key=lambda fault: (fault.start, fault.new))


def _expressions(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it but annotations, decorators and f-strings (whose offsets Python 3.11 gets wrong)."""
    if isinstance(node, ast.JoinedStr):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, ast.AST):
                    yield from _expressions(item)


def _changes(node: ast.AST, source: _Source) -> Iterator[tuple[tuple[int, int], str]]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for before, op, after in zip([left, *comparators], ops, comparators, strict=False):
                span = source.between(source.span(before)[1], source.span(after)[0])
                for new in _COMPARISONS[type(op)]:
                    yield span, new
        case ast.BoolOp(op=joint, values=values):
            for before, after in itertools.pairwise(values):
                span = source.between(source.span(before)[1], source.span(after)[0])
                yield span, "or" if isinstance(joint, ast.And) else "and"
        case ast.BinOp(left=before, op=operator, right=after):
            if type(operator) in _OPERATORS and not _is_union(node):
                span = source.between(source.span(before)[1], source.span(after)[0])
                yield span, _OPERATORS[type(operator)]
        case ast.AugAssign(target=ast.expr() as target, op=operator, value=value):
            if type(operator) in _OPERATORS:
                span = source.between(source.span(target)[1], source.span(value)[0])
                yield span, f"{_OPERATORS[type(operator)]}="
        case ast.UnaryOp(op=sign, operand=operand):
            start = source.span(node)[0]
            yield source.between(start, source.span(operand)[0]), "+" if isinstance(sign, ast.USub) else ""
        case ast.Constant(value=bool() as flag):
            yield source.span(node), str(not flag)
        case ast.Constant(value=int() | float() as number):
            for other in (number - 1, number + 1):
                yield source.span(node), repr(other)


def _is_union(node: ast.BinOp) -> bool:
    """Whether this is a type such as ``str | None`` outside of an annotation."""
    return any(isinstance(side, ast.Constant) and side.value is None for side in (node.left, node.right))


@dataclass(frozen=True)
class Equivalent:
    """A fault that changes nothing a test could see; ``before`` and ``after`` as in ``Fault``."""

    path: str
    before: str
    after: str
    reason: str


def read_equivalents() -> list[Equivalent]:
    """Those that are known."""
    return [
        Equivalent(path, item["before"], after, item["reason"])
        for path, items in yaml.safe_load(EQUIVALENTS.read_text()).items()
        for item in items
        for after in item["after"]
    ]


def draw(path: str, text: str, seed: int, equivalents: Sequence[Equivalent], count: int = EACH) -> list[Fault]:
    """A module's faults, each at another place, in the order of its text."""
    known = {(item.path, item.before, item.after) for item in equivalents}
    pool = [fault for fault in faults_of(path, text) if (path, fault.before, fault.after) not in known]
    random.Random(f"{seed}:{path}").shuffle(pool)
    places: dict[int, Fault] = {}
    for fault in pool:
        if len(places) < count:
            places.setdefault(fault.start, fault)
    return [places[start] for start in sorted(places)]


@dataclass
class Bench:
    """Copies of the checkout, and the tests that run in them.

    Attributes:
        folder: holds the copies and all that the tests leave in temporary folders; the caller removes it.
        root: the checkout.
        modules: module -> the tests that mirror it.
    """

    folder: Path
    root: Path = ROOT
    modules: Mapping[str, Sequence[str]] = field(default_factory=lambda: MODULES)
    _limits: dict[str, float] = field(default_factory=dict)
    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self) -> list[Path]:
        """Make a copy for each worker. What the tests compile in the first one, all of them have.

        Raises:
            SystemExit: the tests fail without any fault, so that they could not tell one.
        """
        first = self.folder / "0"
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(listed, cwd=self.root, capture_output=True, text=True, check=True)
        for name in filter(None, done.stdout.split("\0")):
            if (self.root / name).is_file():
                (first / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.root / name, first / name)
        mirrors = [file for files in self.modules.values() for file in files]
        halves = {"mirrors": mirrors, "others": ["tests", *(f"--ignore={file}" for file in mirrors)]}
        with ThreadPoolExecutor(len(halves)) as pool:
            try:
                for name, future in [(name, pool.submit(self._run, first, tests)) for name, tests in halves.items()]:
                    code, said, seconds = future.result()
                    if code != 0:
                        raise SystemExit(f"the tests fail without any fault (exit code {code}):\n{said}")
                    self._limits[name] = 60 + 4 * seconds
            except BaseException:
                self.stop()
                raise
        trees = [first, *(self.folder / str(number) for number in range(1, WORKERS))]
        for tree in trees[1:]:
            shutil.copytree(first, tree)
        for tree, path in itertools.product(trees, self.modules):
            for compiled in (tree / path).parent.glob(f"__pycache__/{Path(path).stem}.*.pyc"):
                compiled.unlink()
        return trees

    def sees(self, tree: Path, fault: Fault) -> bool:
        """Whether a fast test fails in this copy with this fault."""
        file, mirrors = tree / fault.path, self.modules[fault.path]
        left_out = (*mirrors, *BEYOND[fault.path.partition("/")[0]])
        halves = {"mirrors": mirrors, "others": ["tests", *(f"--ignore={name}" for name in left_out)]}
        text, times = file.read_text(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
        try:
            file.write_text(fault.apply(text))
            # Compiled loops are discarded when a file beside them is younger; none holds anything of these modules.
            os.utime(file, ns=times)
            # With the time of the file unchanged, Python would take bytecode of another fault for that of this one.
            alone = {"PYTHONDONTWRITEBYTECODE": "1"}
            # The limit for one test ends endless loops early.
            return any(
                self._run(tree, ["-x", "--timeout=60", *tests], self._limits[name], alone)[0] != 0
                for name, tests in halves.items()
            )
        finally:
            file.write_text(text)
            os.utime(file, ns=times)

    def stop(self) -> None:
        """End what is running; nothing else starts."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                _kill(process)

    def _run(
        self,
        tree: Path,
        arguments: Sequence[str],
        limit: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> tuple[int, str, float]:
        """Run fast tests in a copy.

        Returns:
            pytest's exit code (negative if it took longer than ``limit`` seconds), the end of what it said, seconds.
        """
        started, temporary = time.monotonic(), tempfile.mkdtemp(dir=self.folder)
        options = ["-q", "-m", "not slow", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, *arguments],
                cwd=tree,
                env={**os.environ, "TMPDIR": temporary, "OMP_NUM_THREADS": "1", **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            self._running.add(process)
        try:
            said = process.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            _kill(process)
            said = process.communicate()[0]
        finally:
            with self._lock:
                self._running.discard(process)
        shutil.rmtree(temporary, ignore_errors=True)
        return process.returncode, said[-4000:], time.monotonic() - started


def _kill(process: subprocess.Popen[str]) -> None:
    """End a run of the tests with all that it started, also in sessions of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()


def plant(faults: Sequence[Fault], bench: Bench) -> list[Fault]:
    """Run the tests on each fault, several at a time, and print what became of it.

    Returns:
        The faults that no test has seen.
    """
    trees: SimpleQueue[Path] = SimpleQueue()
    for tree in bench.prepare():
        trees.put(tree)

    def seen(fault: Fault) -> bool:
        tree = trees.get()
        try:
            return bench.sees(tree, fault)
        finally:
            trees.put(tree)

    survivors = []
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for fault, found in zip(faults, pool.map(seen, faults), strict=True):
                print(f"{'seen    ' if found else 'SURVIVED'} {fault.path}:{fault.line}", flush=True)
                if not found:
                    print(f"    - {fault.before}\n    + {fault.after}", flush=True)
                    survivors.append(fault)
        except BaseException:
            bench.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return survivors


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if enough faults were seen, 1 if not, 130 if interrupted."""
    parser = argparse.ArgumentParser(description="Plant faults in copies of the code; do the fast tests see them?")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other faults (default: 0)")
    parser.add_argument("--each", type=int, default=EACH, help=f"faults drawn from a module (default: {EACH})")
    parser.add_argument("modules", nargs="*", default=list(MODULES), help="paths; all by default")
    options = parser.parse_args(arguments)
    if unknown := set(options.modules) - set(MODULES):
        parser.error(f"no tests are named for {', '.join(sorted(unknown))}; MODULES in {__file__} names them")
    equivalents, started = read_equivalents(), time.monotonic()
    faults = [
        fault
        for path in options.modules
        for fault in draw(path, (ROOT / path).read_text(), options.seed, equivalents, options.each)
    ]
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
            survivors = plant(faults, Bench(Path(folder)))
    except KeyboardInterrupt:
        print("interrupted; the checkout is as it was", file=sys.stderr)
        return 130
    seen, minutes = len(faults) - len(survivors), (time.monotonic() - started) / 60
    for item in equivalents:
        print(f"equivalent, not drawn: {item.path}: {item.after}\n    {item.reason}")
    print(f"{seen} of {len(faults)} faults seen by the fast tests in {minutes:.1f} minutes (seed {options.seed})")
    return 0 if seen >= NEEDED * len(faults) else 1


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
