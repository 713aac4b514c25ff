"""Commands for golden sets: import, split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routenator.authoring.snips import import_snips
from routenator.compose import find_domain
from routenator.domain.golden import split_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.files import check_file, write_atomic
from routenator.terminal import put
from slurm.commands.shared import with_exit_codes

app = typer.Typer()
golden_app = typer.Typer(help="Import and split golden sets.", no_args_is_help=True)
import_app = typer.Typer(help="Golden sets from public benchmarks.", no_args_is_help=True)
app.add_typer(golden_app, name="golden")
golden_app.add_typer(import_app, name="import")


@import_app.command("snips")
@with_exit_codes
def golden_import_snips(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The benchmark's folder, such as 2017-06-custom-intent-engines.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="The golden file to write.")],
    part: Annotated[
        str, typer.Option("--part", help="validate (used in publications), train or train_full.")
    ] = "validate",
) -> None:
    """Import SNIPS as a golden set for the domain `assistant`."""
    check_file(out, "OUT.jsonl")
    count, repeated = import_snips(directory, out, part)
    put(f"{count:,} queries written to {out}" + (f"; {repeated} duplicates were left out" if repeated else ""))


@golden_app.command("split")
@with_exit_codes
def golden_split(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="The domain whose API the queries are for.")],
    golden: Annotated[Path, typer.Argument(metavar="GOLDEN.jsonl", help="A golden file.")],
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
        write_atomic(file, "".join(line + "\n" for line in lines))
        put(f"{len(lines):,} queries written to {file}")
