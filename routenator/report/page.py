"""The HTML report: one self-contained file, made from summary.json and the rows of its listings.

All data is escaped, by Jinja2, by ``charts.element`` or as JSON: a query may contain HTML, which must show as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from routenator.dataset.distribution import STEPS
from routenator.report import charts
from routenator.report.layout import STYLE, TEMPLATE
from routenator.report.listing import Listing, listings_json
from routenator.report.script import POLICY, SCRIPT
from routenator.report.summary import EXPLAINED, METRICS, interval, rate_text, rejections, seconds_text
from routenator.report.table import languages_table, score_text

if TYPE_CHECKING:
    from markupsafe import Markup

_SERIES = {"target": "target", "requested": "requested", "accepted": "accepted", "final": "final"}
_SIDES = {"before": "before", "after": "after", "guided": "guided"}
_MADE_BY = {"adapter": "train", "scores": "evaluate", "predictions": "evaluate"}  # place -> stage
_NONE, _OTHER = "(none)", "(other)"  # labels of the confusion tables
_FUNCTIONS = 60  # rows of the table of functions, and of content types
_LOSING = 8  # rows of a dimension's table of acceptance rates
_CONFUSIONS = 12  # pairs listed below the matrix


def render(summary: Mapping[str, Any], listings: Mapping[str, Listing] | None = None) -> str:
    """Render the page.

    Args:
        summary: the value of summary.json; stages that have not finished may be missing from it.
        listings: ``failures`` and ``data``; those that are missing are left out.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(seconds=seconds_text, count=lambda value: f"{value:,}", score=_score, rate=rate_text)
    return environment.from_string(TEMPLATE).render(
        style=_trusted(STYLE),
        script=_trusted(SCRIPT),
        policy=POLICY,
        listings=listings or {},
        listings_json=listings_json(listings or {}),
        summary=summary,
        run=summary["run"],
        counts=summary["counts"],
        tiles=_tiles(summary),
        metrics={key: name for key, name in METRICS.items() if key in _shown(summary)},
        explained=EXPLAINED,
        sides=_present_sides(summary),
        score_chart=_score_chart(summary),
        steps_chart=_steps_chart(summary["counts"]),
        rejections=rejections(summary["counts"]),
        rejection_chart=_rejection_chart(summary["counts"]),
        dimensions=_dimensions(summary["distribution"]),
        distances=_distances(summary["distribution"]),
        joint=summary["distribution"]["joint"]["final"] if summary["distribution"] else None,
        hardest=summary["distribution"]["hardest"] if summary["distribution"] else [],
        words_chart=_words_chart(summary),
        positions=_positions(summary["positions"]),
        confusions=_confusions(summary),
        functions=_functions(summary),
        categories=_categories(summary),
        languages=languages_table(summary["scores"]),
        short=sorted((row for row in summary["deficits"] if row["missing"]), key=lambda row: -row["missing"]),
        errors=_errors(summary),
        loss_chart=_loss_chart(summary["training"]["steps"]),
        stage_chart=_stage_chart(summary["stages"]),
        places=_places(summary),
    )


def _places(summary: Mapping[str, Any]) -> dict[str, str]:
    """The paths of what the run has: one that ends with the data set has no adapter and no scores."""
    stages = {stage["stage"] for stage in summary["stages"]}
    return {name: place for name, place in summary["places"].items() if _MADE_BY.get(name, "merge") in stages}


def _score(value: Any) -> str:
    return score_text(value).replace(", ", ",\u00a0")  # a line may break before an interval, but not inside it


def _trusted(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)  # not data, and browsers do not unescape the text of a style or script element


def _shown(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    return summary["scores"]["after"] or summary["scores"]["before"] or {}


def _present_sides(summary: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {side: summary["scores"][side] for side in _SIDES if summary["scores"].get(side)}


def _tiles(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, figure, note) of each tile at the top of the page."""
    counts, scores = summary["counts"], summary["scores"]
    tiles = []
    for key in ("function_f1_macro", "cta", "ss", "exact_match"):
        after, before = (interval((scores[side] or {}).get(key)) for side in ("after", "before"))
        if after:
            tiles.append(
                (
                    METRICS[key],
                    f"{after[0]:.3f}",
                    (f"{before[0]:.3f} before training" if before else "after training")
                    + ("" if summary["scored_on"] == "golden set" else f"; {summary['scored_on']}"),
                )
            )
    if "final" in counts:
        note = f"{counts['train']:,} train, {counts['validation']:,} validation"
        tiles.append(("Examples", f"{counts['final']:,}", note))
    if counts["generated"]:
        tiles.append(
            ("Accepted", f"{counts['accepted'] / counts['generated']:.1%}", f"of {counts['generated']:,} candidates")
        )
    if summary["generate"].get("tokens_per_second"):
        speed = summary["generate"]["tokens_per_second"]
        tiles.append(("Generation", rate_text(speed), "tokens/s in one task"))
    tiles.append(("Time", seconds_text(summary["seconds"]), "all tasks together"))
    return tiles


def _score_chart(summary: Mapping[str, Any]) -> Markup | None:
    sides = _present_sides(summary)
    if not sides:
        return None
    baselines = summary["baselines"]
    rows = [
        (name, [interval(side.get(key)) for side in (*sides.values(), *baselines.values())])
        for key, name in METRICS.items()
        if key in _shown(summary)
    ]
    series = {side: _SIDES[side] for side in sides}
    series |= {f"baseline: {name}": f"base{number % 3}" for number, name in enumerate(baselines)}
    return charts.intervals("Scores with 95% intervals", rows, series)


def _steps_chart(counts: Mapping[str, Any]) -> Markup:
    steps = [step for step in ("requested", "generated", "accepted", "final") if step in counts]
    return charts.bars(
        "Rows at each step", [(step, [counts[step]]) for step in steps], {"rows": "final"}, style="count"
    )


def _rejection_chart(counts: Mapping[str, Any]) -> Markup | None:
    rows: list[tuple[str, list[float]]] = [(reason, [number]) for reason, number, _ in rejections(counts)]
    return charts.bars("Rejection reasons", rows, {"rows": "miss"}, style="count") if rows else None


def _dimensions(distribution: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if not distribution:
        return []
    shown = []
    for name, table in distribution["dimensions"].items():
        rows = [
            (row["name"], [row["target"], *(row[step]["share"] for step in ("requested", "accepted", "final"))])
            for row in table["rows"]
        ]
        chart = charts.bars(f"Distribution by {name}", rows, _SERIES)
        losing = [row for row in table["rows"] if row["acceptance"] and row["acceptance"]["value"] < 1]
        losing.sort(key=lambda row: row["acceptance"]["value"])
        shown.append(
            {
                "name": name,
                "chart": chart,
                "measures": table["measures"]["final"],
                "single": len(rows) == 1,
                "losing": losing[:_LOSING],
                "more": max(0, len(losing) - _LOSING),
            }
        )
    return shown


def _distances(distribution: Mapping[str, Any] | None) -> list[tuple[str, list[str]]]:
    """(dimension, figures) per dimension.

    The figures are total variation from the target at each step, total variation caused by the checks alone, and p and
    KL of the final set.
    """
    if not distribution:
        return []
    rows = []
    tables = {
        **distribution["dimensions"],
        "strata, against quotas": {"measures": distribution["joint"], "checks": None, "rows": [None] * 2},
    }
    for name, table in tables.items():
        if len(table["rows"]) < 2:
            continue
        steps = [table["measures"][step]["total_variation"] for step in STEPS]
        bent = (table["checks"] or {}).get("total_variation")
        final = table["measures"]["final"]
        p = f"{final['chi_square']['p']:.3f}" if final["chi_square"] else "-"
        kl = f"{final['kl']['value']:.4f}" if final["kl"] and final["kl"]["value"] is not None else "-"
        rows.append((name, [*(f"{step['value']:.4f}" if step else "-" for step in (*steps, bent)), p, kl]))
    return rows


def _words_chart(summary: Mapping[str, Any]) -> Markup | None:
    rows: list[tuple[str, str, Mapping[str, float]]] = []
    for function, row in summary["words"].items():
        rows.append((function, "final", row))
        if function in summary["golden_words"]:
            rows.append(("golden queries", "target", summary["golden_words"][function]))
    return charts.boxes("Words per query, by function", rows) if rows else None


def _positions(positions: Mapping[str, Any]) -> list[tuple[str, Markup, int]]:
    shown = []
    for function, table in positions.items():
        targets = all(row["target"] is not None for row in table["rows"])
        series = {"target": "target", "final": "final"} if targets else {"final": "final"}
        rows = [(row["name"], [row["target"], row["share"]] if targets else [row["share"]]) for row in table["rows"]]
        shown.append(
            (function, charts.bars(f"Where {function} queries mention the category", rows, series), table["absent"])
        )
    return shown


def _confusions(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    shown = []
    for side, scores in reversed(_present_sides(summary).items()):
        if side == "guided":
            continue
        confusion = scores.get("confusion")
        if not confusion or not confusion["labels"]:
            continue
        labels, counts = confusion["labels"], confusion["counts"]
        pairs = _confused(confusion)
        chart = charts.matrix(f"Confusion of functions {side} training", labels, counts)
        shown.append(
            {
                "side": side,
                "chart": chart,
                "pairs": pairs[:_CONFUSIONS],
                "errors": sum(pair[0] for pair in pairs),
                "none": _NONE in labels,
            }
        )
    return shown


def _confused(confusion: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    """(count, gold, predicted) of each confusion, most frequent first."""
    labels = confusion["labels"]
    pairs = [
        (number, labels[gold], labels[predicted])
        for gold, row in enumerate(confusion["counts"])
        for predicted, number in enumerate(row)
        if number and gold != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))


def _categories(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The table of content types, most common first, and the trained model's confusions among them."""
    shown, sides = _shown(summary), _present_sides(summary).values()
    table = shown.get("per_category")
    if not table:
        return None
    rows = [
        {
            "name": name,
            "n": row["n"],
            "cta": [(side.get("per_category") or {}).get(name, {}).get("cta") for side in sides],
            "exact": row["exact_match"],
        }
        for name, row in list(table.items())[:_FUNCTIONS]
    ]
    pairs = _confused(shown["confusion_categories"])[:_CONFUSIONS] if shown.get("confusion_categories") else []
    named = {name for _, gold, predicted in pairs for name in (gold, predicted)}
    return {
        "rows": rows,
        "more": max(0, len(table) - _FUNCTIONS),
        "pairs": pairs,
        "none": _NONE in named,
        "other": _OTHER in named,
    }


def _functions(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The table of functions, with a column for every figure that was measured for the first of them."""
    table = _shown(summary).get("per_function")
    if not table:
        return None
    first = next(iter(table.values()))
    columns = (
        [key for key, value in first.items() if interval(value) is not None]
        if isinstance(first, Mapping)
        else ["value"]
    )
    rows = [
        (name, [_figure(row.get(column) if isinstance(row, Mapping) else row) for column in columns])
        for name, row in list(table.items())[:_FUNCTIONS]
    ]
    return {
        "columns": [column.replace("_", " ") for column in columns],
        "rows": rows,
        "more": max(0, len(table) - _FUNCTIONS),
    }


def _figure(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else score_text(value)


def _errors(summary: Mapping[str, Any]) -> list[tuple[str, list[int]]]:
    """(kind of error, calls with it before and after training), most frequent first."""
    sides = _present_sides(summary).values()
    kinds = sorted({kind for side in sides for kind in side.get("errors") or {}})
    rows = [(kind, [int((side.get("errors") or {}).get(kind, 0)) for side in sides]) for kind in kinds]
    return sorted(rows, key=lambda row: (-row[1][-1], row[0]))


def _loss_chart(steps: list[Mapping[str, Any]]) -> Markup | None:
    losses = [(float(row["step"]), float(row["loss"])) for row in steps if row.get("loss") is not None]
    held_out = [(float(row["step"]), float(row["eval_loss"])) for row in steps if row.get("eval_loss") is not None]
    return charts.curve("Training loss", losses, held_out) if losses else None


def _stage_chart(stages: list[Mapping[str, Any]]) -> Markup:
    return charts.bars(
        "Seconds by stage",
        [(row["stage"], [row["seconds"]]) for row in stages],
        {"seconds": "accepted"},
        style="seconds",
    )
