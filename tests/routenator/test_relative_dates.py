"""Values relative to the day that a row's prompt states: drawn, written, and stated wherever a prompt is made."""

from __future__ import annotations

import json
import re
import shutil
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routenator.authoring.goldenset import import_golden
from routenator.authoring.records import Source
from routenator.compose import probe_config
from routenator.dataset.decisions import Decision
from routenator.dataset.sources import open_sources, stream
from routenator.domain.dates import asked
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.evaluation.holdout import held_out
from routenator.sampling.sampler import Sampler
from routenator.schemas import CANDIDATE_COLUMNS, arrow_schema
from routenator.wording.composer import Composer
from tests.conftest import ROOT, TINY
from tests.routenator.test_dataset_merge import names, row, stratum, verdicts

ORDERS = ROOT / "tests" / "domains" / "orders"
TIMES = {
    "noon": "12:00", "twelve": "12:00", "half past six in the evening": "18:30", "6.30 pm": "18:30", "8 pm": "20:00",
    "nine": "09:00", "9 am": "09:00", "half past eleven": "11:30", "two": "14:00", "2 pm": "14:00",
}  # fmt: skip
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
SLOTS = ("deliver_at", "day", "start")


@cache
def orders() -> Domain:
    return load_domain(ORDERS)


def details(domain: Domain, calls: dict[int, float] | None = None, rows: int = 1500) -> pa.Table:
    config = probe_config(domain.path, rows)
    if calls is not None:
        config = config.model_copy(update={"dataset": config.dataset.model_copy(update={"calls": calls})})
    sampler = Sampler(domain, config)
    return Composer(domain, config, sampler.strata).details(sampler.requests(0, sampler.size))


def meant(said: str, today: date) -> date:
    """The day that a person means by these words, today."""
    after = [today + timedelta(days) for days in range(1, 32)]
    if said in ("", "today", "tonight", "this evening"):
        return today
    if said in ("tomorrow", "tomorrow night"):
        return after[0]
    if said in ("in two days", "the day after tomorrow"):
        return after[1]
    if said == "a week from today":
        return after[6]
    if found := re.fullmatch(r"(?:on|this|next) (\w+day)", said):
        return next(day for day in after if day.weekday() == DAYS.index(found[1]))
    number = int(re.findall(r"[0-9]+", said)[0])
    named = {day.strftime("%B").lower(): day for day in reversed(after) if day.day == number}
    return next((day for month, day in named.items() if month in said), next(iter(named.values())))


def check(surface: str, value: str, today: str) -> None:
    words = surface.lower()
    time = next((text for text in sorted(TIMES, key=len, reverse=True) if f"at {text}" in words), None)
    if time is not None:
        words = " ".join(words.replace(f"at {time}", "").split())
    day = meant(words, date.fromisoformat(today)).isoformat()
    assert value == (day if time is None else f"{day}T{TIMES[time]}:00"), (surface, today)


def test_what_is_said_means_what_is_sent_on_the_day_that_the_prompt_states() -> None:
    """ "Tomorrow at nine" had no value to be sent: rules knew fixed pairs of phrase and value only."""
    seen = 0
    rows = details(orders()).to_pylist()
    for each in rows:
        ((arguments, slots),) = zip(
            (call["arguments"] for call in json.loads(each["calls"])), json.loads(each["slots"]), strict=True
        )
        for slot in SLOTS:
            if slot in slots:
                check(slots[slot], arguments[slot], each["today"])
                assert slots[slot].lower() in each["draft"].lower()
                seen += 1
    assert seen > 200
    days = {each["today"] for each in rows}
    assert len(days) > 500 and "2025-01-01" <= min(days) < "2025-02-01" and "2027-12-01" < max(days) <= "2027-12-31"


def test_all_calls_of_a_row_are_meant_from_the_same_day() -> None:
    rows = details(orders(), {2: 1.0}, 300).to_pylist()
    seen = 0
    for each in rows:
        for call, slots in zip(json.loads(each["calls"]), json.loads(each["slots"]), strict=True):
            for slot in set(SLOTS) & set(slots):
                check(slots[slot], call["arguments"][slot], each["today"])
                seen += 1
    assert seen > 30


def test_a_rows_day_depends_on_the_row_alone() -> None:
    config = probe_config(orders().path, 300)
    sampler = Sampler(orders(), config)
    requests = sampler.requests(0, 300)
    composer = Composer(orders(), config, sampler.strata)
    whole = composer.details(requests)
    parts = [composer.details(requests.slice(low, 70)) for low in range(0, 300, 70)]
    assert pa.concat_tables(parts).equals(whole)
    backwards = composer.details(requests.take(list(range(299, -1, -1))))
    assert backwards.take(list(range(299, -1, -1))).combine_chunks().equals(whole.combine_chunks())


def test_a_domain_that_states_no_day_has_none() -> None:
    table = details(load_domain(TINY), rows=60)
    assert table["today"].null_count == table.num_rows


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("today: {from: 2025-01-01, to: 2027-12-31}\n", "", "relative to today, which the domain does not define"),
        ("to: 2027-12-31", "to: 2024-12-31", "1 to 3660 are possible"),
        ("to: 2027-12-31", "to: 2099-12-31", "1 to 3660 are possible"),
        ("0: [tonight", "soon: [tonight", "numbers of days after today"),
        ('"12:00": [', "noon: [", "times of day"),
        (
            "        relative: time\n        said: {1: tomorrow",
            "        said: {1: tomorrow",
            "at has no meaning beside said",
        ),
        ('on {weekday}"\n          3', 'on {weekdy}"\n          3', "unknown variable"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    shutil.copytree(ORDERS, tmp_path / "orders")
    file = tmp_path / "orders" / "domain.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        load_domain(tmp_path / "orders")


def test_other_names_of_days_and_another_form_of_what_is_sent(tmp_path: Path) -> None:
    shutil.copytree(ORDERS, tmp_path / "orders")
    file = tmp_path / "orders" / "domain.yaml"
    weekdays = "[Montag, Dienstag, Mittwoch, Donnerstag, Freitag, Samstag, Sonntag]"
    text = file.read_text().replace("to: 2027-12-31", f"to: 2027-12-31, weekdays: {weekdays}")
    text = text.replace(
        "        said: {1: tomorrow, 2", '        sent: "{date}T{time}:00Z"\n        said: {1: tomorrow, 2'
    )
    file.write_text(text)
    rows = details(load_domain(tmp_path / "orders"), rows=600).to_pylist()
    starts = [json.loads(each["calls"])[0]["arguments"].get("start") for each in rows]
    assert {start[-4:] for start in starts if start} == {":00Z"}
    drafts = " ".join(each["draft"] for each in rows).lower()
    assert "on freitag" in drafts and "on friday" not in drafts


def test_a_golden_query_states_its_day(tmp_path: Path) -> None:
    examples = load_golden(ORDERS / "golden.jsonl", orders().functions)
    friday = next(example for example in examples if "on Friday" in example.query)
    assert friday.asked == f"Today is Tuesday, 2026-03-03. {friday.query}"
    assert friday.as_json()["today"] == "2026-03-03"
    import_golden([Source(ORDERS / "golden.jsonl")], tmp_path / "out.jsonl")
    assert load_golden(tmp_path / "out.jsonl", orders().functions) == examples
    for bad in ("2026-3-3", "today", "2026-02-29", 20260303):
        line = {**friday.as_json(), "today": bad}
        (tmp_path / "bad.jsonl").write_text(json.dumps(line))
        with pytest.raises(InputError, match="not a day"):
            load_golden(tmp_path / "bad.jsonl", orders().functions)
        with pytest.raises(InputError):
            import_golden([Source(tmp_path / "bad.jsonl")], tmp_path / "out2.jsonl")


def test_the_same_words_on_another_day_are_another_query() -> None:
    """Otherwise "tomorrow" with its value of another day would be a conflict, and its row dropped."""
    rows = [
        row(0, "a b", today="2026-03-03", arguments='{"p": "2026-03-04"}'),
        row(1, "a b", today="2026-03-05", arguments='{"p": "2026-03-06"}'),
        row(2, "A b", today="2026-03-05", arguments='{"p": "2026-03-06"}'),
        row(3, "a b", today="2026-03-03", arguments='{"p": "2026-03-05"}'),
        row(4, "a b", arguments='{"p": "2026-03-05"}'),
        row(5, "b a", today="2026-03-07"),
        row(6, "leak", today="2026-03-07"),
    ]
    found = verdicts(rows, [stratum(0, 7)], ["leak"], near_duplicates="bag")
    final = Decision.FINAL.name
    assert names(found) == [final, final, "DUPLICATE", "CONFLICT", final, final, "GOLDEN_LEAK"]


def test_candidates_of_earlier_versions_are_still_read(tmp_path: Path) -> None:
    """They lack the column `today`."""
    rows = [{**dict.fromkeys(CANDIDATE_COLUMNS), "index": index, "query": f"q{index}"} for index in range(4)]
    table = pa.Table.from_pylist(rows, schema=arrow_schema(CANDIDATE_COLUMNS))
    pq.write_table(table.drop_columns(["today"]).slice(0, 2), tmp_path / "0.parquet")
    pq.write_table(table.slice(2), tmp_path / "1.parquet")
    sources = open_sources([(name, tmp_path / f"{name}.parquet") for name in ("0", "1")])
    ((_, frame),) = stream(sources, ("query", "today"))
    assert frame.to_dict(as_series=False) == {"query": ["q0", "q1", "q2", "q3"], "today": [None] * 4}


def test_a_hold_out_states_its_days(tmp_path: Path) -> None:
    calls = '[{"name": "book_table", "arguments": {}}]'
    rows = [{"query": "on friday", "calls": calls, "hidden": None, "today": "2026-03-03"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "new.parquet")
    pq.write_table(pa.Table.from_pylist(rows).drop_columns(["today"]), tmp_path / "old.parquet")
    new, old = (held_out([tmp_path / f"{name}.parquet"], orders().functions)[0] for name in ("new", "old"))
    assert new.asked == asked("on friday", "2026-03-03") and old.asked == "on friday"
