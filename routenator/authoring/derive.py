"""``domain derive``: makes one domain from another by rule, as a basis for experiments.

The steps, each optional, in this order: keep some languages (``languages``), leave out unused functions
(``only_used``), keep some templates and set the shares of routes (``templates``, ``routes``), drop the population
statistics (``flat``), make some categories more frequent (``boost``), change the number of functions (``functions``,
families.py), leave out topics of rows without a call (``without_topics``). A domain that still has languages of its
own takes no other step. The result is a complete folder that is checked before it appears under its name; its README
records the source and the options.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from routenator.authoring.check import check_domain
from routenator.authoring.families import make_families
from routenator.authoring.membership import FILE, Families
from routenator.authoring.reweigh import boost, flatten, keep_templates, keep_used, serve_all, set_routes
from routenator.authoring.templatefiles import dump_yaml, write_templates
from routenator.compose import probe_config
from routenator.config import RouteName
from routenator.domain.domain import Domain
from routenator.domain.fingerprint import domain_fingerprint
from routenator.domain.functions import load_functions
from routenator.domain.golden import GoldenCall, golden_line, has_golden, load_golden
from routenator.domain.joint import Joint
from routenator.domain.languages import FOLDER as LANGUAGES
from routenator.domain.loader import load_domain
from routenator.domain.nocall import FOLDER, TOPICS_FILE
from routenator.domain.schema import Weight
from routenator.domain.templates import DRAFTED_TOPICS, OWN_FILES
from routenator.errors import InputError
from routenator.files import check_writable, write_json
from routenator.parsing import Closed, read_yaml
from routenator.sampling.strata import build_strata

# Written by this module; all other files of the source are copied unchanged.
_WRITTEN = {
    "functions.json",
    "domain.yaml",
    "statistics.yaml",
    "metadata.jsonl",
    "golden.jsonl",
    "README.md",
    "templates",
    FILE,
}
_IMPLIED = ("functions", "categories", "lengths", "languages", "word_quantiles")  # by a joint target


class DeriveOptions(Closed):
    """The changes to make; see docs/domains.md.

    Attributes:
        languages: languages to keep; their shares keep their proportions.
        only_used: leave out functions that have no share.
        templates: templates to keep: names, "route/name", or patterns such as basic_*.
        routes: weights of the routes, for all functions.
        flat: no population statistics: everything is equally likely.
        boost: "function.category" to a factor for its weight.
        functions: the same API with this many functions.
        without_topics: topics to leave out of rows without a call, of templates/no_call.yaml and of the package's.
        golden: golden file to use instead of the domain's own.
    """

    languages: list[str] | None = None
    only_used: bool = False
    templates: list[str] | None = None
    routes: dict[RouteName, Weight] | None = None
    flat: bool = False
    boost: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    functions: Annotated[int, Field(ge=1)] | None = None
    without_topics: list[str] = []
    golden: Path | None = None


@dataclass
class Derived:
    """The result of ``derive``.

    Attributes:
        notes: changes that were necessary beyond the options given, one sentence each.
        families: maps a call of the source to its new function; None if the functions are unchanged.
        golden: number of queries in the new golden set; ``dropped`` counts those whose function was left out.
    """

    path: Path
    functions: list[str]
    templates: int
    notes: list[str] = field(default_factory=list)
    families: Families | None = None
    golden: int = 0
    dropped: int = 0


def derive(source: Path, out: Path, options: DeriveOptions) -> Derived:
    """Derive a domain from ``source`` and write it to the folder ``out``.

    Raises:
        InputError / InputErrors: options with unknown names or that leave no usable domain; ``out`` is not empty.
    """
    if options == DeriveOptions():
        raise InputError(
            "nothing to derive",
            key="options",
            found="none",
            expected=f"at least one of {', '.join(DeriveOptions.model_fields)}",
        )
    check_writable(out, "OUT")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            "the output folder already exists",
            key="OUT",
            found=str(out),
            expected="a new or empty folder",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        derived = _derive(source, made / "out", options, made)
        derived.path = out
        _check(made / "out")
        (made / "out").chmod(0o755)
        os.replace(made / "out", out)  # only a complete, checked folder gets the final name
    except OSError as error:
        raise InputError("cannot write the derived domain", key="OUT", found=f"{out}: {error.strerror}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return derived


def _derive(source: Path, out: Path, options: DeriveOptions, scratch: Path) -> Derived:
    """Write the derived domain to ``out``; ``scratch`` is a folder for intermediate results."""
    domain, notes, kept = load_domain(source), list[str](), source
    if options.languages is not None:
        kept = scratch / "languages"
        _keep_languages(domain, kept, options.languages)
        domain = load_domain(kept)
    others = options.model_copy(update={"languages": None, "golden": None})
    if options.languages is not None and others == DeriveOptions():
        os.replace(kept, out)
        derived = Derived(out, list(domain.functions), len(domain.templates), notes)
        golden = out / "golden.jsonl"
        if options.golden is not None:
            shutil.copyfile(options.golden, golden)
        if golden.is_file() and has_golden(golden):
            derived.golden = len(load_golden(golden, domain.functions))
    else:
        domain, families = _changed(domain, options, notes)
        derived = Derived(out, list(domain.functions), len(domain.templates), notes, families)
        out.mkdir()
        _write(domain, kept, out, options, derived)
    (out / "README.md").write_text(_readme(source, options, derived), encoding="utf-8")
    return derived


def _changed(domain: Domain, options: DeriveOptions, notes: list[str]) -> tuple[Domain, Families | None]:
    """The domain after all steps but that of languages."""
    if domain.languages:
        raise InputError(
            "a domain with languages of its own cannot be derived from", file=domain.path / LANGUAGES,
            found=", ".join(domain.languages), expected="a domain in one language; the option languages keeps one",
        )  # fmt: skip
    if options.only_used:
        domain = keep_used(domain, notes)
    if options.templates is not None:
        domain = keep_templates(domain, options.templates, notes)
    if options.flat:
        domain = flatten(domain)
    if options.templates is not None or options.routes is not None:
        domain = set_routes(domain, options.routes, notes)
    if options.templates is not None or options.routes is not None or options.flat:
        domain = serve_all(domain, notes)
    if options.boost:
        domain = boost(domain, options.boost)
    return (domain, None) if options.functions is None else make_families(domain, options.functions, notes)


def _keep_languages(domain: Domain, out: Path, languages: Sequence[str]) -> None:
    """Copy a domain with these of its languages alone.

    Raises:
        InputError: no language is named, or one that has no share.
    """
    shares = {code: share for code, share in domain.statistics.languages.items() if share > 0}
    for code in languages:
        if code not in shares:
            raise InputError("this language has no share", key="languages", found=code, valid=shares)
    if not languages:
        raise InputError("no language is left", key="languages", found="none", valid=shares)
    shutil.copytree(domain.path, out, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    kept = {code: share for code, share in shares.items() if code in languages}
    table = read_yaml(out / "statistics.yaml")
    if domain.joint is None:
        table["languages"] = kept
    else:
        table["joint"] = [cell for cell in _cells(domain.joint) if cell["language"] in kept]
        # These follow from the joint, and are not what they were in all languages together.
        table = {key: value for key, value in table.items() if key not in _IMPLIED}
    _write_yaml(out / "statistics.yaml", table)
    for folder in (out / LANGUAGES).iterdir() if domain.languages else ():
        if folder.name not in kept:
            shutil.rmtree(folder)
    if (out / LANGUAGES).is_dir() and not any((out / LANGUAGES).iterdir()):
        (out / LANGUAGES).rmdir()


def _check(path: Path) -> None:
    """Refuse a domain that a run would refuse. Templates can be for guided or unguided models, so one of the two has to
    work.
    """
    domain = check_domain(path)
    if (path / "golden.jsonl").is_file():
        load_golden(path / "golden.jsonl", domain.functions)
    config = probe_config(domain.path)
    free = config.model.model_copy(update={"generator": config.model.generator.model_copy(update={"guided": False})})
    try:
        build_strata(domain, config)
    except InputError:
        build_strata(domain, config.model_copy(update={"model": free}))


def _write(domain: Domain, source: Path, out: Path, options: DeriveOptions, derived: Derived) -> None:
    joint = read_yaml(source / "statistics.yaml").get("joint")
    for path in sorted(source.iterdir()):
        if path.name in _WRITTEN or path.name.startswith((".", "__pycache__")) or path.name == joint:
            continue
        if path.is_dir():
            shutil.copytree(path, out / path.name, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        else:
            shutil.copyfile(path, out / path.name)
    tools = [
        {"type": "function", "function": {"name": f.name, "description": f.description, "parameters": f.parameters}}
        for f in domain.functions.values()
    ]
    write_json(out / "functions.json", tools)
    rules = {name: rule.model_dump(by_alias=True, exclude_unset=True) for name, rule in domain.rules.items()}
    _write_yaml(out / "domain.yaml", {**read_yaml(source / "domain.yaml"), "functions": rules})
    _write_yaml(out / "statistics.yaml", statistics_document(domain))
    _write_templates(domain, source, out, options.without_topics)
    _write_records(domain, out, derived)
    _write_golden(source, options.golden, out, derived)
    if derived.families is not None:
        write_json(out / FILE, derived.families.as_list())


def statistics_document(domain: Domain) -> dict[str, Any]:
    """A domain's statistics as the content of ``statistics.yaml``."""
    table = domain.statistics.model_dump(exclude={"joint"})
    table["length_buckets"] = {name: list(bounds) for name, bounds in table["length_buckets"].items()}
    if domain.joint is not None:
        # These follow from the joint, so they are not written a second time.
        for name in _IMPLIED:
            del table[name]
        for function, shares in table["slots"].items():
            shares.pop(domain.functions[function].category, None)
        table["joint"] = _cells(domain.joint)
    if table["calls"] == {1: 1.0}:
        del table["calls"]  # the default
    return {name: value for name, value in table.items() if value}


def _cells(joint: Joint) -> list[dict[str, Any]]:
    return [
        {"function": f, "category": c, "length": length, "language": language, "share": weight}
        for f, categories in joint.weights.items()
        for c, cells in categories.items()
        for (length, language), weight in cells.items()
    ]


def _write_yaml(path: Path, value: Any) -> None:
    path.write_text("# Derived by rule; see README.md.\n" + dump_yaml(value), encoding="utf-8")


def _write_templates(domain: Domain, source: Path, out: Path, without: Sequence[str]) -> None:
    by_file: dict[Path, dict[str, Any]] = {}
    for template in domain.templates.values():
        entry = template.head.model_dump(by_alias=True, exclude_defaults=True, exclude={"text"})
        path = out / "templates" / template.route / template.file.name
        by_file.setdefault(path, {})[template.key] = {**entry, "text": template.body}
    for path, entries in by_file.items():
        write_templates(path, entries, list(domain.rules))
    for name in (*OWN_FILES, DRAFTED_TOPICS):
        if (source / "templates" / name).is_file():
            shutil.copyfile(source / "templates" / name, out / "templates" / name)
    if without:
        _leave_topics_out(out / "templates" / TOPICS_FILE, without)


def _leave_topics_out(file: Path, topics: Sequence[str]) -> None:
    """Add these topics to a domain's file of topics with weight 0."""
    own = read_yaml(file) or {} if file.is_file() else {}
    known = {**read_yaml(FOLDER / TOPICS_FILE)["templates"], **own.get("templates", {})}
    for topic in topics:
        if topic not in known:
            raise InputError("no such topic", key="without_topics", found=topic, valid=known)
    gone = {topic: {"weight": 0, "text": ""} for topic in topics}
    _write_yaml(file, {**own, "templates": {**own.get("templates", {}), **gone}})


def _write_records(domain: Domain, out: Path, derived: Derived) -> None:
    """Write the metadata without the records whose category no function has any longer."""
    known = {category for function in domain.rules for category in domain.reachable_categories(function)}
    kept = [record for record in domain.records.values() if not known or record["category"] in known]
    if len(kept) < len(domain.records):
        derived.notes.append(
            f"{len(domain.records) - len(kept)} metadata records left out: no function has their category any more"
        )
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept)
    (out / "metadata.jsonl").write_text(text, encoding="utf-8")


def _write_golden(source: Path, golden: Path | None, out: Path, derived: Derived) -> None:
    file = golden or source / "golden.jsonl"
    if golden is None and not (file.is_file() and has_golden(file)):
        derived.notes.append("the source has no golden set")
        return
    lines = []
    for example in load_golden(file, load_functions(source / "functions.json")):
        names = [_new_name(derived, call) for call in example.calls]
        if None in names:
            derived.dropped += 1
        else:
            calls = [replace(call, name=name) for call, name in zip(example.calls, names, strict=True) if name]
            hidden = [name for name in example.hidden if name in derived.functions]
            lines.append(golden_line(example.query, calls, example.today, hidden, example.language, example.id))
    derived.golden = len(lines)
    if not lines:
        derived.notes.append("no golden set: no golden query belongs to one of the remaining functions")
        return
    (out / "golden.jsonl").write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8"
    )


def _new_name(derived: Derived, call: GoldenCall) -> str | None:
    """The function that a golden call of the source calls in the new domain; None if there is none."""
    if derived.families is not None:
        return derived.families.of(call.name, call.arguments)
    return call.name if call.name in derived.functions else None


def _readme(source: Path, options: DeriveOptions, derived: Derived) -> str:
    asked = options.model_dump(mode="json", exclude_defaults=True)
    if options.golden is not None:
        asked["golden"] = options.golden.name
    lines = [
        f"# Derived from the domain {source.resolve().name}",
        "",
        f"Made by `domain derive` from a source with fingerprint `{domain_fingerprint(source)}`, with the options",
        "",
        *(f"    {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in asked.items()),
        "",
        f"{len(derived.functions)} functions, {derived.templates} templates, {derived.golden:,} golden queries"
        + (f" ({derived.dropped:,} left out with their functions)." if derived.dropped else "."),
    ]
    if derived.notes:
        lines += ["", "Further changes that were necessary:", "", *(f"- {note}" for note in derived.notes)]
    if derived.families is not None:
        lines += ["", f"`{FILE}` maps calls of the source to the new functions."]
    readme = source / "README.md"
    if readme.is_file():
        lines += ["", "## README of the source", "", readme.read_text(encoding="utf-8").rstrip()]
    return "\n".join(lines) + "\n"
