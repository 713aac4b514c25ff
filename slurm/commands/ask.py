"""The command `ask`: a trained model's calls for a query."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from routenator.dataset.files import split_files
from routenator.domain.calls import Call
from routenator.domain.dates import asked, is_day
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.evaluation.baselines import read_examples
from routenator.evaluation.nearest import Near, Neighbours
from routenator.handoff.asking import Answer, Asker
from routenator.terminal import put
from slurm.commands.shared import Cache, with_exit_codes
from slurm.commands.trained import Base, Trained, find_trained

app = typer.Typer()
_NEAREST = 3  # training examples shown
_LONGEST = 10_000  # characters of a query


@app.command()
@with_exit_codes
def ask(
    run: Trained,
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="QUERY", help="Default: each line of standard input; on a terminal, a prompt.", show_default=False
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also show the prompt, the reply without restrictions, and training examples."),
    ] = False,
    today: Annotated[
        str | None,
        typer.Option(
            "--today",
            metavar="DATE",
            help="The day that the prompt states. Default: the present day if the run's domain has `today`, else none.",
            show_default=False,
        ),
    ] = None,
    base: Base = None,
    cache: Cache = Path(".cache"),
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each query, for scripts.")] = False,
) -> None:
    """Ask a trained model: the calls for a query.

    Calls are restricted to the API and its schemas. Exit code 1 if a reply cannot be used.
    """
    found = find_trained(run, base, cache)
    if query is not None:
        _check(query)
    if today is not None and not is_day(today):
        raise InputError("not a day", key="--today", found=today, expected="a day such as 2026-03-05")
    if today is None and found.run is not None and load_domain(found.run.domain_dir).today is not None:
        today = date.today().isoformat()
    known = None
    if explain:
        files = split_files(found.run.path / "dataset", "train") if found.run is not None else []
        known = Neighbours(read_examples(files))
    if sys.stderr.isatty():
        put(f"loading {found.model.card.base_model} with {found.model.adapter}", err=True)
    asker = Asker(found.model, found.settings.max_new_tokens)
    if not asker.held:
        put("calls are checked, not restricted: this model writes them without <tool_call> tags", err=True)
    failed = False
    try:
        for said in [query] if query is not None else _queries():
            answer = replace(asker.ask(asked(said, today)), query=said)
            failed |= answer.problem is not None
            reasons = {} if known is None else _explained(asker, said, today, known)
            if as_json:
                put(json.dumps({**answer.as_json(), **reasons}, ensure_ascii=False))
            else:
                _print(answer, reasons, heading=query is None and not sys.stdin.isatty())
    finally:
        asker.close()
    if failed:
        raise typer.Exit(1)


def _queries() -> Iterator[str]:
    """Yield the lines of standard input that hold a query; on a terminal, ask for them until an empty one."""
    if not sys.stdin.isatty():
        for line in sys.stdin:
            if line.strip():
                _check(line)
                yield line.strip()
        return
    while True:
        put("query> ", err=True, end="")
        line = sys.stdin.readline()
        if not line.strip():
            return
        yield line.strip()


def _check(query: str) -> None:
    if not query.strip():
        raise InputError("an empty query", key="QUERY", expected="what a user says")
    if len(query) > _LONGEST:
        raise InputError(
            "this query is too long", key="QUERY", found=f"{len(query):,} characters", expected=f"at most {_LONGEST:,}"
        )


def _explained(asker: Asker, query: str, today: str | None, known: Neighbours) -> dict[str, Any]:
    free = asker.ask(asked(query, today), free=True)
    return {
        "prompt": asker.prompt(asked(query, today)),
        "free_reply": free.reply,
        "free_calls": [call._asdict() for call in free.calls],
        "nearest": [_near(item) for item in known.nearest(query, _NEAREST)],
    }


def _near(item: Near) -> dict[str, Any]:
    calls = [call._asdict() for call in item.calls]
    return {"query": item.query, "calls": calls, "likeness": item.likeness}


def _print(answer: Answer, reasons: dict[str, Any], *, heading: bool) -> None:
    if heading:
        put(answer.query)
    indent = "  " if heading else ""
    if answer.problem is not None:
        put(f"{indent}no usable reply ({answer.problem}): {answer.reply.strip()}")
    for line in [answer.words] if answer.words is not None else _lines(answer.calls):
        put(f"{indent}{line}")
    if reasons:
        put("\nprompt")
        put(_indented(reasons["prompt"]))
        put("reply without restrictions")
        put(_indented(reasons["free_reply"]))
        put("nearest training examples (similarity of spelling, 0 to 1)")
        for near in reasons["nearest"]:
            put(f"  {near['likeness']:.2f}  {near['query']}")
            for line in _lines(Call(**call) for call in near["calls"]):
                put(f"        {line}")
        put("" if reasons["nearest"] else "  none has anything in common\n")


def _lines(calls: Iterable[Call]) -> list[str]:
    """A line for each call, such as ``search(kind="poster")``."""
    lines = []
    for call in calls:
        arguments = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items()]
        lines.append(f"{call.name}({', '.join(arguments)})")
    return lines


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.rstrip("\n").splitlines())
