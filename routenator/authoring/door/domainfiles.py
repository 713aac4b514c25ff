"""The files of a domain, as texts: functions, rules, value lists, patterns, statistics, golden file, run config, notes.

Every file says what it is and where its parts come from.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from routenator.authoring.door.build import Parts, one_line, optional_fields, rule, values_text
from routenator.authoring.door.connectors import ASSIGNING, words_of
from routenator.authoring.door.locales import locale_of
from routenator.authoring.door.patterns import Pattern
from routenator.authoring.door.phrases import Phrase, named_parameter
from routenator.authoring.templatefiles import dump_yaml

BUCKETS = {"short": (1, 6), "medium": (7, 12), "long": (13, 24), "very_long": (25, 150)}
_EXPECTED_OPTIONAL = 1.6  # optional parameters of a call, on average
_MOST_SHARE, _LEAST_SHARE = 0.5, 0.06
_FIRST_SHARE = 0.9  # of the first parameter of a function that requires none
_INNER_SHARE = 0.4  # of an optional field of an object
_PLAIN_WEIGHT = 0.3  # of a function without parameters, which soon runs out of different queries


@dataclass
class Measured:
    """What draws of the patterns showed; empty before they are drawn.

    Attributes:
        buckets: the length buckets, as (fewest, most) words by name.
        lengths: share of each length bucket by function.
        served: length buckets that a template can write, by its key.
        weights: of templates, by key: less for those with few different queries.
        unserved: length buckets that a function's target has and none of its templates can write, by function.
        variety: of functions, 1 if all draws differ.
        refused: templates of which the checks accept no query, by key, and why.
    """

    buckets: dict[str, tuple[int, int]] = field(default_factory=BUCKETS.copy)
    lengths: dict[str, dict[str, float]] = field(default_factory=dict)
    served: dict[str, list[str]] = field(default_factory=dict)
    unserved: dict[str, list[str]] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    variety: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def files(parts: Parts, measured: Measured, domain: str, source: str, statistics: str | None = None) -> dict[str, str]:
    """All files by name.

    Args:
        domain: the folder as the run config names it.
        source: what `domain init` was given, as `written` names it.
        statistics: the text of the population's statistics; None for defaults.
    """
    made = {
        "functions.json": _functions(parts),
        "domain.yaml": _rules(parts, source),
        "statistics.yaml": _statistics(parts, measured) if statistics is None else statistics,
        "golden.jsonl": _golden(parts),
        "run.yaml": _run(parts, domain),
        "README.md": _readme(parts, source),
    }
    for name, (reasons, values) in parts.lists.items():
        made[f"values/{name}.tsv"] = values_text(reasons, values)
    for language, lists in parts.local.items():
        for name, local in lists.items():
            origin = f"In {language}, from Faker's {locale_of(language)}; in place of values/{name}.tsv."
            made[f"languages/{language}/values/{name}.tsv"] = values_text([origin], list(local))
    for name, templates in parts.templates.items():
        made[f"templates/heuristic/{name}.yaml"] = _templates(parts, name, templates, measured)
    return made


def _functions(parts: Parts) -> str:
    tools = [
        {
            "type": "function",
            "function": {
                "name": each.function.name,
                "description": each.function.description,
                "parameters": each.function.parameters,
            },
        }
        for each in parts.selection.chosen
    ]
    return json.dumps(tools, ensure_ascii=False, indent=2) + "\n"


def _rules(parts: Parts, source: str) -> str:
    rules = {
        each.function.name: {
            "slots": {
                parameter: rule(shape, parts.lists_of[each.function.name], words_of(parts.phrases[each.function.name]))
                for parameter, shape in each.shapes.items()
            }
        }
        for each in parts.selection.chosen
    }
    head = (
        "# The rules of the domain: which values each parameter of each function takes.\n"
        f"# Written by `domain init` from {one_line(source)} ({parts.api.form}). Edit it freely.\n"
        "# `{NAME.value}` is a value of the list values/NAME.tsv, `{NAME}` one of its wordings.\n"
    )
    title = parts.api.title or one_line(source).rpartition("/")[2] or "An API"
    return head + dump_yaml(
        {"title": one_line(title)[:120], "description": one_line(parts.api.description)[:400], "functions": rules}
    )


def _templates(parts: Parts, name: str, templates: list[Pattern], measured: Measured) -> str:
    phrase, tool = parts.phrases[name], next(c.tool for c in parts.selection.chosen if c.function.name == name)
    entries = {}
    for each in templates:
        key = template_key(name, each.key)
        weight, served = measured.weights.get(key, each.weight), measured.served.get(key)
        if not weight:
            continue
        entries[key] = {
            **({"weight": weight} if weight != 1 else {}),
            **({"lengths": served} if served and len(served) < len(measured.buckets) else {}),
            "text": each.text,
        }
    head = (
        f"# Patterns for {name}, in the form of docs/domains.md. Written by `domain init`.\n"
        f"# Words: {phrase.verb} / {one_line(phrase.object) or '-'}, from {phrase.origin}; other verbs: "
        f"{', '.join(phrase.verbs[1:]) or 'none'}, from the list of synonyms.\n"
        f"# {one_line(tool.origin)}: {one_line(tool.summary or tool.description)[:160]}\n"
    )
    return head + dump_yaml({"functions": [name], "templates": entries})


def template_key(function: str, key: str) -> str:
    """The name of a template, unique in its route."""
    return f"{function}_{key}"


def _always_said(phrase: Phrase, name: str, optional: list[str]) -> str | None:
    """The optional parameter without which a query says too little: find pets by *status*, set the name to *value*."""
    if phrase.by in optional:
        return phrase.by
    named = named_parameter(name, optional)
    return "value" if named is None and phrase.verb in ASSIGNING and "value" in optional else named


def _statistics(parts: Parts, measured: Measured) -> str:
    shares, slots = {}, {}
    for each in parts.selection.chosen:
        name = each.function.name
        shares[name] = measured.variety.get(name, 1.0) if each.shapes else _PLAIN_WEIGHT
        optional = [parameter for parameter in each.shapes if parameter not in each.function.required]
        if optional:
            share = round(min(_MOST_SHARE, max(_LEAST_SHARE, _EXPECTED_OPTIONAL / len(optional))), 2)
            slots[name] = dict.fromkeys(optional, share)
            named = _always_said(parts.phrases[name], name, optional)
            if named is not None:
                slots[name][named] = 1.0
            elif len(optional) == len(each.shapes):
                slots[name][optional[0]] = _FIRST_SHARE
        inner = [name for parameter, shape in each.shapes.items() for name in optional_fields(shape, parameter)]
        if inner:
            slots[name] = {**slots.get(name, {}), **dict.fromkeys(inner, _INNER_SHARE)}
    table = {
        # Other languages have values, but no patterns yet.
        "languages": {"en": 1.0, **dict.fromkeys(parts.selection.languages, 0.0)},
        "functions": shares,
        "length_buckets": {name: list(bounds) for name, bounds in measured.buckets.items()},
        "lengths": {name: measured.lengths.get(name) or dict.fromkeys(measured.buckets, 1.0) for name in shares},
        "routes": {name: {"heuristic": 1.0} for name in shares},
        "slots": slots,
        "noise": {"lowercase": 0.4, "typo": 0.03, "no_punctuation": 0.5},
    }
    head = (
        "# Population statistics, as shares and weights. These are DEFAULTS of `domain init`, and\n"
        "# not measured: all functions alike, lengths as the patterns write them, about "
        f"{_EXPECTED_OPTIONAL:g} optional parameters a call.\n"
        "# `domain fit` replaces them as soon as you have real queries.\n"
    )
    return head + dump_yaml({key: value for key, value in table.items() if value})


def _golden(parts: Parts) -> str:
    lines = [
        "# The golden set: real queries with their calls, as JSON lines. It is empty, so runs are scored on a",
        "# synthetic hold-out, and says so. Lines that start with # are comments. Two examples of the form:",
    ]
    for each in parts.selection.chosen[:2]:
        arguments = {
            parameter: shape.example()
            for parameter, shape in each.shapes.items()
            if parameter in each.function.required
        }
        said = " ".join(_said(value) for value in arguments.values())
        phrase = parts.phrases[each.function.name]
        query = f"{phrase.verbs[0]} {phrase.object} {said}".strip()
        line = {"query": query, "call": {"name": each.function.name, "arguments": arguments}}
        lines.append("# " + json.dumps(line, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def _said(value: Any) -> str:
    """A value in a sentence."""
    if isinstance(value, list):
        return " and ".join(map(_said, value))
    return " ".join(map(_said, value.values())) if isinstance(value, dict) else str(value)


def _run(parts: Parts, domain: str) -> str:
    size = max(1000, 60 * len(parts.selection.chosen))
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", domain.rstrip("/").rpartition("/")[2]).strip("-") or "api"
    value = {
        "name": name,
        "domain": domain,
        "model": "smollm2-135m",
        "cluster": "local",
        "seed": 7,
        "dataset": {"size": size, "validation_share": 0.1},
        "sample": {"shards": 1},
        # Heuristic rows cost next to nothing, so that small cells fill up too.
        "generate": {"shards": 1, "oversample": {"heuristic": 2.0}},
        "train": {
            "prompt": "compact", "epochs": 1, "batch_size": 8, "learning_rate": 0.002, "processes": 1,
            "deepspeed": False, "gradient_checkpointing": False,
        },
        "evaluate": {"workers": 1, "max_new_tokens": 256},
    }  # fmt: skip
    head = (
        "# A run of this domain, small enough for two cores: `run THIS_FILE [--until merge]`\n"
        "# Written by `domain init`. docs/configuration.md has all keys.\n"
    )
    return head + dump_yaml(value)


def _readme(parts: Parts, source: str) -> str:
    chosen = parts.selection.chosen
    lines = [
        f"# {one_line(parts.api.title) or 'A domain made by domain init'}",
        "",
        f"Written by `domain init` from `{one_line(source)}` ({parts.api.form}): {len(chosen)} functions.",
        "All files are yours to edit. Run `domain init` again after the API has changed: what you edited stays.",
        "",
        "| file | what it is, and where it comes from |",
        "| --- | --- |",
        "| `functions.json` | the API as OpenAI tools, from the source |",
        "| `domain.yaml` | which value list each parameter takes its values from |",
        "| `values/*.tsv` | value lists: enums and examples of the source, numbers in its bounds, and lists drawn once "
        "from Faker and from word lists of this project |",
        "| `templates/heuristic/*.yaml` | patterns of queries: verbs and objects from names and descriptions, synonyms "
        "from a list of verbs |",
        "| `statistics.yaml` | shares; defaults, until `domain fit` replaces them |",
        "| `golden.jsonl` | your real queries; empty, with two examples of the form |",
        "| `run.yaml` | a run config |",
        "| `.init/` | what `domain init` wrote, to tell your edits from its own |",
    ]
    if parts.selection.left_out:
        lines += ["", "Functions left out:", ""]
        lines += [f"- `{name}`: {one_line(why)}" for name, why in parts.selection.left_out.items()]
    silent = [(each.function.name, *item) for each in chosen for item in each.silent.items()]
    if silent:
        lines += ["", "Optional parameters that no query says; the API keeps them:", ""]
        lines += [f"- `{function}.{parameter}`: {one_line(why)}" for function, parameter, why in silent]
    notes = [*parts.api.notes, *parts.selection.notes()]
    if notes:
        lines += ["", "Notes:", "", *(f"- {one_line(note)}" for note in notes)]
    return "\n".join(lines) + "\n"
