"""domain draft: what a model proposes is parsed, checked, deduplicated and kept in files of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

import launch
from routenator.authoring.door.init import init_domain
from routenator.authoring.door.patterns import escaped
from routenator.config import EngineConfig
from routenator.domain.loader import load_domain
from routenator.drafting import run
from routenator.drafting.asks import Ask, asks, open_lists, required_slots
from routenator.drafting.files import keep
from routenator.drafting.proposals import Proposal, ProposalFilter
from routenator.errors import InputError
from routenator.generation.engine import Prompt, Reply
from tests.conftest import ROOT, TINY
from tests.routenator.door_documents import write_document
from tests.routenator.slot_domains import give

PATTERNS = Ask("patterns", "send_reminder", "", "send_reminder", origin="from its description")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("draft")
    return init_domain(str(write_document("OpenAPI", folder)), folder / "shelf").path


@pytest.fixture
def shelf(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "shelf"))


@pytest.fixture(scope="module")
def screen(made: Path) -> ProposalFilter:
    return ProposalFilter(load_domain(made))


def screened(screen: ProposalFilter, ask: Ask, *texts: object) -> list[Proposal]:
    return list(screen.read(ask, json.dumps({"proposals": texts})))


def pattern(screen: ProposalFilter, words: str) -> str:
    return f"{words} " + " ".join(f"{{{name}}}" for name in required_slots(screen.domain, "send_reminder"))


def test_a_pattern_that_passes_says_every_slot(screen: ProposalFilter) -> None:
    [found] = screened(screen, PATTERNS, pattern(screen, "kindly send off a reminder (today)"))
    assert not found.reason
    assert found.kept.startswith("kindly send off a reminder \\(today\\) {")
    assert screened(screen, PATTERNS, found.text.upper().replace("{EMAIL}", "{email}"))[0].reason == "known already"


def test_what_a_run_would_refuse_is_not_kept(screen: ProposalFilter) -> None:
    """No placeholder, an unknown one, one twice, no words, no text: none of them can be drawn from."""
    texts = [
        "send a reminder", pattern(screen, "remind {nobody}"), pattern(screen, pattern(screen, "remind")),
        pattern(screen, ""), 7, "x" * 500,
    ]  # fmt: skip
    found = screened(screen, PATTERNS, *texts)
    assert [bool(each.kept) for each in found] == [False] * len(texts)
    assert all(each.reason for each in found)
    [bad] = screen.read(PATTERNS, '{"proposals": ["cut')
    assert bad.reason.startswith("not JSON")


def test_a_pattern_of_which_the_function_cannot_be_told_is_refused(screen: ProposalFilter) -> None:
    """A paraphrase that loses the function's verb reads as a request for another function."""
    [found] = screened(screen, PATTERNS, pattern(screen, "delete the book from the shelf, remove this book"))
    assert "cannot be told from" in found.reason


def test_values_and_topics_are_checked_against_the_api(screen: ProposalFilter) -> None:
    lists = open_lists(screen.domain, list(screen.domain.rules))
    name, (function, slot) = next(iter(lists.items()))
    ask = Ask("values", name, "", function, slot.name)
    found = screened(screen, ask, "Zebra Yard Annals", "Zebra Yard Annals", "{title}")
    assert [each.reason for each in found][:2] == ["", "known already"] and found[2].reason
    topics = screened(screen, Ask("topics", "", ""), "book me a flight to the moon on a friday night", "hello")
    assert not topics[1].kept


def test_what_is_kept_is_read_with_the_domain_and_says_where_it_is_from(screen: ProposalFilter, shelf: Path) -> None:
    before = load_domain(shelf)
    topics = set(before.no_call.patterns)  # read when first asked for
    name = next(iter(open_lists(before, list(before.rules))))
    value = Proposal("values", name, "Zebra Yard", "Zebra Yard", "", "for a test")
    topic = Proposal("topics", "", "water [my] plants", "water \\[my\\] plants", "", "for a test")
    text = pattern(screen, "fire off a note by mail")
    sent = Proposal("patterns", "send_reminder", text, text, "", "for a test")
    files = [file for each in (value, topic, sent) for file in keep(shelf, [each], "tiny")]
    keep(shelf, [sent._replace(kept=pattern(screen, "post a note by mail"))], "tiny")
    after = load_domain(shelf)
    assert len(after.nodes) == len(before.nodes) + 1
    assert {"no_call/drafted_1"} == set(after.no_call.patterns) - topics
    new = set(after.templates) - set(before.templates)
    assert new == {"heuristic/send_reminder_drafted_1", "heuristic/send_reminder_drafted_2"}
    for file in files:
        assert "Proposed by a language model" in file.read_text() and "for a test; tiny" in file.read_text()
        file.unlink()
    assert load_domain(shelf).templates.keys() == before.templates.keys()


def test_topics_of_an_earlier_draft_are_known(shelf: Path) -> None:
    """Another draft added them again, under another name, and so with twice the weight."""
    topics = [Proposal("topics", "", text, escaped(text), "", "") for text in ("water my plants", "polish (my) car")]
    for kept in (topics, topics[:1]):
        keep(shelf, kept, "tiny")
    found = screened(ProposalFilter(load_domain(shelf)), Ask("topics", "", ""), "Water my plants!", "polish my car")
    assert [each.reason for each in found] == ["known already"] * 2


def test_values_of_no_list_are_refused(shelf: Path) -> None:
    (shelf / "values" / "nothing.drafted.tsv").write_text("a\n")
    with pytest.raises(InputError, match="no such value list"):
        load_domain(shelf)


class Interrupted:
    """A stand-in for an engine that the user stops while it writes the second batch."""

    name = "stand-in"

    def __init__(self) -> None:
        self.calls = 0

    def generate(self, prompts: Sequence[Prompt]) -> list[Reply]:
        self.calls += 1
        if self.calls > 1:
            raise KeyboardInterrupt
        return [Reply(json.dumps({"proposals": [f"Quiet Harbour {number}"]}), 1, 1) for number, _ in enumerate(prompts)]

    def close(self) -> None: ...


def test_an_interrupt_loses_nothing_that_is_finished(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "open_engine", lambda *_: Interrupted())
    monkeypatch.setattr(run, "_BATCH", 1)
    with pytest.raises(KeyboardInterrupt):
        run.draft(shelf, EngineConfig(model="none"), shelf, kinds=["values"])
    kept = list((shelf / "values").glob("*.drafted.tsv"))
    assert len(kept) == 1 and "Quiet Harbour 0" in kept[0].read_text()
    load_domain(shelf)


def test_prompts_do_not_depend_on_the_clock(made: Path) -> None:
    domain = load_domain(made)
    both = [list(asks(domain, ["patterns", "topics"], list(domain.rules), 3)) for _ in range(2)]
    assert both[0] == both[1] and len({ask.seed for ask in both[0]}) == len(both[0])


def test_a_parameter_may_be_called_count(tmp_path: Path) -> None:
    """Its placeholder was replaced by the number of proposals, so that each of these lacked it and was refused."""
    folder = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    rules = {"slot": "[tea|coffee]", "count": "[three|four]"}
    text = {"type": "string"}
    give(folder, text, rules, "{count} of {slot}", properties={"count": text}, required=["slot", "count"])
    for ask in asks(load_domain(folder), ["patterns", "paraphrases"], ["ask"], 0):
        said = ask.prompt(8, 1.0, 1.0).messages[0]["content"]
        assert "{count} of {slot}" in said and "8 other ways" in said


@pytest.mark.slow
def test_a_small_real_model_proposes(shelf: Path, tmp_path: Path) -> None:
    """Few proposals of so small a model pass; each has a reason or is in a file, and the domain can be read."""
    profile = tmp_path / "small.yaml"
    profile.write_text(
        "model: {generator: {model: package:smollm2-135m-instruct, engine: transformers, max_model_len: 2048, "
        "max_num_seqs: 4}}\n"
    )
    result = CliRunner().invoke(
        launch.app,
        ["domain", "draft", str(shelf), "--model", str(profile), "--functions", "send_reminder", "--kinds",
         "patterns,topics", "--count", "1",
         "--cache", str(ROOT / ".cache"), "--json"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["prompts"] == 2 and answer["proposals"]
    assert all(bool(each["kept"]) != bool(each["reason"]) for each in answer["proposals"])
    load_domain(shelf)
