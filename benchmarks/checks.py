"""Precision and recall of each check, and of all together, on labelled candidates.

    python benchmarks/checks.py
    python benchmarks/checks.py --judge    # also asks SmolLM2 whether query and call agree

benchmarks/data/candidates.jsonl has 300 candidates of the domains `creative` and `assistant`: 150 good ones, many of
them hard (odd names, typos, lower case, titles in other languages), and 150 bad ones, each labelled with the expected
reason. They were written for this benchmark before the checks were run on them; later the checks were fixed with these
candidates in view. ``--data benchmarks/data/candidates-unseen.jsonl`` uses 60 others, written after that and not used
for any fix.

Each check judges every candidate alone; so does the guess of the function (``mistaken``), which has no label of its
own. Reasons that depend on other rows (duplicates, leaks, ambiguity) come from the merge, which sees the domain's
golden set and ``--rows`` heuristic drafts before the candidates, as in a data set.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.population import drafts
from routenator.config import ChecksConfig
from routenator.dataset.ambiguity import Ambiguity
from routenator.dataset.decisions import MEANINGS, Decision
from routenator.dataset.merge import decide, open_sources
from routenator.domain.calls import Call, calls_text, read_calls
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.files import write_json
from routenator.schemas import CANDIDATE_COLUMNS, arrow_schema
from routenator.validation.checks import CHECKS, Candidate, Context, first_failure
from routenator.wording.labeller import Labeller

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "benchmarks" / "data" / "candidates.jsonl"
CACHE = ROOT / ".cache"
EMBEDDER = "package:all-minilm-l6-v2"
MERGE = tuple(decision.reason for decision in MEANINGS if decision is not Decision.SURPLUS)

Row = dict[str, Any]


def read_labelled(file: Path = DATA) -> list[Row]:
    """The labelled candidates; ``reason`` is null for a good one."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def to_check(row: Row, domain: Domain) -> Candidate:
    return Candidate(
        **{name: row[name] for name in ("query", "category", "template", "draft")},
        calls=[Call(row["function"], row["arguments"])],
        slots=[row["slots"]],
        bounds=domain.statistics.length_buckets[row["length"]],
        language="en",
    )


def context_of(domain: Domain) -> Context:
    texts = {t.name: f"{t.system or ''}\n{t.body}" for t in domain.templates.values() if t.route != "heuristic"}
    return Context(domain, ChecksConfig(), texts)


def checked(rows: Sequence[Row], domain: Domain) -> list[tuple[set[str], bool]]:
    """For each row: all checks that reject it when run alone, and whether the checks together accept it."""
    context = context_of(domain)
    candidates = [to_check(row, domain) for row in rows]
    return [
        ({code for code, (check, _) in CHECKS.items() if check(one, context)}, first_failure(one, context) is None)
        for one in candidates
    ]


def merged(
    rows: Sequence[Row], accepted: Sequence[bool], domain: Domain, before: Sequence[Row], rule: Ambiguity | None
) -> list[str | None]:
    """The merge's reason for dropping each row; None if kept or rejected by a check. ``before`` is merged first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    context = context_of(domain)
    names = list(domain.functions)
    blank: Row = {**dict.fromkeys(CANDIDATE_COLUMNS), "accepted": True}
    table = []
    for row in before:
        call = {"slots": json.loads(row["slots"])[0], "arguments": read_calls(row["calls"])[0].arguments}
        good = first_failure(to_check({**row, **call, "query": row["draft"]}, domain), context) is None
        table.append(
            {
                **blank,
                "query": row["draft"],
                "function": row["function"],
                "calls": row["calls"],
                "accepted": good,
            }
        )
    for row, good in zip(rows, accepted, strict=True):
        calls = calls_text([Call(row["function"], row["arguments"])])
        table.append({**blank, "query": row["query"], "function": row["function"], "calls": calls, "accepted": good})
    for index, row in enumerate(table):
        row.update(index=index, stratum=names.index(row["function"]))
    strata = [
        {
            "stratum": number,
            "function": name,
            "category": "",
            "route": "text",
            "template": "",
            "length": "",
            "language": "en",
        }
        | {"target": 1 / len(names), "quota": len(table), "requested": len(table)}
        for number, name in enumerate(names)
    ]
    golden = [example.query for example in load_golden(domain.path / "golden.jsonl", domain.functions)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "candidates.parquet"
        pq.write_table(pa.Table.from_pylist(table, schema=arrow_schema(CANDIDATE_COLUMNS)), path)
        sources = open_sources([("candidates", path)])
        found = decide(sources, strata, golden, Path(folder) / "work", near_duplicates="minhash", ambiguity=rule)
        codes = [Decision(int(code)) for code in found.codes[len(before) :]]
    return [code.reason if code.reason in MERGE else None for code in codes]


def mistaken(rows: Sequence[Row], domain: Domain) -> list[bool]:
    """Whether another function would be guessed from the query."""
    guesses = Labeller(domain).guess([row["query"] for row in rows])
    return [guess not in (None, row["function"]) for row, guess in zip(rows, guesses, strict=True)]


def asked(rows: Sequence[Row], domain: Domain) -> list[bool]:
    """Whether the model of the profile smollm2-135m judges that query and call disagree."""
    import yaml

    from routenator.config import EngineConfig
    from routenator.generation.agreement import agreement_prompt, disagrees
    from routenator.generation.loading import use_engine

    profile = yaml.safe_load((ROOT / "configs" / "model" / "smollm2-135m.yaml").read_text())
    engine = use_engine(EngineConfig.model_validate(profile["model"]["generator"]), CACHE)
    prompts = [
        agreement_prompt(
            domain, {**row, "calls": calls_text([Call(row["function"], row["arguments"])]), "seed": 0}, row["query"]
        )
        for row in rows
    ]
    return [disagrees(reply.text) for reply in engine.generate(prompts)]


def measure(name: str, rows: Sequence[Row], refused: Sequence[bool]) -> Row:
    """Precision and recall of one check, or of all.

    Args:
        name: a reason code, whose recall is over the rows with this label; for any other name, over all bad rows.
        refused: rows that it rejects.
    """
    labelled = [row["reason"] == name for row in rows]
    if name not in CHECKS and name not in MERGE:
        labelled = [row["reason"] is not None for row in rows]
    caught = sum(refused)
    false = [row["query"] for row, no in zip(rows, refused, strict=True) if no and row["reason"] is None]
    missed = [row["query"] for row, no, mine in zip(rows, refused, labelled, strict=True) if mine and not no]
    right = sum(labelled) - len(missed)
    return {
        "check": name,
        "labelled": sum(labelled),
        "refused": caught,
        "of these good": len(false),
        "precision": 1 - len(false) / caught if caught else None,
        "recall": right / sum(labelled) if any(labelled) else None,
        "false": false,
        "missed": missed,
    }


def show(title: str, rows: Sequence[Row]) -> None:
    print(f"\n{title}")
    print(f"  {'check':<18}{'labelled':>9}{'refused':>9}{'of these good':>15}{'precision':>11}{'recall':>8}")
    for row in rows:
        shares = [f"{row[key]:.3f}" if row[key] is not None else "-" for key in ("precision", "recall")]
        print(
            f"  {row['check']:<18}{row['labelled']:>9}{row['refused']:>9}{row['of these good']:>15}"
            f"{shares[0]:>11}{shares[1]:>8}"
        )


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="the labelled candidates")
    parser.add_argument("--rows", type=int, default=2000, help="drafts of each domain before the candidates")
    parser.add_argument("--share", type=float, default=1.0, help="merge.ambiguity; 0: without it")
    parser.add_argument("--neighbours", type=int, default=10, help="merge.ambiguity_neighbours")
    parser.add_argument("--judge", action="store_true", help="also ask the small model")
    parser.add_argument("--verbose", action="store_true", help="list the misjudged candidates")
    parser.add_argument("--json", type=Path, help="write the result here too")
    options = parser.parse_args(arguments)
    rule = Ambiguity(embedder(), options.share, options.neighbours) if options.share else None
    rows, alone, reasons, accepted, misread, disagree = [], [], [], [], [], []
    for name in ("creative", "assistant"):
        domain = load_domain(ROOT / "configs" / "domains" / name)
        own = [row for row in read_labelled(options.data) if row["domain"] == name]
        verdicts = checked(own, domain)
        before = drafts(domain, options.rows)
        rows += own
        alone += [fired for fired, _ in verdicts]
        accepted += [good for _, good in verdicts]
        reasons += merged(own, accepted[-len(own) :], domain, before, rule)
        misread += mistaken(own, domain)
        if options.judge:
            disagree += asked(own, domain)
    codes = [*CHECKS, *(reason for reason in MERGE if rule or reason != Decision.AMBIGUOUS.reason)]
    results = [
        measure(code, rows, [code in fired or reason == code for fired, reason in zip(alone, reasons, strict=True)])
        for code in codes
    ]
    together = [
        not good or reason is not None or other for good, reason, other in zip(accepted, reasons, misread, strict=True)
    ]
    totals = [measure("mistaken", rows, misread), measure("all together", rows, together)]
    if options.judge:
        totals.append(measure("the model's judge", rows, disagree))
        left = [number for number, no in enumerate(together) if not no]
        totals.append(measure("judge, of the rest", [rows[n] for n in left], [disagree[n] for n in left]))
    good = sum(row["reason"] is None for row in rows)
    print(f"{len(rows)} labelled candidates: {good} good, {len(rows) - good} bad")
    show("Each check by itself (recall: of the candidates with its label)", results)
    show("Together (recall: of all bad candidates)", totals)
    if options.verbose:
        for row in [*results, *totals]:
            for kind in ("false", "missed"):
                for query in row[kind]:
                    print(f"  {row['check']}: {kind}: {query}")
    result = {"candidates": len(rows), "good": good, "checks": results, "together": totals}
    if options.json:
        write_json(options.json, result)
    return result


def embedder() -> Callable[[list[str]], Any]:
    from routenator.evaluation.embed import sentence_embedder
    from routenator.models import resolve_model

    return sentence_embedder(resolve_model(EMBEDDER, CACHE))


if __name__ == "__main__":
    main()
