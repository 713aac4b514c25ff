"""Draws calls and queries of every function and grammar, and holds them to the checks of a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routenator.compose import probe_config
from routenator.domain.calls import Call
from routenator.domain.domain import Domain
from routenator.domain.functions import check_call
from routenator.domain.templates import Template
from routenator.errors import InputError
from routenator.generation.candidate import to_check
from routenator.generation.heuristic import candidates
from routenator.sampling.philox import row_seeds
from routenator.sampling.sampler import Sampler
from routenator.sampling.strata import category_shares
from routenator.validation.checks import CHECKS, Context, first_failure
from routenator.validation.prefilter import surely_accepted
from routenator.wording.composer import Composer
from routenator.wording.program import serving_templates
from routenator.wording.writer import Words, Writer, one_call, one_slots

DRAWS = 64  # of each function and grammar
_OTHERS = 240  # rows without a call or with several, drawn together
_RARE = 0.1  # of slots with a smaller share too few are among the draws
MANY = 0.25  # warn if a check rejects at least this share of them


class Drawn(NamedTuple):
    """Draws of one grammar for one function.

    Attributes:
        categories: category of each draw, strings, shape (DRAWS,); None if the grammar serves none that has a share.
        words: the draws; None if there are no categories.
    """

    function: str
    template: Template
    categories: NDArray[np.object_] | None
    words: Words | None


def draw_all(domain: Domain) -> list[Drawn]:
    """Draw from each grammar that is in use, for each of its functions that has a share."""
    seeds = row_seeds(0, np.arange(DRAWS))
    writer = Writer(domain, tries=1)
    found = []
    for function in domain.rules:
        shares = category_shares(domain, function) if domain.statistics.functions.get(function, 0) > 0 else {}
        for template in domain.templates.values():
            if template.grammar is None or function not in template.functions or template.weight == 0 or not shares:
                continue
            serving = [c for c in shares if template.categories is None or c in template.categories]
            if not serving:
                found.append(Drawn(function, template, None, None))
                continue
            categories = np.array([serving[n % len(serving)] for n in range(DRAWS)], dtype=object)
            roots = np.full(DRAWS, writer.compiled.root[function, template.name])
            found.append(Drawn(function, template, categories, writer.draw(function, seeds, categories, roots)))
    return found


def drawn_rows(draws: Sequence[Drawn]) -> list[tuple[str, list[Call]]]:
    """The draws as queries with their calls."""
    return [
        (query, [Call(drawn.function, json.loads(arguments))])
        for drawn in draws
        if drawn.words is not None
        for query, arguments in zip(drawn.words.query.to_pylist(), drawn.words.arguments.to_pylist(), strict=True)
    ]


def check_draws(domain: Domain, draws: Sequence[Drawn]) -> Iterator[InputError | str]:
    """Errors for grammars whose calls violate the schema or whose queries all fail; sentences for those whose queries
    mostly fail. Lengths are not checked: the draws do not aim for one.
    """
    for (function, name), found in _rejected(domain, draws).items():
        template = domain.templates[name]
        reason, count = Counter(reason for reason, _, _ in found).most_common(1)[0]
        bad = next((each for each in found if each[0] == "schema"), None)
        if bad is None and len(found) < MANY * DRAWS:
            continue
        code, seen, query = bad or next(each for each in found if each[0] == reason)
        if bad is not None or len(found) == DRAWS:
            yield InputError(
                f"calls of {function} that violate its schema" if bad else f"no query for {function} passes the checks",
                file=template.file,
                key=template.place(),
                found=f"{code}: {seen}, in {query[:80]!r}",
                expected="calls that satisfy functions.json"
                if bad
                else f"queries for which this is not so: {CHECKS[code][1]}",
            )
        else:
            yield (
                f"{name}: the checks reject {len(found) / DRAWS:.0%} of its queries for {function}, "
                f"{count / DRAWS:.0%} because of {reason} ({CHECKS[reason][1]}): {seen}, in {query[:80]!r}"
            )


def never_accepted(domain: Domain, draws: Sequence[Drawn]) -> dict[tuple[str, str], str]:
    """Grammars of which a function's checks accept no query, or whose calls violate its schema: by function and name of
    the template, why.
    """
    bad = {}
    for place, found in _rejected(domain, draws).items():
        reasons = Counter(reason for reason, _, _ in found)
        if "schema" in reasons or len(found) == DRAWS:
            bad[place] = CHECKS["schema" if "schema" in reasons else reasons.most_common(1)[0][0]][1]
    return bad


def _rejected(domain: Domain, draws: Sequence[Drawn]) -> dict[tuple[str, str], list[tuple[str, str, str]]]:
    """Draws that a check rejects, by function and template: the reason, what the check found, and the query."""
    rejected: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for row, reason, seen in _rejections(domain, draws):
        rejected.setdefault((row["function"], row["template"]), []).append((reason, seen, row["draft"]))
    return rejected


def check_rare_calls(domain: Domain) -> Iterator[InputError]:
    """Errors for functions whose calls with rare slots violate the schema; each optional slot is in half of them."""
    for function, table in domain.statistics.slots.items():
        if not any(0 < share < _RARE for share in table.values()) or domain.statistics.functions.get(function, 0) <= 0:
            continue
        template = next((t for t in serving_templates(domain, function)), None)
        if template is None:
            continue
        shares = {function: {slot: 0.5 if 0 < share < 1 else share for slot, share in table.items()}}
        alone = replace(
            domain,
            rules={function: domain.rules[function]},
            templates={template.name: template},
            statistics=domain.statistics.model_copy(update={"slots": shares}),
        )
        names = [name for name, share in category_shares(domain, function).items() if share > 0]
        writer = Writer(alone, tries=1)
        words = writer.draw(
            function,
            row_seeds(0, np.arange(DRAWS)),
            np.array([names[n % len(names)] for n in range(DRAWS)], dtype=object),
            np.full(DRAWS, writer.compiled.root[function, template.name]),
        )
        for arguments in map(json.loads, words.arguments.to_pylist()):
            errors = check_call(domain.functions[function], arguments)
            if errors:
                yield InputError(
                    f"calls of {function} that violate its schema",
                    file=domain.path / "domain.yaml",
                    key=f"functions.{function}.slots",
                    found=f"{errors[0].kind}: {errors[0].message}, in {json.dumps(arguments, ensure_ascii=False)}"[
                        :200
                    ],
                    expected="calls that satisfy functions.json",
                )
                break


def check_others(domain: Domain) -> Iterator[str]:
    """Sentences for templates of rows without a call or with several, where the checks reject many of their queries."""
    shares = {number: share for number, share in domain.statistics.calls.items() if number != 1 and share > 0}
    if not shares:
        return
    config = probe_config(domain.path, _OTHERS)
    config = config.model_copy(update={"dataset": config.dataset.model_copy(update={"calls": shares})})
    sampler = Sampler(domain, config)
    drawn = Composer(domain, config, sampler.strata).details(sampler.requests(0, sampler.size))
    rows = candidates(drawn, Context(domain, config.checks, {})).to_pylist()
    every = Counter(row["template"] for row in rows)
    rejected: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if not row["accepted"]:
            rejected.setdefault(row["template"], []).append(row)
    for name, bad in rejected.items():
        if len(bad) >= max(2, MANY * every[name]):
            one = bad[0]
            yield (
                f"{name}: the checks reject {len(bad)} of {every[name]} of its queries, for example because of "
                f"{one['reason']} ({CHECKS[one['reason']][1]}): {one['detail']}, in {one['query'][:80]!r}"
            )


def _rejections(domain: Domain, draws: Sequence[Drawn]) -> Iterator[tuple[dict[str, str], str, str]]:
    """Draws that a check rejects: the row, the reason, and what the check found."""
    config = probe_config(domain.path).checks.model_copy(update={"length": False})
    context = Context(domain, config, {})
    bucket, tongue = next(iter(domain.statistics.length_buckets)), next(iter(domain.statistics.languages))
    tables = []
    for drawn in draws:
        if drawn.words is None or drawn.categories is None:
            continue
        same = {"function": drawn.function, "template": drawn.template.name, "length": bucket}
        same["language"] = (drawn.template.languages or [tongue])[0]
        columns = {name: pa.array([value] * DRAWS) for name, value in same.items()}
        columns |= {"category": pa.array(drawn.categories.tolist()), "draft": drawn.words.query}
        calls = one_call(columns["function"], drawn.words.arguments)
        table = pa.table({**columns, "slots": one_slots(drawn.words.slots), "calls": calls})
        table = table.select(sorted(table.column_names))
        tables.append(table)
    if not tables:
        return
    # One table for all, since the compiled rules are made anew for each call.
    every = pa.concat_tables(tables, promote_options="permissive")
    doubtful = np.flatnonzero(~surely_accepted(every, context))
    for row in every.take(doubtful).to_pylist():
        failure = first_failure(to_check(domain, row, row["draft"]), context)
        if failure is not None:
            yield row, *failure
