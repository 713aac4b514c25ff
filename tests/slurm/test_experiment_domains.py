"""Domains of an experiment's arms: derived, or made by `domain init`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from routenator.authoring.door.init import init_domain
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.trust import TrustError
from slurm.experiments import planned
from slurm.experiments.config import Arm, Experiment, load_experiment
from slurm.experiments.planned import arm_domain, entries_of
from tests.conftest import TINY
from tests.routenator.door_documents import write_document
from tests.slurm.experiments import world


def test_derived_domains_are_named_by_what_is_in_them(tmp_path: Path) -> None:
    arms = {"flat": {"derive": {"flat": True}}, "same": {"derive": {"flat": True}, "set": {"train.max_steps": 3}}}
    experiment = load_experiment(str(world(tmp_path, arms=arms, reference=None)))
    first, again = (
        arm_domain("try", "flat", experiment.arms["flat"], TINY, TINY / "golden.jsonl", tmp_path) for _ in range(2)
    )
    assert first == again and first[1].is_file()
    (record,) = (tmp_path / "domains").glob(".derived-*")
    assert sorted((tmp_path / "domains").iterdir()) == [record, first[0]]
    with open(first[0] / "statistics.yaml", "a", encoding="utf-8") as file:
        file.write("# edited\n")
    with pytest.raises(InputError, match="changed after it was made"):
        arm_domain("try", "flat", experiment.arms["flat"], TINY, TINY / "golden.jsonl", tmp_path)


def test_a_domain_is_derived_once_for_each_version_of_what_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of `experiment`, also one with --collect, derived the domains of all arms again."""
    base = tmp_path / "base"
    shutil.copytree(TINY, base)
    arm, golden, calls = Arm.model_validate({"derive": {"flat": True}}), base / "golden.jsonl", []
    derive = planned.make_domain
    monkeypatch.setattr(planned, "make_domain", lambda *given: (calls.append(given), derive(*given)))

    def made(times: int, arm: Arm = arm) -> Path:
        calls.clear()
        place, own_golden = arm_domain("try", "flat", arm, base, golden, tmp_path)
        assert len(calls) == times and own_golden.is_file()
        return place

    first = made(1)
    assert made(0) == first
    assert made(1, Arm.model_validate({"derive": {"flat": True, "templates": ["*"]}})) == first, "in other words"
    with monkeypatch.context() as changed:
        changed.setattr(planned, "code_folders", lambda: {"routenator": tmp_path / "base"})
        assert made(1) == first and made(0) == first
    shutil.rmtree(first)
    assert made(1) == first
    # A record that somebody else could have written is not trusted, and is replaced.
    for record in (tmp_path / "domains").glob(".derived-*"):
        record.chmod(0o666)
    assert made(1) == first and made(0) == first
    lines = golden.read_text().splitlines(keepends=True)
    golden.write_text("".join(lines[:-1]))
    shorter = made(1)
    assert shorter != first
    (base / "statistics.yaml").write_text((base / "statistics.yaml").read_text() + "# newer\n")
    assert made(1) == shorter, "statistics are written anew"
    file = shorter / "golden.jsonl"
    file.write_text("")
    with pytest.raises(InputError, match="changed after it was made"):
        made(0)


@pytest.mark.slow
def test_an_arm_may_be_made_by_domain_init_from_the_base_s_functions_and_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pattern and a value list that somebody wrote are not in it. It is made once, and trusted while it is ours."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    base = tmp_path / "base"
    init_domain(str(write_document("MCP", tmp_path)), base)
    patterns = base / "templates" / "heuristic" / "add_book.yaml"
    patterns.write_text(patterns.read_text("utf-8").replace("text: ", "text: kindly ", 1), "utf-8")
    made, golden = arm_domain("try", "door", Arm(init=True), base, base / "golden.jsonl", tmp_path)
    assert (made, golden) == arm_domain("try", "door", Arm(init=True), base, base / "golden.jsonl", tmp_path)
    assert made.name.startswith("try-door-") and golden.read_bytes() == (base / "golden.jsonl").read_bytes()
    assert "kindly" not in (made / "templates" / "heuristic" / "add_book.yaml").read_text("utf-8")
    assert load_domain(made).functions == load_domain(base).functions
    (described,) = (tmp_path / "domains").glob(".init-*")
    assert sorted((tmp_path / "domains").iterdir()) == sorted([described, made])
    # Made again by another version of any module or package that it comes from; only the door's own modules counted.
    with monkeypatch.context() as changed:
        changed.setattr(planned, "version", lambda name: "another")
        assert arm_domain("try", "door", Arm(init=True), base, base / "golden.jsonl", tmp_path) == (made, golden)
    assert len(list((tmp_path / "domains").glob(".init-*"))) == 2
    described.chmod(0o777)
    with pytest.raises(TrustError, match="could have been written by somebody else"):
        arm_domain("try", "door", Arm(init=True), base, base / "golden.jsonl", tmp_path)
    with pytest.raises(ValidationError, match="init and derive cannot be combined"):
        Experiment.model_validate(
            {"name": "x", "question": "?", "base": "b", "arms": {"a": {"init": True, "derive": {"flat": True}}}}
        )


def test_routes_that_would_not_count_are_refused(tmp_path: Path) -> None:
    arms = {"only": {"derive": {"flat": True, "routes": {"heuristic": 1}}}}
    experiment = load_experiment(str(world(tmp_path, arms=arms, reference=None)))
    with pytest.raises(InputError, match=r"generate\.routes: null"):
        entries_of(experiment)
