"""Merge: turns candidates into the data set. One task works in blocks on all its cores, so its memory is bounded.

The decisions on all candidates are saved as a finished step in the scratch folder (``merge.spill_dir``), where the next
attempt finds them if this one is killed while writing the data set.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from jobs.deciding import decided
from jobs.inputs import candidate_files, check_same_strata, earlier_decisions, read_strata
from jobs.scratch import Scratch
from jobs.stages import SECOND_ROUND
from jobs.task import Task
from routenator.config import RunConfig
from routenator.dataset.card import dataset_card
from routenator.dataset.decisions import DROPPED, KEPT, Decision, Decisions
from routenator.dataset.distribution import distribution, marginals, positions, word_quartiles
from routenator.dataset.export import FORMATS
from routenator.dataset.files import SplitWriter
from routenator.dataset.merge import count_passes
from routenator.dataset.rounds import measure, round_tables
from routenator.dataset.sources import open_sources
from routenator.dataset.writer import Survey, write_dataset
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.errors import StageError
from routenator.files import write_atomic, write_json
from routenator.sampling.acceptance import write_text
from routenator.sampling.calls import row_calls
from routenator.sampling.strata import target_shares
from routenator.schemas import AND

VERSION = 5
_EXAMPLES = 30  # shown in the report
_REASONS_SHOWN = 5


def run(task: Task) -> None:
    """Write ``dataset/`` and ``merge.json``; roles: the files' names within ``dataset/``, and ``summary``.

    Raises:
        CorruptShardError: a shard of candidates differs from its receipt.
        StageError: no candidate was accepted, or the shards do not fit together.
        InputError: ``merge.spill_dir`` cannot be written, has too little room, or contains someone else's folder.
    """
    if task.is_done():
        return
    try:
        scratch = Scratch(task, task.config.merge.spill_dir)
        build = Scratch(task, None)  # beside the output, which is moved into place
        _merge(task, scratch, build)
    except OSError:
        # Another attempt may have won and removed the work folder while we used it; then there is nothing left to do.
        if not task.is_done():
            raise


def _merge(task: Task, scratch: Scratch, build: Scratch) -> None:
    own = scratch.begin()
    work = own if build.root == scratch.root else build.begin()
    try:
        _build(task, scratch, own, work)
    except Exception:
        # Only after an error; a killed attempt leaves its finished steps to the next one.
        scratch.end()
        if work != own:
            build.end()
        raise
    if scratch.root != build.root:
        scratch.end()
    shutil.rmtree(build.root, ignore_errors=True)


def _build(task: Task, scratch: Scratch, own: Path, work: Path) -> None:
    config = task.config
    domain = load_domain(task.run.domain_dir)
    golden = load_golden(task.run.golden_file, domain.functions, may_be_empty=True)
    named = read_strata(task.run)
    strata = [stratum.as_dict() for stratum in named]
    build = work / "dataset"
    build.mkdir(parents=True)

    files, rounds = candidate_files(task)  # including the second round, and for a top-up the runs that it builds on
    check_same_strata(task.run, named)
    sources = open_sources(files)
    total = sum(source.rows for source in sources)
    # Deciding reads the candidates one or more times, and writing reads them once more; progress is reported in
    # candidates, each counted as a fraction of these passes.
    passes = 1 + count_passes(config.merge.near_duplicates, config.merge.ambiguity != "off")
    decisions = earlier_decisions(task) or decided(
        task, scratch, own, sources, strata, golden, lambda done: task.progress(done // passes, total)
    )
    found, splits = write_dataset(
        sources,
        decisions,
        strata,
        {name: function.category for name, function in domain.functions.items()},
        build,
        share=config.dataset.validation_share,
        rows_per_file=config.dataset.rows_per_file,
        formats=config.merge.formats,
        tools=domain.tools(),
        progress=lambda done, of: task.progress(((passes - 1) * of + done - 1) // passes, of),
    )
    if not found.rows:
        raise StageError(_why_empty(found, decisions, total))
    summary = _summary(task, domain, strata, decisions, found, splits)
    summary["golden_words"] = _golden_words(golden)
    note = {"likeness": task.run.plan.acceptance_key, "size": config.dataset.size, "seed": config.seed}
    acceptance, steps = measure(strata, round_tables(decisions, list(rounds.values())), note)
    summary["rounds"] = [{"name": name, **row} for name, row in zip(rounds, steps, strict=True)]
    write_atomic(work / "acceptance.json", write_text(acceptance.as_dict()))
    write_json(work / "merge.json", summary)
    _side_files(task, domain, build, splits, summary)
    _commit(task, work, build, summary)


def _why_empty(found: Survey, decisions: Decisions, total: int) -> str:
    reasons = Counter(found.rejected)
    reasons.update({decision.reason: decisions.count(decision) for decision in DROPPED if decisions.count(decision)})
    if not total:
        return "nothing to merge: the generate stage produced no candidates"
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
    """Return merge.json, without anything that differs between two attempts."""
    counts = {
        "requested": decisions.per_stratum(Decision),
        "accepted": decisions.per_stratum((*KEPT, *DROPPED)),
        "final": decisions.per_stratum(KEPT),
    }
    statistics = domain.statistics
    thirds = {
        name: {str(third): weight for third, weight in table.items()}
        for name, table in statistics.keyword_position.items()
    }
    return {
        "counts": {
            "wanted": sum(row["quota"] for row in strata),
            "requested": sum(counts["requested"]),
            "generated": found.generated,
            "accepted": sum(counts["accepted"]),
            "rejected": dict(sorted(found.rejected.items(), key=lambda item: (-item[1], item[0]))),
            "dropped": {decision.reason: decisions.count(decision) for decision in DROPPED},
            "final": found.rows,
            "backfilled": decisions.count(Decision.BACKFILLED),
            "missing": sum(row["missing"] for row in decisions.deficits),
            "strata": len(strata),
            "strata_full": len(strata) - sum(row["missing"] > 0 for row in decisions.deficits),
            **{split: writer.written for split, writer in splits.items()},
        },
        "distribution": distribution(strata, counts, _target(domain, task.config)),
        "deficits": decisions.deficits,
        "words": word_quartiles(found.words),
        "positions": positions(found.positions, thirds),
        "generators": dict(sorted(found.generators.items())),
        "formats": list(task.config.merge.formats),
        "files": {split: writer.files for split, writer in splits.items()},
        "examples": found.examples(_EXAMPLES),
    }


def _target(domain: Domain, config: RunConfig) -> dict[str, dict[str, float]]:
    """Dimension -> name -> share; the number of calls is one if rows differ in it."""
    calls = row_calls(domain, config)
    numbers = {"calls": {str(number): share for number, share in calls.items()}} if set(calls) != {1} else {}
    return marginals(target_shares(domain, config)) | numbers


def _golden_words(golden: list[Any]) -> dict[str, Any]:
    """Return the word counts of the golden queries: statistics only, no query."""
    words: dict[str, Counter[int]] = {}
    for example in golden:
        words.setdefault(AND.join(example.labels), Counter())[len(example.query.split())] += 1
    return word_quartiles(words)


def _side_files(
    task: Task, domain: Domain, build: Path, splits: dict[str, SplitWriter], summary: dict[str, Any]
) -> None:
    """Return the data set's card and the additional files that the formats need."""
    config = task.config
    names = [name for writer in splits.values() for name in writer.files]
    for name in config.merge.formats:
        suffixes = FORMATS[name].suffixes
        for file, text in FORMATS[name].side_files([data for data in names if data.endswith(suffixes)]).items():
            write_atomic(build / file, text)
    parts = ("dataset", "sample", "generate", "checks", "merge")
    stages, base = task.run.plan.stages, task.run.plan.base
    card = dataset_card(
        summary,
        title=domain.title,
        description=domain.description,
        functions={name: function.description for name, function in domain.functions.items()},
        languages=sorted(name for name, weight in domain.statistics.languages.items() if weight > 0),
        provenance={
            "made by": f"RouteNator {task.run.plan.version}"
            + (f", commit {task.run.plan.commit}" if task.run.plan.commit else ""),
            "plan": f"`{task.run.plan.fingerprint}` ({config.name})",
            "stages": ", ".join(
                f"{name} `{stages[name].fingerprint}`"
                for name in ("sample", "generate", *SECOND_ROUND, "merge")
                if name in stages
            ),
            **(
                {"tops up": ", ".join(f"{part.run} (generate `{part.generate.fingerprint}`)" for part in base)}
                if base
                else {}
            ),
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
    return (
        "described: text found in the image, colours and layout in words, then the text generator; "
        "no vision-language model"
    )


def _commit(task: Task, work: Path, build: Path, summary: dict[str, Any]) -> None:
    """Move the files to their public names, then commit.

    Two attempts write the same bytes (everything is sorted by index and nothing contains a time), so it does not matter
    whose file is moved last.
    """
    target = task.dir / "dataset"
    target.mkdir(exist_ok=True)
    files = {"summary": task.dir / "merge.json", "acceptance": task.dir / "acceptance.json"}
    for path in files.values():
        os.replace(work / path.name, path)
    for path in sorted(build.iterdir()):
        os.replace(path, target / path.name)
        # Not in the receipt, because the card names the plan and several plans may share this stage.
        if path.name != "README.md":
            files[path.name] = target / path.name
    counts = summary["counts"]
    task.commit(files, rows=counts["final"], metrics=counts)
