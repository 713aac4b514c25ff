"""The files beside the code agree with it: versions, the commands of CI, what the images hold and the hooks run."""

from __future__ import annotations

import re

import yaml

import routenator
from tests.conftest import ROOT
from tests.environment import project
from tests.test_package import SOURCE


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_file_has_the_same_version() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == project()["version"] == routenator.__version__
    assert citation["license"] == project()["license"]
    assert f"## {routenator.__version__}" in text("CHANGELOG.md")


def test_the_workflow_calls_the_two_commands_and_no_others() -> None:
    jobs = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"]
    called = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert [line for line in called if not line.startswith("apt-get")] == ["make quickstart", ".ci/run"]
    assert "make test" in text(".ci/run").splitlines()


def test_the_images_hold_the_whole_package_and_the_lock() -> None:
    docker, apptainer = text("containers/Dockerfile"), text("containers/routenator.def")
    assert "ARG LOCK=gpu\n" in docker
    docker = docker.replace("${LOCK}", "gpu")
    copied = {
        word.rstrip("/")
        for line in re.findall(r"^COPY (.*) /source\S*$", docker, re.MULTILINE)
        for word in line.split()
    }
    assert copied == set(re.findall(r"^    (\S+) /source/\1$", apptainer, re.MULTILINE))
    assert copied == {*SOURCE, "requirements/gpu.txt"} and all((ROOT / name).exists() for name in copied)
    assert (ROOT / "requirements" / "base.txt").exists()  # the other lock that the Dockerfile mentions
    run = {step for line in re.findall(r"^RUN (.*)$", docker, re.MULTILINE) for step in line.split(" && ")}
    post = apptainer.partition("%post\n")[2].partition("\n%")[0].splitlines()
    assert run == {line.strip() for line in post if line.strip() and not line.strip().startswith("#")}


def test_the_hooks_are_those_of_make_lint() -> None:
    (repository,) = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    lint = text("Makefile").partition("\nlint:")[2].partition("\n\n")[0].replace("$(BIN)", ".venv/bin")
    commands = [line.strip().replace(" --check", "").removesuffix(" .") for line in lint.splitlines()[1:]]
    assert [hook["entry"] for hook in repository["hooks"]] == commands
