"""Merge: from candidates to the data set. One task; Polars does the work in blocks, so memory is bounded whatever the number of rows."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.task import Task, verify_file
from routenator.errors import CorruptShardError, StageError
from routenator.files import read_json, write_atomic, write_json

if TYPE_CHECKING:
    from routenator.dataset.merge import Decisions
    from routenator.dataset.writer import SplitWriter, Survey
    from routenator.domain.load import Domain

VERSION = 1
_EXAMPLES = 30  # shown in the report
_REASONS_SHOWN = 5


def run(task: Task) -> None:
    """Write ``dataset/`` and ``merge.json``; roles: the files' names within ``dataset/``, and ``summary``.

    Raises:
        CorruptShardError: a shard of candidates does not hold what its receipt says.
        StageError: no candidate was accepted, or the shards do not fit together.
    """
    if task.is_done():
        return
    try:
        _merge(task)
    except OSError:
        # Another attempt may have won and removed the work folder under our feet; then there is nothing left to do.
        if not task.is_done():
            raise


def _merge(task: Task) -> None:
    from routenator.dataset.merge import decide, open_sources
    from routenator.dataset.writer import survey, write_splits
    from routenator.domain.golden import load_golden
    from routenator.domain.load import load_domain

    config = task.config
    domain = load_domain(task.run.domain_dir)
    golden = load_golden(task.run.golden_file, domain.functions)
    strata = _strata(task)
    work = task.work_dir / task.token
    build = work / "dataset"
    build.mkdir(parents=True)

    files = [(f"generate shard {number}", path) for number, path in enumerate(task.input_files("generate"))]
    sources = open_sources(files)
    total = sum(source.rows for source in sources)
    decisions = decide(
        sources,
        strata,
        [example.query for example in golden],
        work,
        near_duplicates=config.merge.near_duplicates,
        backfill=config.merge.backfill,
        progress=lambda done, of: task.progress(done, 2 * of),
    )
    categories = {name: function.category for name, function in domain.functions.items()}
    found = survey(
        sources,
        decisions,
        categories,
        config.seed,
        work,
        build / "rejected.parquet",
        progress=lambda done, of: task.progress(of + done - 1, 2 * of),
    )
    if not found.rows:
        raise StageError(_why_empty(found, decisions, total))
    splits = write_splits(
        found,
        build,
        share=config.dataset.validation_share,
        rows_per_file=config.dataset.rows_per_file,
        formats=config.merge.formats,
        tools=domain.tools(),
    )
    summary = _summary(task, domain, strata, decisions, found, splits)
    summary["golden_words"] = _golden_words(golden)
    write_json(work / "merge.json", summary)
    _side_files(task, domain, build, splits, summary)
    _commit(task, work, build, summary)


def _strata(task: Task) -> list[dict[str, Any]]:
    receipt, directory = next(iter(task.input_receipts("sample")))
    if "strata" not in receipt.files:
        raise StageError(f"sample shard 0 ({directory}) has no strata.json")
    path = receipt.path(directory, "strata")
    verify_file(path, receipt, "strata")
    try:
        rows: list[dict[str, Any]] = read_json(path)
    except ValueError as error:
        raise CorruptShardError(f"sample shard 0 ({path}) is not JSON: {error}") from error
    if any(row["stratum"] != number for number, row in enumerate(rows)):
        raise CorruptShardError(f"sample shard 0 ({path}): the strata are not numbered 0, 1, 2 ...")
    return rows


def _why_empty(found: Survey, decisions: Decisions, total: int) -> str:
    from routenator.dataset.merge import DROPPED

    reasons = Counter(found.rejected)
    reasons.update({verdict.reason: decisions.count(verdict) for verdict in DROPPED if decisions.count(verdict)})
    if not total:
        return "nothing to merge: the generate stage made no candidates"
    top = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(_REASONS_SHOWN))
    return f"none of {total} candidates was accepted, so there is no data set; reasons: {top}"


def _summary(
    task: Task,
    domain: Domain,
    strata: list[dict[str, Any]],
    decisions: Decisions,
    found: Survey,
    splits: dict[str, SplitWriter],
) -> dict[str, Any]:
    """merge.json, without anything that differs between two attempts."""
    from routenator.dataset.distribution import distribution, marginals, positions, word_quartiles
    from routenator.dataset.merge import DROPPED, KEPT, Verdict
    from routenator.sampling.strata import target_shares

    counts = {
        "requested": decisions.per_stratum(Verdict),
        "accepted": decisions.per_stratum((*KEPT, *DROPPED)),
        "final": decisions.per_stratum(KEPT),
    }
    statistics = domain.statistics
    thirds = {name: {str(third): weight for third, weight in table.items()} for name, table in statistics.keyword_position.items()}
    return {
        "counts": {
            "wanted": sum(row["quota"] for row in strata),
            "requested": sum(counts["requested"]),
            "generated": found.generated,
            "accepted": sum(counts["accepted"]),
            "rejected": dict(sorted(found.rejected.items(), key=lambda item: (-item[1], item[0]))),
            "dropped": {verdict.reason: decisions.count(verdict) for verdict in DROPPED},
            "final": found.rows,
            "backfilled": decisions.count(Verdict.BACKFILLED),
            "missing": sum(row["missing"] for row in decisions.deficits),
            **{split: writer.written for split, writer in splits.items()},
        },
        "distribution": distribution(strata, counts, marginals(target_shares(domain, task.config))),
        "deficits": decisions.deficits,
        "words": word_quartiles(found.words),
        "positions": positions(found.positions, thirds),
        "generators": dict(sorted(found.generators.items())),
        "formats": list(task.config.merge.formats),
        "files": {split: writer.files for split, writer in splits.items()},
        "examples": found.examples(_EXAMPLES),
    }


def _golden_words(golden: list[Any]) -> dict[str, Any]:
    """Word counts of the golden queries: a figure of them, not one of them."""
    from routenator.dataset.distribution import word_quartiles

    words: dict[str, Counter[int]] = {}
    for example in golden:
        words.setdefault(example.name, Counter())[len(example.query.split())] += 1
    return word_quartiles(words)


def _side_files(task: Task, domain: Domain, build: Path, splits: dict[str, SplitWriter], summary: dict[str, Any]) -> None:
    """The card, and what a format needs beside its rows."""
    from routenator.dataset.card import dataset_card
    from routenator.dataset.export import FORMATS

    config = task.config
    names = [name for writer in splits.values() for name in writer.files]
    for name in config.merge.formats:
        suffixes = tuple(FORMATS[name].rows)
        for file, text in FORMATS[name].side_files([data for data in names if data.endswith(suffixes)]).items():
            write_atomic(build / file, text)
    parts = ("dataset", "sample", "generate", "checks", "merge")
    stages = task.run.plan.stages
    card = dataset_card(
        summary,
        title=domain.title,
        description=domain.description,
        functions={name: function.description for name, function in domain.functions.items()},
        languages=sorted(name for name, weight in domain.statistics.languages.items() if weight > 0),
        provenance={
            "made by": f"RouteNator {task.run.plan.version}" + (f", commit {task.run.plan.commit}" if task.run.plan.commit else ""),
            "plan": f"`{task.run.plan.fingerprint}` ({config.name})",
            "stages": ", ".join(f"{name} `{stages[name].fingerprint}`" for name in ("sample", "generate", "merge")),
            "seed": str(config.seed),
            "domain sha256": f"`{task.run.plan.domain_sha256}`",
            "generator": f"`{config.model.generator.model}`",
            "vision": _vision(task),
        },
        config={part: config.model_dump(mode="json")[part] for part in parts},
    )
    write_atomic(build / "README.md", card)


def _vision(task: Task) -> str:
    vision = task.config.model.vision
    if vision.engine is not None:
        return f"`{vision.engine.model}`"
    return "described: text found in the image, colours and layout in words, then the text generator; no vision-language model"


def _commit(task: Task, work: Path, build: Path, summary: dict[str, Any]) -> None:
    """Move the files to their public names, then make the receipt.

    Two attempts write the same bytes (all is sorted by index, and nothing holds a time), so it does not matter whose file lies there last.
    """
    target = task.dir / "dataset"
    target.mkdir(exist_ok=True)
    files = {"summary": task.dir / "merge.json"}
    os.replace(work / "merge.json", files["summary"])
    for path in sorted(build.iterdir()):
        os.replace(path, target / path.name)
        # The card names the plan, and two plans may share this stage; so its bytes are not part of the receipt.
        if path.name != "README.md":
            files[path.name] = target / path.name
    counts = summary["counts"]
    task.commit(files, rows=counts["final"], metrics=counts)
    shutil.rmtree(task.work_dir, ignore_errors=True)
