"""The command `preview`: shows rows of a run without running it, or has a person grade them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from routenator.authoring.grading import Item, add_verdict, mixed, read_verdicts, shares
from routenator.errors import InputError
from routenator.files import check_file
from routenator.routes import ROUTES
from routenator.terminal import put
from slurm.commands.runs import compose_plan
from slurm.commands.shared import AsJson, Config, Overrides, console_for_output, print_json, with_exit_codes
from slurm.preflight.preview import preview as preview_rows
from slurm.preflight.preview import print_preview

app = typer.Typer()


@app.command()
@with_exit_codes
def preview(
    config: Config,
    overrides: Overrides = None,
    count: Annotated[int, typer.Option("--n", min=1, help="Number of rows.")] = 20,
    route: Annotated[str | None, typer.Option("--route", help=f"Only rows of this route: {', '.join(ROUTES)}.")] = None,
    template: Annotated[
        str | None, typer.Option("--template", help="Only rows of this template, such as text/persona.")
    ] = None,
    prompts: Annotated[bool, typer.Option("--prompts/--no-prompts", help="Show the prompts.")] = True,
    grade: Annotated[
        Path | None,
        typer.Option(
            "--grade", metavar="FILE", help="Judge rows one by one, mixed with people's queries; verdicts go to FILE."
        ),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(
            "--people", metavar="FILE", help="With --grade: a file of people's queries that `golden import` reads."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the first rows of a run without running it.

    Shows prompts, raw replies and the results of the checks. Submits nothing, and writes nothing but verdicts.
    """
    if (grade is None) != (people is None):
        given, missing = ("--people", "--grade") if grade is None else ("--grade", "--people")
        raise InputError("these options go together", key=given, found="alone", expected=f"{missing} FILE too")
    if grade is not None:
        check_file(grade, "--grade")
    resolved = compose_plan(config, overrides, submitting=False).config
    rows = preview_rows(resolved, count, route, template)
    if grade is not None and people is not None:
        accepted = [Item(row["route"], row["query"]) for row in rows if row["accepted"]]
        _grade(mixed(accepted, people, resolved.seed), grade, as_json)
    elif as_json:
        print_json(rows)
    else:
        print_preview(rows, console_for_output(), prompts)


def _grade(items: Sequence[Item], file: Path, as_json: bool) -> None:
    """Ask for verdicts on what has none yet, and print the shares of all."""
    known = read_verdicts(file)
    todo = [item for item in items if item.id not in known]
    if todo:
        put(
            f"{len(todo)} queries to judge, {len(items) - len(todo)} judged before. Would a person write this?",
            err=True,
        )
        put("y: yes, n: no, q: stop; the same command continues from there", err=True)
    answers = _answers()
    for number, item in enumerate(todo, len(items) - len(todo) + 1):
        put(f"\n{number} of {len(items)}   {item.query}", err=True)
        answer = next(answers)
        if answer == "q":
            break
        add_verdict(file, item, answer == "y")
    found = shares(read_verdicts(file))
    if as_json:
        print_json({source: {"good": good, "judged": every} for source, (good, every) in found.items()})
        return
    for source, (good, every) in found.items():
        put(f"{source:12} {good:4} of {every:4} good  {good / every:6.1%}")


def _answers() -> Iterator[str]:
    """Keys on a terminal, else lines of standard input; ``q`` at the end. Others are asked again."""
    while True:
        text = typer.getchar() if sys.stdin.isatty() else sys.stdin.readline()
        answer = text.strip().lower()[:1] if text else "q"
        if answer in ("y", "n", "q"):
            yield answer
        elif answer:
            put("y, n or q", err=True)
