"""Commands for golden sets: import, join, hide, split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routenator.authoring.formats import FORMATS
from routenator.authoring.goldenhide import hide_called
from routenator.authoring.goldenjoin import join_golden
from routenator.authoring.goldenset import import_golden
from routenator.authoring.records import Source
from routenator.compose import find_domain
from routenator.domain.golden import split_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.files import check_file, write_atomic
from routenator.language import is_language
from routenator.terminal import put
from slurm.commands.shared import AsJson, listed, print_json, with_exit_codes

app = typer.Typer()
golden_app = typer.Typer(help="Import, join, hide and split golden sets.", no_args_is_help=True)
app.add_typer(golden_app, name="golden")

QueriesFormat = Annotated[
    str | None,
    typer.Option("--format", help=f"One of {', '.join(FORMATS)}. Default: recognised.", show_default=False),
]
Domain = Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain whose API the queries are for.")]
Golden = Annotated[Path, typer.Argument(metavar="GOLDEN.jsonl", help="A golden file.")]
Answers = Annotated[
    Path | None,
    typer.Option("--answers", help="For bfcl: the possible answers. Default: found beside FILE.", show_default=False),
]


@golden_app.command("import")
@with_exit_codes
def golden_import(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Labelled queries, in one file or several; a folder for snips and hwu64.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="The golden file to write.", show_default=False)],
    form: QueriesFormat = None,
    domain: Annotated[
        str | None, typer.Option("--domain", help="Leave out calls that this domain's API refuses.", show_default=False)
    ] = None,
    answers: Answers = None,
    part: Annotated[
        str, typer.Option("--part", help="For snips: validate (used in publications), train or train_full.")
    ] = "validate",
    no_call: Annotated[
        list[str] | None,
        typer.Option(
            "--no-call",
            metavar="A,B",
            help="Only queries that call these functions, as queries that want no call: your API lacks them.",
        ),
    ] = None,
    languages: Annotated[
        list[str] | None,
        typer.Option(
            "--languages",
            metavar="EN,DE",
            help="Language of each FILE, in the same order. Queries with the same id are then translations.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a golden file of queries and calls in another format.

    A query may have one call, several, or none. What cannot be used is left out, and counted by reason.
    """
    check_file(out, "OUT.jsonl")
    spoken: list[str | None] = [*languages_of(languages, sources)] or [None] * len(sources)
    functions = load_domain(find_domain(domain)).functions if domain is not None else None
    given = [Source(file, functions, answers, part, language) for file, language in zip(sources, spoken, strict=True)]
    made = import_golden(given, out, form, listed(no_call or []))
    if as_json:
        print_json({"format": made.format, "written": made.written, "left_out": made.left.counts(), "out": str(out)})
        return
    put(f"{made.written:,} queries written to {out} (read as {made.format})")
    for line in made.left.lines():
        put(line)


def languages_of(languages: list[str] | None, sources: list[Path]) -> list[str]:
    """The language of each file; empty if none is given.

    Raises:
        InputError: not a language code, or not one for each file.
    """
    codes = listed(languages or [])
    for code in codes:
        if not is_language(code):
            raise InputError(
                "not a language code", key="--languages", found=code, expected="a code such as de or pt-BR"
            )
    if codes and len(codes) != len(sources):
        raise InputError(
            "not one language for each file",
            key="--languages",
            found=", ".join(codes),
            expected=f"{len(sources)} codes",
        )
    return codes


@golden_app.command("join")
@with_exit_codes
def golden_join(
    domain: Domain,
    golden: Golden,
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="The golden file to write.")],
    pairs: Annotated[int, typer.Option("--pairs", help="Number of queries to make.", min=1)] = 400,
    seed: Annotated[int, typer.Option("--seed", help="Another seed draws other pairs.", min=0)] = 0,
) -> None:
    """Make queries of two calls by joining golden queries of one.

    Pairs queries of different functions, by connectives that no training row has.
    """
    check_file(out, "OUT.jsonl")
    lines = join_golden(golden, load_domain(find_domain(domain)).functions, pairs, seed)
    _write(out, lines)


@golden_app.command("hide")
@with_exit_codes
def golden_hide(
    domain: Domain,
    golden: Golden,
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="The golden file to write.")],
    queries: Annotated[int, typer.Option("--queries", help="Number of queries to draw.", min=1)] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Another seed draws other queries.", min=0)] = 0,
) -> None:
    """Take the called function away from golden queries.

    Each query's prompt then shows all functions but the one it asks for, so it wants no call. Only for models with the
    prompt `tools`, which shows functions.
    """
    check_file(out, "OUT.jsonl")
    lines = hide_called(golden, load_domain(find_domain(domain)).functions, queries, seed)
    _write(out, lines)


@golden_app.command("split")
@with_exit_codes
def golden_split(
    domain: Domain,
    golden: Golden,
    first: Annotated[Path, typer.Argument(metavar="FIRST.jsonl", help="One part, for error analysis.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND.jsonl", help="The rest, for reported scores.")],
    share: Annotated[float, typer.Option("--share", help="Share of the first part.", min=0.0, max=1.0)] = 0.5,
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives another split.", min=0)] = 0,
) -> None:
    """Split a golden file into two parts, alike in content.

    Both have the same mix of functions and content types, so that you can tune on one and test on the other.
    """
    check_file(first, "FIRST.jsonl")
    check_file(second, "SECOND.jsonl")
    if first.resolve() == second.resolve():
        raise InputError(
            "both parts would be written to the same file", key="SECOND.jsonl", found=second, expected="another file"
        )
    parts = split_golden(golden, load_domain(find_domain(domain)).functions, share, seed)
    for file, lines in zip((first, second), parts, strict=True):
        _write(file, lines)


def _write(file: Path, lines: list[str]) -> None:
    write_atomic(file, "".join(line + "\n" for line in lines))
    put(f"{len(lines):,} queries written to {file}")
