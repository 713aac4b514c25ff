"""Completes a domain's statistics: fills in what follows from a joint distribution and from quantiles, so that the rest
of the program finds every table it reads.

``statistics.yaml`` may give the population as marginals and conditionals, or as one table of cells (function, category,
length, language, share), either inline or in a CSV or Parquet file next to it. ``resolve`` reads the cells and derives
the marginals. Marginals that are also given must agree, within ``TOLERANCE``.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from routenator.domain.domain import Domain
from routenator.domain.joint import Joint
from routenator.domain.quantiles import with_lengths
from routenator.domain.schema import NO_CATEGORY, JointCell, Statistics
from routenator.errors import InputError, InputErrors
from routenator.files import read_text

TOLERANCE = 0.01  # shares given twice may differ by this much, as they are often written with two digits
COLUMNS = ("function", "category", "length", "language", "share")
_SHOWN = 20


def resolve(domain: Domain) -> Domain:
    """Complete a domain's statistics: marginals from a joint distribution, length shares from word quantiles.

    Raises:
        InputError / InputErrors: a cell with a name that the domain does not have, or contradictory tables.
    """
    file, statistics = domain.path / "statistics.yaml", domain.statistics
    if statistics.joint is None:
        return dataclasses.replace(domain, statistics=with_lengths(statistics, file))
    joint = _read(domain, statistics, file)
    derived = _marginals(domain, joint)
    errors = list(_contradictions(statistics, derived, domain, joint, file))
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors[:_SHOWN])
    slots = {name: {**statistics.slots.get(name, {}), **table} for name, table in derived.pop("slots").items()}
    complete = {**derived, "slots": {**statistics.slots, **slots}, "word_quantiles": statistics.word_quantiles}
    return dataclasses.replace(domain, statistics=statistics.model_copy(update=complete), joint=joint)


def _read(domain: Domain, statistics: Statistics, file: Path) -> Joint:
    cells = (
        _listed(statistics.joint, file)
        if isinstance(statistics.joint, list)
        else _tabled(domain.path, str(statistics.joint), file)
    )
    joint, errors, seen = Joint(), [], set()
    for where, source, cell in cells:
        try:
            _check_cell(domain, statistics, cell, source, where)
            key = (cell.function, cell.category, cell.length, cell.language)
            if key in seen:
                raise InputError("duplicate cell", file=source, key=where, found=" x ".join(key))
            seen.add(key)
            if cell.share > 0:
                table = joint.weights.setdefault(cell.function, {}).setdefault(cell.category, {})
                table[cell.length, cell.language] = cell.share
        except InputError as error:
            errors.append(error)
            if len(errors) >= _SHOWN:
                break
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors)
    if not joint.weights:
        raise InputError(
            "all weights are zero", file=file, key="joint", found="no cell above 0", expected="at least one above 0"
        )
    return joint


def _listed(cells: list[JointCell], file: Path) -> Iterator[tuple[str, Path, JointCell]]:
    for number, cell in enumerate(cells):
        yield f"joint[{number}]", file, cell


def _tabled(root: Path, name: str, file: Path) -> Iterator[tuple[str, Path, JointCell]]:
    """Cells of a CSV or Parquet file in the domain's folder; fingerprints and snapshots cover no other folder."""
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(
            "this file is outside the domain's folder", file=file, key="joint", found=name, expected=f"a file in {root}"
        )
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(
            "unsupported file type", file=file, key="joint", found=name, valid=["joint.csv", "joint.parquet"]
        )
    rows = _csv_rows(path) if path.suffix == ".csv" else _parquet_rows(path)
    for where, row in rows:
        try:
            share = float(row["share"])
        except (TypeError, ValueError):
            share = math.nan
        if not (math.isfinite(share) and share >= 0):
            raise InputError(
                "invalid share", file=path, key=f"{where}, share", found=row["share"], expected="a number, 0 or more"
            )
        function, category, length, language = (str(row[key] or "") for key in COLUMNS[:-1])
        yield (
            where,
            path,
            JointCell.model_construct(
                None, function=function, category=category, length=length, language=language, share=share
            ),
        )


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with io.StringIO(read_text(path, "CSV with " + ", ".join(COLUMNS)), newline="") as handle:
        reader = csv.DictReader(handle, restval="")
        _check_columns(path, list(reader.fieldnames or []))
        for row in reader:
            yield f"line {reader.line_num}", row


def _parquet_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError("file not found", file=path, expected="Parquet with " + ", ".join(COLUMNS))
    try:
        with pq.ParquetFile(path) as handle:
            _check_columns(path, handle.schema_arrow.names)
            for number, row in enumerate(handle.read(columns=list(COLUMNS)).to_pylist(), 1):
                yield f"row {number}", row
    except pa.ArrowException as error:
        raise InputError(
            "not Parquet", file=path, found=str(error)[:120], expected="Parquet with " + ", ".join(COLUMNS)
        ) from None


def _check_columns(path: Path, found: list[str]) -> None:
    missing = [column for column in COLUMNS if column not in found]
    if missing:
        raise InputError("missing column", file=path, found=", ".join(found), expected=missing[0])


def _check_cell(domain: Domain, statistics: Statistics, cell: JointCell, file: Path, where: str) -> None:
    if cell.function not in domain.functions:
        raise InputError(
            "the API has no such function",
            file=file,
            key=f"{where}, function",
            found=cell.function,
            valid=domain.functions,
        )
    if cell.function not in domain.rules:
        raise InputError(
            "this function has no rule in domain.yaml",
            file=file,
            key=f"{where}, function",
            found=cell.function,
            valid=domain.rules,
        )
    valid = domain.categories_of(cell.function)
    if cell.category not in valid:
        what = "this function has no categories" if valid == [NO_CATEGORY] else "the API has no such category"
        raise InputError(what, file=file, key=f"{where}, category", found=cell.category, valid=valid)
    if cell.length not in statistics.length_buckets:
        raise InputError(
            "undeclared length bucket",
            file=file,
            key=f"{where}, length",
            found=cell.length,
            valid=statistics.length_buckets,
        )


def _marginals(domain: Domain, joint: Joint) -> dict[str, Any]:
    functions = joint.functions()
    languages: dict[str, float] = {}
    categories: dict[str, dict[str, float]] = {}
    slots: dict[str, dict[str, float]] = {}
    for function, share in functions.items():
        for language, part in joint.languages(function).items():
            languages[language] = languages.get(language, 0.0) + share * part
        table = joint.categories(function)
        absent = table.pop(NO_CATEGORY, 0.0)
        if domain.rules[function].category is not None:
            categories[function] = table
            parameter = domain.functions[function].category
            if parameter in domain.rules[function].slots and parameter not in domain.functions[function].required:
                slots[function] = {str(parameter): 1.0 - absent}
    lengths = {function: joint.lengths(function) for function in functions}
    return {
        "functions": functions,
        "languages": languages,
        "categories": categories,
        "lengths": lengths,
        "slots": slots,
    }


def _contradictions(
    statistics: Statistics, derived: Mapping[str, Any], domain: Domain, joint: Joint, file: Path
) -> Iterator[InputError]:
    """Tables given in addition to the joint distribution that contradict it."""
    given = statistics.model_fields_set
    for section in ("functions", "languages"):
        if section in given:
            yield from _differences(getattr(statistics, section), derived[section], section, file)
    for section in ("categories", "lengths"):
        for function, table in getattr(statistics, section).items():
            yield from _differences(table, derived[section].get(function, {}), f"{section}.{function}", file)
    for function, table in derived["slots"].items():
        for slot, share in table.items():
            stated = statistics.slots.get(function, {}).get(slot, share)
            if abs(stated - share) > TOLERANCE:
                yield _contradiction(f"slots.{function}.{slot}", stated, share, file)


def _differences(
    stated: Mapping[str, float], derived: Mapping[str, float], key: str, file: Path
) -> Iterator[InputError]:
    total = math.fsum(stated.values())
    whole = math.fsum(derived.values())
    for name in {**stated, **derived}:
        here = stated.get(name, 0.0) / total if total else 0.0
        there = derived.get(name, 0.0) / whole if whole else 0.0
        if abs(here - there) > TOLERANCE:
            yield _contradiction(f"{key}.{name}", here, there, file)


def _contradiction(key: str, here: float, there: float, file: Path) -> InputError:
    return InputError(
        "the statistics contradict each other", file=file, key=key, found=f"{here:.4f}, and {there:.4f} in joint",
        expected=f"the same share, within {TOLERANCE:g}; or omit the key, since joint implies it",
    )  # fmt: skip
