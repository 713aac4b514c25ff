"""Commands for domains: check, fit, derive, convert."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from routenator.authoring.derive import DeriveOptions, derive
from routenator.authoring.door.init import init_domain
from routenator.authoring.drawn import drawn_rows
from routenator.authoring.inspection import inspect_domain
from routenator.authoring.rowlengths import length_warnings, load_tokenizer, row_lengths
from routenator.authoring.templatefiles import convert_templates
from routenator.compose import find_domain, generator_of
from routenator.domain.dates import asked
from routenator.domain.loader import load_domain
from routenator.drafting.asks import KINDS
from routenator.drafting.run import Drafted, draft
from routenator.drafting.translating import TRANSLATED
from routenator.errors import InputError
from routenator.files import check_file, write_atomic
from routenator.parsing import parse_model
from routenator.place import command_line
from routenator.population.fit import fit, render
from routenator.terminal import put
from slurm.commands.golden import Answers, QueriesFormat
from slurm.commands.shared import AsJson, Cache, listed, print_json, with_exit_codes

# What a second `domain init` found.
_CHANGES = {
    "new": "new function",
    "gone": "function gone",
    "kept": "your edits are kept",
    "conflicts": "changed by you and in the API, yours is kept",
    "removed": "edited, but its function is gone; it is now in .init/removed",
}
app = typer.Typer()
domain_app = typer.Typer(help="Create, check, fit, derive and convert domains.", no_args_is_help=True)
app.add_typer(domain_app, name="domain")


@domain_app.command("init")
@with_exit_codes
def domain_init(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="An OpenAPI document, a tool list (MCP, OpenAI, Anthropic, Gemini, Berkeley), a Python file, an http "
            "address, or mcp:COMMAND.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to create or to update.", show_default=False)],
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="A,B", help="Only these functions; accepts patterns such as get_*."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="A,B", help="Not these functions; accepts patterns.")
    ] = None,
    deprecated: Annotated[bool, typer.Option("--deprecated", help="Also those that the API calls deprecated.")] = False,
    statistics: Annotated[
        Path | None,
        typer.Option(
            "--statistics",
            metavar="FILE",
            help="Population statistics (docs/domains.md) in place of defaults.",
            show_default=False,
        ),
    ] = None,
    languages: Annotated[
        list[str] | None,
        typer.Option(
            "--languages",
            metavar="de,it",
            help="Also make names, places and days of these languages.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a domain of an API's description.

    It passes `domain check`, comes with a run config, and is meant to be edited; see docs/your-api.md.
    """
    made = init_domain(
        source,
        out,
        include=listed(include or []),
        exclude=listed(exclude or []),
        deprecated=deprecated,
        statistics=statistics,
        languages=listed(languages or []),
    )
    if as_json:
        print_json({**asdict(made), "path": str(made.path)})
        return
    put(
        f"{made.path}: {len(made.functions)} functions of {made.form}, {made.templates} templates, "
        f"{len(made.values)} value lists with {sum(made.values.values()):,} values"
    )
    for name, why in made.left_out.items():
        put(f"left out: {name}: {why}")
    for name, why in made.silent.items():
        put(f"not said: {name}: {why}")
    for note in made.notes:
        put(f"note: {note}")
    for warning in made.warnings:
        put(f"warning: {warning}")
    if made.changes is not None:
        for what, names in asdict(made.changes).items():
            for name in names:
                put(f"{_CHANGES[what]}: {name}")
        if not any(asdict(made.changes).values()):
            put("nothing was edited, and the functions are the same")
    put(f"next: {command_line('run', made.path / 'run.yaml', '--until', 'merge')}")


@domain_app.command("check")
@with_exit_codes
def domain_check(
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", help="Also count the tokens of rows, by this model's tokenizer alone."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report errors and suspicious content in a domain."""
    found = inspect_domain(find_domain(str(directory)))
    if model is not None:
        today = found.domain.today
        rows = drawn_rows(found.draws)
        if today is not None:
            rows = [(asked(query, today.from_.isoformat()), calls) for query, calls in rows]
        lengths = row_lengths(found.domain.tools(), rows, load_tokenizer(model))
        found.facts |= {f"tokens of the longest rows drawn ({each.style})": each.total for each in lengths}
        found.warnings += length_warnings(found.domain, lengths)
    if as_json:
        print_json({"domain": found.domain.name, "facts": found.facts, "warnings": found.warnings})
        return
    put(f"{found.domain.title}: " + ", ".join(f"{count:,} {name}" for name, count in found.facts.items()))
    for warning in found.warnings:
        put(f"warning: {warning}")
    put("no errors")


@domain_app.command("fit")
@with_exit_codes
def domain_fit(
    directory: Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain whose API the queries are for.")],
    queries: Annotated[
        Path, typer.Argument(metavar="FILE", help="A file that `golden import` reads; calls are optional.")
    ],
    form: QueriesFormat = None,
    answers: Answers = None,
    out: Annotated[Path | None, typer.Option("--out", help="File to write. Default: stdout.")] = None,
    min_count: Annotated[int, typer.Option("--min-count", help="Cells with fewer queries are pooled.")] = 10,
    epsilon: Annotated[
        float | None, typer.Option("--epsilon", help="Differential privacy budget. Default: exact counts.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit population statistics to a sample of real queries.

    Only shares are written; no query is kept.
    """
    if out is not None:
        check_file(out, "--out")
    domain = load_domain(find_domain(directory))
    found = fit(domain, queries, form=form, answers=answers, min_count=min_count, epsilon=epsilon)
    text = render(found, domain, min_count=min_count, epsilon=epsilon)
    if out is not None:
        write_atomic(out, text)
    if as_json:
        print_json(asdict(found))
        return
    if out is None:
        # Redirected, it is a file of data and stays as it is.
        put(text, end="") if sys.stdout.isatty() else print(text, end="")
    for line in found.summary():
        put(line, err=True)
    put("the statistics are on stdout" if out is None else f"the statistics are in {out}", err=True)


@domain_app.command("derive")
@with_exit_codes
def domain_derive(
    directory: Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain to start from.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to create.", show_default=False)],
    languages: Annotated[
        list[str] | None,
        typer.Option("--languages", metavar="EN,DE", help="Keep only these of the domain's languages."),
    ] = None,
    only_used: Annotated[bool, typer.Option("--only-used", help="Only functions with a share.")] = False,
    templates: Annotated[
        list[str] | None,
        typer.Option("--templates", metavar="A,B", help="Only these templates; accepts patterns such as basic_*."),
    ] = None,
    routes: Annotated[
        list[str] | None,
        typer.Option("--routes", metavar="ROUTE=SHARE,...", help="Shares of the routes, for all functions."),
    ] = None,
    flat: Annotated[bool, typer.Option("--flat", help="No population statistics: everything equally likely.")] = False,
    boost: Annotated[
        list[str] | None,
        typer.Option("--boost", metavar="FUNCTION.CATEGORY=FACTOR,...", help="Request these more often."),
    ] = None,
    functions: Annotated[
        int | None,
        typer.Option("--functions", help="Change the number of functions: fewer, or whole families of them."),
    ] = None,
    without_topics: Annotated[
        list[str] | None,
        typer.Option("--without-topics", metavar="A,B", help="Leave out these topics of rows without a call."),
    ] = None,
    golden: Annotated[
        Path | None, typer.Option("--golden", help="Golden file to relabel instead of the domain's own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Derive a domain from another by rules.

    Experiments use it to make their arms; see docs/domains.md.
    """
    asked = {
        "languages": None if languages is None else listed(languages),
        "only_used": only_used,
        "templates": None if templates is None else listed(templates),
        "routes": None if routes is None else _numbers(routes, "routes"),
        "flat": flat,
        "boost": _numbers(boost or [], "boost"),
        "functions": functions,
        "without_topics": listed(without_topics or []),
        "golden": golden,
    }
    made = derive(find_domain(directory), out, parse_model(DeriveOptions, asked, None))
    if as_json:
        print_json(
            {
                **asdict(made),
                "path": str(made.path),
                "families": None if made.families is None else made.families.as_list(),
            }
        )
        return
    dropped = f" ({made.dropped:,} left out with their functions)" if made.dropped else ""
    put(
        f"{made.path}: {len(made.functions)} functions, {made.templates} templates, "
        f"{made.golden:,} golden queries{dropped}"
    )
    for note in made.notes:
        put(f"note: {note}")


@domain_app.command("draft")
@with_exit_codes
def domain_draft(
    directory: Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain to add to.", show_default=False)],
    model: Annotated[
        str,
        typer.Option("--model", metavar="PROFILE", help="A profile in configs/model, or a YAML file: its generator."),
    ],
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kinds",
            metavar="A,B",
            help=f"Only some of {', '.join(KINDS)}; with --translate of {', '.join(TRANSLATED)}.",
        ),
    ] = None,
    translate: Annotated[
        str,
        typer.Option(
            "--translate",
            metavar="CODE",
            help="Propose what the language with this code (de) lacks: labels, words, phrases, values, patterns.",
        ),
    ] = "",
    functions: Annotated[
        list[str] | None, typer.Option("--functions", metavar="A,B", help="Only for these functions.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=64, help="Proposals for each prompt.")] = 8,
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives other proposals.")] = 0,
    cache: Cache = Path(".cache"),
    as_json: AsJson = False,
) -> None:
    """Let a language model propose values, patterns, paraphrases and topics without a call.

    What passes the checks is kept in files of its own: read them, and delete what is wrong; see docs/your-api.md.
    """

    def progress(done: int, every: int, made: Drafted) -> None:
        kept = sum(bool(each.kept) for each in made.proposals)
        put(f"{done} of {every} prompts answered, {kept} of {len(made.proposals)} proposals kept", err=True)

    made = draft(
        find_domain(directory),
        generator_of(model),
        cache,
        kinds=listed(kinds or []),
        functions=listed(functions or []),
        count=count,
        seed=seed,
        translate=translate,
        progress=progress,
    )
    if as_json:
        print_json(
            {
                "prompts": made.prompts,
                "files": [str(file) for file in made.files],
                "proposals": [each._asdict() for each in made.proposals],
            }
        )
        return
    for kind, (kept, every) in made.counts().items():
        put(f"{kind}: {kept} of {every} proposals kept")
    for reason, times in Counter(each.reason.split(":")[0] for each in made.proposals if each.reason).most_common():
        put(f"refused: {times} ({reason})")
    for file in made.files:
        put(f"review, and delete what is wrong: {file}")


@domain_app.command("convert")
@with_exit_codes
def domain_convert(directory: Annotated[Path, typer.Argument(metavar="DIR", show_default=False)]) -> None:
    """Rewrite a domain's templates: one file for each function and route.

    Replaces files of one template each (.txt, .j2), which earlier versions read.
    """
    domain = find_domain(str(directory))
    templates, files = convert_templates(domain)
    put(f"{domain}: {templates} templates are now in {files} files")


def _numbers(values: list[str], key: str) -> dict[str, str]:
    """Parse NAME=NUMBER,... to a mapping; the numbers are validated where they are used."""
    pairs = {}
    for item in listed(values):
        name, equals, number = item.rpartition("=")
        if not equals:
            raise InputError("missing value", key=f"--{key}", found=item, expected="NAME=NUMBER")
        pairs[name] = number
    return pairs
