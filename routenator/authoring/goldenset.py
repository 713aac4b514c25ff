"""Makes golden examples of other tools' files, and counts what is left out, by reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from routenator.authoring.formats import FORMATS, format_of
from routenator.authoring.records import REASONS, Record, Source
from routenator.domain.functions import Function
from routenator.domain.golden import MOST_CALLS, check_accepted, golden_line
from routenator.errors import InputError
from routenator.files import write_atomic
from routenator.jsontext import dump_line
from routenator.normalform import normal_form

_SHOWN = 3


@dataclass
class LeftOut:
    """Records left out: reason -> their places in the file."""

    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, place: str) -> None:
        self.places.setdefault(reason, []).append(place)

    def counts(self) -> dict[str, int]:
        """Reason -> records, the most common first."""
        return dict(
            sorted(((reason, len(places)) for reason, places in self.places.items()), key=lambda item: -item[1])
        )

    def lines(self) -> list[str]:
        """A line for each reason: count, meaning, and the first places."""
        return [
            f"left out: {count:,} {reason} ({REASONS[reason]}): "
            + ", ".join(self.places[reason][:_SHOWN])
            + (", ..." if count > _SHOWN else "")
            for reason, count in self.counts().items()
        ]


def records_of(source: Source, forced: str | None) -> tuple[str, Iterator[Record]]:
    """The name of a source's format, and its records.

    Raises:
        InputError: as ``format_of``; while reading: what is not of the format.
    """
    name = format_of(source, forced)
    return name, FORMATS[name].read(source)


def usable(
    records: Iterable[Record], left: LeftOut, functions: Mapping[str, Function] | None, at: str = ""
) -> Iterator[Record]:
    """Yield the records that can be used; their calls are None where the file does not say any.

    Args:
        left: gets the others.
        functions: the API that calls must satisfy; None: any calls will do.
        at: put before a record's place, where there are several files.
    """
    for record in records:
        reason = record.problem or _reason(record, functions)
        if reason == "unknown function":
            unknown = next(call.name for call in record.calls or () if call.name not in (functions or ()))
            left.add(reason, f"{at}{record.place} ({unknown})")
        elif reason:
            left.add(reason, at + record.place)
        else:
            yield record


def _reason(record: Record, functions: Mapping[str, Function] | None) -> str | None:
    if not record.query.strip():
        return "no query"
    if len(record.calls or ()) > MOST_CALLS:
        return "too many calls"
    if record.calls is None or functions is None:
        return None
    if any(call.name not in functions for call in record.calls):
        return "unknown function"
    return "schema" if any(check_accepted(functions[call.name], call) for call in record.calls) else None


@dataclass(frozen=True)
class Imported:
    """What an import wrote.

    Attributes:
        format: the files' format, or formats.
        written: queries written.
    """

    format: str
    written: int
    left: LeftOut


def import_golden(
    sources: Sequence[Source], out: Path, forced: str | None = None, no_call: Collection[str] = ()
) -> Imported:
    """Write a golden file of the queries of other files whose right calls are known.

    With ``functions`` of a source, calls that violate the API are left out. Of queries with the same normal form the
    first is kept. Queries whose language is known keep the id that joins them to their translations.

    Args:
        forced: the format; None: recognise each file's.
        no_call: write only the queries that call one of these functions, as queries that want no call.

    Raises:
        InputError: what is not of the format, or no query to write; nothing is written then.
    """
    left, seen, lines, names = LeftOut(), set(), [], list[str]()
    called: set[str] = set()
    for source in sources:
        name, records = records_of(source, forced)
        names.append(name)
        at = f"{source.file.name}, " if len(sources) > 1 else ""
        for record in usable(records, left, None if no_call else source.functions, at):
            called.update(call.name for call in record.calls or ())
            key = normal_form(record.query)
            if record.calls is None:
                left.add("no answer", at + record.place)
            elif no_call and not any(call.name in no_call for call in record.calls):
                left.add("other function", at + record.place)
            elif key in seen:
                left.add("duplicate", at + record.place)
            else:
                seen.add(key)
                lines.append(dump_line(_line(record, source.language, no_call)) + "\n")
    files = ", ".join(str(source.file) for source in sources)
    for function in no_call:
        if function not in called:
            raise InputError("no query calls this function", file=files, found=function, valid=called)
    if not lines:
        raise InputError(
            "no query to import",
            file=files,
            found="; ".join(left.lines()) or "no queries",
            expected="queries whose calls are known",
        )
    write_atomic(out, "".join(lines))
    return Imported(", ".join(dict.fromkeys(names)), len(lines), left)


def _line(record: Record, language: str | None, no_call: Collection[str]) -> dict[str, Any]:
    """A record's golden line. Without a language, an id is of another tool and joins no translations."""
    spoken = language or record.language
    calls = () if no_call else record.calls or ()
    identity = None if spoken is None else record.id
    return golden_line(record.query, calls, record.today, language=spoken, identity=identity)
