"""Commands about domains and golden sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from routenator.files import check_writable
from slurm.commands.shared import AsJson, honest, print_json

domain_app = typer.Typer(help="Domains: one product API as files (docs/domains.md).", no_args_is_help=True)
golden_app = typer.Typer(help="Golden sets: human queries with gold calls.", no_args_is_help=True)
import_app = typer.Typer(help="Golden sets from public benchmarks.", no_args_is_help=True)
golden_app.add_typer(import_app, name="import")


@domain_app.command("check")
@honest
def domain_check(directory: Annotated[Path, typer.Argument(metavar="DIR")], as_json: AsJson = False) -> None:
    """What is wrong with a domain, and what is suspicious."""
    from routenator.compose import find_domain
    from routenator.domain.check import inspect_domain

    found = inspect_domain(find_domain(str(directory)))
    if as_json:
        print_json({"domain": found.domain.name, "facts": found.facts, "warnings": found.warnings})
        return
    typer.echo(f"{found.domain.title}: " + ", ".join(f"{count:,} {name}" for name, count in found.facts.items()))
    for warning in found.warnings:
        typer.echo(f"warning: {warning}")
    typer.echo("no errors")


@import_app.command("snips")
@honest
def golden_import_snips(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The benchmark's folder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="The golden file to write.")],
) -> None:
    """The SNIPS benchmark as a golden set of the domain `assistant`."""
    from routenator.domain.snips import import_snips

    check_writable(out, "OUT.jsonl")
    count, repeated = import_snips(directory, out)
    typer.echo(f"{count:,} queries written to {out}" + (f", {repeated} left out that say what an earlier one says" if repeated else ""))
