"""``domain init``: makes a domain of an API's description. Nothing gets its final name before it passes the check."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from routenator.authoring.door.build import Parts, build
from routenator.authoring.door.domainfiles import Measured, files, template_key
from routenator.authoring.door.read import read_source
from routenator.authoring.door.select import select
from routenator.authoring.door.server import shown, written
from routenator.authoring.door.upgrade import Before, Changes, comments, load_before, merge, record, write
from routenator.authoring.drawn import draw_all, never_accepted
from routenator.authoring.inspection import inspect_domain
from routenator.authoring.templatefiles import dump_yaml
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.extras import require
from routenator.files import check_writable, read_text
from routenator.parsing import parse_yaml

_SEED = 7
_SERVED = 0.2  # a template serves the length buckets that at least this share of its draws falls into
_LEAST_SERVED = 0.01  # or at least this one, where no other template of the function has such queries
_RARE = 0.04  # and a function's target has none below this
_LEAST_VARIETY = 0.1
_FEWEST = 0.02  # of the weight of its pattern: below this, a template has too few queries to be useful


@dataclass
class Made:
    """What was made.

    Attributes:
        left_out: tool -> why it did not become a function.
        silent: "function.parameter" -> why no query says it.
        notes: of the source.
        values: value lists, and how many values they hold.
        templates: of the domain as it is now, as ``domain check`` counts them.
        warnings: of the check.
        changes: against the domain that was there before; None if there was none.
    """

    path: Path
    form: str
    functions: list[str]
    left_out: dict[str, str]
    silent: dict[str, str]
    notes: list[str]
    values: dict[str, int]
    templates: int
    warnings: list[str] = field(default_factory=list)
    changes: Changes | None = None


def init_domain(
    source: str,
    out: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    deprecated: bool = False,
    statistics: Path | None = None,
    languages: Sequence[str] = (),
) -> Made:
    """Make a domain, or bring one up to date that was made before.

    Args:
        source: what ``read_source`` takes.
        out: the folder to create, or one that ``domain init`` made.
        include, exclude, deprecated: see ``select``; without any of them those of the last time.
        statistics: a file of the population's statistics, as docs/domains.md describes it; default: defaults, or the
            file of the last time.
        languages: codes of languages, beside English, in which to make values too; default: those of the last time.

    Raises:
        InputError: the source, the choice or the place is not usable; then nothing is written.
    """
    require("door", "domain init")
    if out.exists() and not out.is_dir():
        raise InputError("this is not a folder", key="OUT", found=out, expected="a new or empty folder")
    check_writable(out, "OUT")
    before = load_before(out) if out.is_dir() and any(out.iterdir()) else None
    options: dict[str, Any] = {"include": list(include), "exclude": list(exclude), "deprecated": deprecated}
    if before is not None and not any(options.values()):
        options = {**options, **before.options}
    known = before.options.get("languages", []) if before is not None else []
    options.pop("languages", None)
    spoken = list(dict.fromkeys(languages or known))
    if spoken:
        options["languages"] = spoken
    given = _given(statistics, before)
    options["statistics"] = given is not None
    api = read_source(source)
    selection = select(api, shown(source), options["include"], options["exclude"], options["deprecated"], _SEED, spoken)
    parts = build(api, selection, before.files if before else None)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    made, changes, notes = scratch / "new", None, list(api.notes)
    try:
        write(made, files(parts, Measured(), str(out), written(source), given))
        measured = measure(made, parts)
        if measured.refused:
            parts = _without_refused(parts, measured, before.files if before else None, shown(source))
            shutil.rmtree(made)
            write(made, files(parts, Measured(), str(out), written(source), given))
            measured = measure(made, parts)
        if given is not None:
            given, unreached = _reachable(given, measured, load_domain(made).statistics.lengths)
            notes += unreached
        texts = files(parts, measured, str(out), written(source), given)
        write(made, texts)
        if before is not None:
            shutil.rmtree(made)
            shutil.copytree(out, made, symlinks=True)
            changes = merge(made, before, texts)
        record(made, texts, options)
        try:
            found = inspect_domain(made)
        except InputError as error:
            if before is None:
                raise
            raise InputError(
                "the changed API does not fit your edits; nothing was changed",
                file=out, found=str(error).replace(str(made), str(out)), expected="edits that do",
            ) from None  # fmt: skip
        if out.is_dir():
            os.replace(out, scratch / "old")
        os.replace(made, out)
    except OSError as error:
        raise InputError("cannot write the domain", key="OUT", found=f"{out}: {error.strerror}") from None
    finally:
        if (scratch / "old").is_dir() and not out.exists():
            os.replace(scratch / "old", out)
        shutil.rmtree(scratch, ignore_errors=True)
    return Made(
        out,
        api.form,
        [each.function.name for each in parts.selection.chosen],
        parts.selection.left_out,
        {f"{c.function.name}.{name}": why for c in parts.selection.chosen for name, why in c.silent.items()},
        [*notes, *parts.selection.notes()],
        {name: len(values) for name, (_, values) in parts.lists.items()},
        sum(count for fact, count in found.facts.items() if fact.endswith(" templates")),
        found.warnings,
        changes,
    )


def _given(statistics: Path | None, before: Before | None) -> str | None:
    """The text of statistics that someone counted; None where the defaults are meant."""
    if statistics is not None:
        return read_text(statistics)
    return before.files["statistics.yaml"] if before is not None and before.options.get("statistics") else None


def _without_refused(parts: Parts, measured: Measured, before: Mapping[str, str] | None, source: str) -> Parts:
    """The parts without patterns of which the checks accept no query, and without functions that have no others."""
    selection, left = parts.selection, []
    for each in selection.chosen:
        name = each.function.name
        reasons = [measured.refused.get(template_key(name, pattern.key)) for pattern in parts.templates[name]]
        if all(reasons):
            selection.left_out[each.tool.name] = f"the checks accept no query for it: {reasons[0]}"
        else:
            left.append(each)
    if not left:
        raise InputError(
            "no tool can become a function", file=source, found=next(iter(selection.left_out.values())),
            expected="at least one",
        )  # fmt: skip
    made = build(parts.api, replace(selection, chosen=left), before)
    for name, patterns in made.templates.items():
        made.templates[name] = [each for each in patterns if template_key(name, each.key) not in measured.refused]
    return made


def measure(folder: Path, parts: Parts) -> Measured:
    """Draw queries of each pattern and count their words, and how many of them differ."""
    domain = load_domain(folder)
    buckets = domain.statistics.length_buckets
    found = Measured(buckets)
    totals: dict[str, dict[str, float]] = {}
    drawn_lengths: dict[str, dict[str, dict[str, float]]] = {}
    draws = draw_all(domain)
    found.refused = {domain.templates[name].key: why for (_, name), why in never_accepted(domain, draws).items()}
    for function, template, _, drawn in draws:
        if drawn is None:
            continue
        words = drawn.facts[:, 0]
        queries = [query.lower() for query in drawn.query.to_pylist()]
        shares = {}
        for name, (low, high) in buckets.items():
            different = {query for query, count in zip(queries, words, strict=True) if low <= count <= high}
            shares[name] = len(different) / len(queries)
        most = max(shares.values())
        kept = {name: share for name, share in shares.items() if share >= min(_SERVED, most)}
        found.served[template.key] = list(kept)
        drawn_lengths.setdefault(function, {})[template.key] = shares
        # A pattern of few queries soon has none left that were not said before.
        variety = (len(set(queries)) / len(queries)) ** 2
        found.weights[template.key] = round(template.weight * variety, 3) if variety >= _FEWEST else 0.0
        table = totals.setdefault(function, {})
        for name, share in kept.items():
            table[name] = table.get(name, 0.0) + share * found.weights[template.key]
    for function, table in totals.items():
        whole = sum(table.values())
        kept = {name: share / whole for name, share in table.items() if share >= _RARE * whole} if whole else {}
        found.lengths[function] = {name: round(kept[name], 3) for name in buckets if name in kept}
        given = sum(each.weight for each in parts.templates[function])
        weights = sum(found.weights[template_key(function, each.key)] for each in parts.templates[function])
        found.variety[function] = round(max(_LEAST_VARIETY, weights / given), 2)
    for function, table in domain.statistics.lengths.items():
        wanted = {name: share for name, share in table.items() if share}
        shares_of = {key: each for key, each in drawn_lengths.get(function, {}).items() if found.weights[key]}
        for name in wanted:
            if not shares_of or any(name in found.served[key] for key in shares_of):
                continue
            best = max(shares_of, key=lambda key: shares_of[key][name])
            if shares_of[best][name] >= _LEAST_SERVED:
                found.served[best].append(name)
            else:
                found.unserved.setdefault(function, []).append(name)
    return found


def _reachable(text: str, measured: Measured, targets: Mapping[str, Mapping[str, float]]) -> tuple[str, list[str]]:
    """Ask for no length that no pattern writes; return the changed statistics and a note on each function."""
    if not measured.unserved:
        return text, []
    table, notes = parse_yaml(text), []
    for function, names in measured.unserved.items():
        kept = {name: share for name, share in targets[function].items() if share and name not in names}
        lost = 1 - sum(kept.values()) / sum(targets[function].values())
        table.get("word_quantiles", {}).pop(function, None)
        kept = kept or measured.lengths[function]
        table.setdefault("lengths", {})[function] = {name: round(share, 4) for name, share in kept.items()}
        notes.append(
            f"{function}: no pattern writes queries of length {', '.join(names)}, {lost:.0%} of its target; "
            "statistics.yaml asks for its other lengths instead"
        )
    return comments(text) + dump_yaml(table), notes
