"""CONTRIBUTING's recipes are true: each is followed on one copy of the tree, and commands there show what came of it.

A recipe names the files that it touches. The edits here are to those files and to no others, so neither the text nor
the code can change without the other.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.conftest import ROOT

TREE = ["launch.py", "pyproject.toml", "CONTRIBUTING.md", "routenator", "jobs", "slurm", "configs", "docs"]
TREE += ["tests", "benchmarks"]
TINY = "tests/domains/tiny"
WHOLE = ""  # an edit that starts a file


class Edit(NamedTuple):
    """Text that goes into a file after the first occurrence of another text, or replaces it."""

    after: str
    text: str
    instead: bool = False


class Recipe(NamedTuple):
    """How one recipe is followed.

    Attributes:
        title: its heading.
        most: how many files of code it may name.
        edits: file -> what goes into it.
        data: the same, of files that the recipe means but cannot name, such as a domain's.
        unneeded: files that it names for cases that do not occur here.
    """

    title: str
    most: int
    edits: Mapping[str, list[Edit]]
    data: Mapping[str, list[Edit]] = {}
    unneeded: frozenset[str] = frozenset()


CHECK = Recipe(
    "Add a check",
    3,
    {
        "routenator/validation/checks.py": [
            Edit(
                '    return f"ends with {last!r}" if last in DANGLING.get(candidate.language, ()) else None\n',
                "\n\ndef too_polite(candidate: Candidate, context: Context) -> str | None:\n"
                '    count = candidate.words.count("thanks")\n'
                '    return f"{count} thanks" if count > context.config.max_thanks else None\n',
            ),
            Edit('    "incomplete": (incomplete, "breaks off"),\n', '    "too_polite": (too_polite, "too polite"),\n'),
        ],
        "jobs/generate.py": [Edit("VERSION = ", "10")],
        "routenator/config.py": [
            Edit(
                "    length: bool = True",
                "    max_thanks: Annotated[int, Field(ge=0)] = 0\n    length: bool = True",
                True,
            )
        ],
        "docs/configuration.md": [
            Edit("a word this often in a row, or more, is degenerate |\n", "| `checks.max_thanks` | `0` | how many |\n")
        ],
        "docs/checks.md": [Edit("| check | breaks off |\n", "| `too_polite` | check | too polite |\n")],
        "tests/routenator/test_validation_checks.py": [
            Edit(
                '{"query": "a poster of red beach for my"}),\n',
                '    "too_polite": ({}, {"query": "a poster of red beach, thanks"}),\n',
            )
        ],
        "benchmarks/data/candidates.jsonl": [
            Edit(
                WHOLE,
                '{"domain": "creative", "function": "search", "category": "poster", "arguments": {"content_type": '
                '"poster", "extracted_prompt": "jazz night"}, "slots": {"content_type": "poster", "extracted_prompt": '
                '"jazz night"}, "length": "short", "template": "text/search_few_shot", "draft": "poster jazz night", '
                '"query": "poster jazz night, thanks", "reason": "too_polite"}\n',
            )
        ],
    },
)
ROUTE = Recipe(
    "Add a route",
    5,
    {
        "routenator/routes.py": [
            Edit(
                '    "vision": Route("vision", oversample=2.0, variables=("image",)),\n',
                '    "terse": Route("draft", oversample=1.5),\n'
                '    "formal": Route("generator", oversample=2.5, variables=("tone",)),\n',
            )
        ],
        "docs/configuration.md": [Edit("vision: 2.0", ", terse: 1.5, formal: 2.5")],
        "routenator/generation/generator.py": [
            Edit('            "draft": request["draft"],\n', '            "tone": "stiff",\n')
        ],
        "routenator/generation/prompts.py": [Edit('        "draft": query,\n', '        "tone": "some tone",\n')],
        "docs/domains.md": [Edit("| `image` | vision route only", "| `tone` | formal route only |\n| `image` |", True)],
    },
    {
        f"{TINY}/templates/terse/search.yaml": [
            Edit(
                WHOLE,
                "functions: [search]\ntemplates:\n  bare: {text: '{content_type} {extracted_prompt} asap'}\n",
            )
        ],
        f"{TINY}/templates/terse/book.yaml": [
            Edit(
                WHOLE,
                "functions: [book]\ntemplates:\n  book:\n"
                "    text: book (a {place} )<in {city}|for {people}|close to {near}> asap\n",
            )
        ],
        f"{TINY}/templates/formal/shared.yaml": [
            Edit(
                WHOLE,
                "functions: ['*']\ntemplates:\n  letter: {text: 'Say it in a {{ tone }} tone: {{ draft }}'}\n",
            )
        ],
        f"{TINY}/statistics.yaml": [
            Edit("  search: {heuristic: 0.6, text: 0.3, vision: 0.1", ", terse: 0.4, formal: 0.2")
        ],
    },
)
STAGE = Recipe(
    "Add a stage",
    4,
    {
        "jobs/audit.py": [
            Edit(
                WHOLE,
                '''"""Audit: how many examples each function has, the most frequent first."""

from __future__ import annotations

from jobs.outputs import attempt_folder, commit_folder
from jobs.task import Task
from routenator.files import write_json

VERSION = 1


def run(task: Task) -> None:
    """Write ``audit.json``."""
    if task.is_done():
        return
    import polars as pl

    files = [path for path in task.input_files("merge", "train.parquet")]
    counts = pl.read_parquet(files)["function"].value_counts(sort=True).head(task.config.audit.functions)
    folder = attempt_folder(task)
    write_json(folder / "audit.json", dict(counts.iter_rows()))
    commit_folder(task, folder, ("audit.json",), rows=counts.height, metrics={})
''',
            )
        ],
        "jobs/stages.py": [
            Edit(
                "        disk_bytes=lambda volume: volume.examples * volume.example_bytes,\n    ),\n",
                '    "audit": Stage(needs=("merge",), published={"audit.json": "audit.json"}),\n',
            )
        ],
        "routenator/config.py": [
            Edit('StageName = Literal["sample", "generate", "shortfall", "refill", "merge", ', '"audit", '),
            Edit(
                "class TrainConfig(",
                "class AuditConfig(Section):\n    functions: Positive = 5\n\n\nclass TrainConfig(",
                True,
            ),
            Edit(
                "    merge: MergeConfig = Field(default_factory=MergeConfig)\n",
                "    audit: AuditConfig = AuditConfig()\n",
            ),
        ],
        "docs/configuration.md": [
            Edit("| `merge.formats` |", "| `audit.functions` | `5` | how many functions |\n| `merge.formats` |", True)
        ],
        "configs/cluster/local.yaml": [Edit("    merge: {minutes: 60}\n", "    audit: {minutes: 7}\n")],
        "tests/jobs/test_audit.py": [
            Edit(
                WHOLE,
                """import json

import jobs.audit
from jobs.task import Task
from tests.jobs.world import merged


def test_the_most_frequent_functions_come_first(tmp_path):
    run = merged(tmp_path, audit={"functions": 1}, dataset={"size": 40})
    jobs.audit.run(Task(run, "audit", 0))
    assert list(json.loads((run.stage_dir("audit") / "audit.json").read_text())) == ["search"]
""",
            )
        ],
        **{
            f"tests/slurm/stages/{package}/audit.py": [
                Edit(WHOLE, f'from {module} import VERSION, run\n\n__all__ = ["VERSION", "run"]\n')
            ]
            for package, module in (("toystages", "toystages.common"), ("slowstages", "jobs.audit"))
        },
    },
    unneeded=frozenset({"slurm/planning/fingerprints.py"}),
)
FORMAT = Recipe(
    "Add a training format",
    2,
    {
        "routenator/dataset/export.py": [
            Edit(
                "def llamafactory_info(",
                'def pairs_line(tools: Tools) -> pl.Expr:\n    """Query and call."""\n    import polars as pl\n\n'
                '    parts = pl.lit(\'{"query": \'), json_text("query"), pl.lit(\', "calls": \'), pl.col("calls")\n'
                '    return pl.concat_str(*parts, pl.lit("}"))\n\n\ndef llamafactory_info(',
                True,
            ),
            Edit(
                "FORMATS: dict[str, Format] = {\n",
                '    "pairs": Format("Query and call.", {".pairs.jsonl": pairs_line}),\n',
            ),
        ],
        "routenator/config.py": [Edit("formats: list[Literal[", '"pairs", ')],
        "docs/configuration.md": [Edit("formats beside the plain Parquet: ", "`pairs`, ")],
        "tests/routenator/test_dataset_export.py": [
            Edit(
                "def test_arguments_are_found_without_parsing() -> None:",
                "def test_pairs(tiny: Domain) -> None:\n"
                '    assert [row["query"] for row in lines("pairs", tiny.tools())] == QUERIES\n'
                '    assert lines("pairs", tiny.tools())[0]["calls"][0]["name"] == ARGUMENTS[0][0]\n\n\n'
                "def test_arguments_are_found_without_parsing() -> None:",
                True,
            )
        ],
    },
)
RECIPES = [CHECK, ROUTE, STAGE, FORMAT]


def named_files(title: str) -> set[str]:
    """The files that a recipe of CONTRIBUTING names."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sections = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    found = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.\w+)`", sections[title]))
    return {name.replace("NAME", "audit") for name in found}


@pytest.mark.parametrize("recipe", RECIPES, ids=[recipe.title for recipe in RECIPES])
def test_a_recipe_names_the_files_that_it_touches_and_few_of_them_are_code(recipe: Recipe) -> None:
    named = named_files(recipe.title)
    assert named == {*recipe.edits, *recipe.unneeded}
    code = {name for name in named if name.endswith(".py") and not name.startswith(("tests/", "benchmarks/"))}
    assert 0 < len(code) <= recipe.most


def follow(recipe: Recipe, tree: Path) -> None:
    """Make the edits of a recipe.

    Files keep their times: what is compiled is thrown away when a file beside its source is newer, and compiling again
    would take longer than all the rest.
    """
    for name, edits in {**recipe.edits, **recipe.data}.items():
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        times = (file.stat().st_atime, file.stat().st_mtime) if file.exists() else None
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        for edit in edits:
            assert edit.after in text, f"{name} has no {edit.after!r}"
            text = text.replace(edit.after, edit.text if edit.instead else edit.after + edit.text, 1)
        file.write_text(text, encoding="utf-8")
        if times:
            os.utime(file, times)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree on which every recipe was followed."""
    tree = tmp_path_factory.mktemp("tree")
    ignore = shutil.ignore_patterns("*.pyc", ".*", "results")
    for name in TREE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=ignore)
        else:
            shutil.copy2(ROOT / name, tree / name)
    for recipe in RECIPES:
        follow(recipe, tree)
    config = {
        "name": "recipes",
        "domain": str(tree / TINY),
        "root": str(tree / "runs"),
        "cluster": "local",
        "model": "smollm2-135m",
        "dataset": {"size": 120},
        "generate": {"routes": {"heuristic": 1, "terse": 1}},
        "checks": {"length": False},
        "merge": {"formats": ["openai", "pairs"]},
    }
    (tree / "run.yaml").write_text(yaml.safe_dump(config))
    return tree


def python(tree: Path, *arguments: str) -> str:
    """What a command in the copy prints; it must succeed."""
    path = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def run(tree: Path) -> Path:
    """A run in the copy, up to and with the new stage."""
    return Path(python(tree, "launch.py", "run", "run.yaml", "--until", "audit").strip().splitlines()[-1])


def rows(run: Path, pattern: str) -> list[dict[str, Any]]:
    """Rows of the data set's files of this name."""
    import polars as pl

    files = sorted((run / "dataset").glob(pattern))
    assert files
    return [row for file in files for row in pl.read_parquet(file).to_dicts()]


@pytest.mark.slow
def test_the_new_check_refuses_rows_by_its_reason(tree: Path, run: Path) -> None:
    refused = [row for row in rows(run, "rejected*.parquet") if row["reason"] == "too_polite"]
    assert len(refused) > 5 and all("thanks" in row["query"].lower() for row in refused)
    assert refused[0]["detail"] == "1 thanks"
    kept = [row["query"] for split in ("train", "validation") for row in rows(run, f"{split}.parquet")]
    assert len(kept) > 90 and not any(re.search(r"\bthanks\b", query.lower()) for query in kept)
    assert "too_polite" in python(tree, "launch.py", "report", str(run))
    shown = ["launch.py", "preview", "run.yaml", "--route", "heuristic", "--n", "100", "--json"]
    assert "too_polite" not in python(tree, *shown, "checks.max_thanks=1")


@pytest.mark.slow
def test_the_new_route_writes_rows(run: Path) -> None:
    made = [row for split in ("train", "validation") for row in rows(run, f"{split}.parquet")]
    own = [row for row in made if row["route"] == "terse"]
    assert {row["route"] for row in made} == {"heuristic", "terse"} and len(own) > 20
    assert {row["template"] for row in own} == {"terse/bare", "terse/book"}
    summary = json.loads((run / "dataset" / ".." / "merge.json").resolve().read_text())
    assert set(summary["generators"]) == {"heuristic", "terse"}
    assert sum("asap" in row["query"].lower() for row in own) > 0.7 * len(own), "but for typing errors"


@pytest.mark.slow
def test_the_new_format_is_written_and_can_be_read(run: Path) -> None:
    lines = (run / "dataset" / "train.pairs.jsonl").read_text(encoding="utf-8").splitlines()
    table = rows(run, "train.parquet")
    assert [json.loads(line)["query"] for line in lines] == [row["query"] for row in table]
    assert json.loads(lines[0])["calls"][0]["name"] == table[0]["function"]
    assert "Query and call." in (run / "dataset" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_new_stage_runs_and_shows(tree: Path, run: Path) -> None:
    assert set(json.loads((run / "audit.json").read_text())) == {"search", "book"}
    status = json.loads(python(tree, "launch.py", "status", str(run), "--json"))
    assert [(stage["stage"], stage["state"]) for stage in status["stages"]] == [
        (name, "done") for name in ("sample", "generate", "shortfall", "refill", "merge", "audit", "report")
    ]
    assert "audit" in python(tree, "launch.py", "report", str(run))
    plan = json.loads((run / "plan.json").read_text())
    assert plan["config"]["cluster"]["stages"]["audit"]["minutes"] == 7

    def changed(override: str) -> set[str]:
        made = json.loads(python(tree, "launch.py", "plan", "run.yaml", override, "--json"))["stages"]
        return {one["stage"] for one in made if one["stage"] in plan["stages"] and not one["reused"]}

    assert changed("audit.functions=1") == {"audit", "report"}
    assert changed("dataset.validation_share=0.2") == {"merge", "audit", "report"}


PROMPTS = """
from pathlib import Path
from routenator.compose import load_config
from routenator.domain.loader import load_domain
from routenator.generation.generator import Generator
from routenator.sampling.sampler import Sampler
from routenator.wording.composer import Composer

config = load_config("run.yaml", ["generate.routes={formal: 1}"])
domain = load_domain(config.domain)
sampler = Sampler(domain, config)
composer = Composer(domain, config, sampler.strata)
generator = Generator(composer, Path("cache"))
for request in composer.details(sampler.requests(0, 3)).to_pylist():
    print(generator._prompt(request).messages[-1]["content"])
"""


@pytest.mark.slow
def test_the_prompts_of_a_new_route_see_its_own_variable(tree: Path) -> None:
    """What a model would be asked; loading one just for that would take most of this file's time."""
    said = python(tree, "-c", PROMPTS).splitlines()
    assert len(said) == 3 and all(re.fullmatch("Say it in a stiff tone: .{3,}", line) for line in said)


@pytest.mark.slow
def test_the_tests_of_the_copy_hold(tree: Path) -> None:
    files = [
        "test_docs.py",
        "test_imports.py",
        "routenator/test_reasons.py",
        "routenator/test_validation_checks.py::test_every_check_has_a_passing_and_a_failing_case",
        "routenator/test_validation_checks.py::test_each_check_by_itself",
        "jobs/test_audit.py",
        "routenator/test_dataset_export.py::test_pairs",
        "benchmarks/test_checks.py::test_the_labelled_set_is_whole",
    ]
    files = [f"tests/{name}" for name in files]
    python(
        tree, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", "-k", "not lead_somewhere", *files
    )
    python(tree, "launch.py", "domain", "check", TINY)
