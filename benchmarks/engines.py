"""Arguments and report of the benchmarks that load a model."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the arguments that say which model is measured on which domain."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:smollm2-135m-instruct", help="hub id, folder or package:NAME")
    parser.add_argument("--domain", default="creative", help="a name below configs/domains, or a folder")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache")
    parser.add_argument("--json", type=Path)
    return parser


def make_report(
    options: argparse.Namespace,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    show: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Measure, print the table, and return the value that ``--json`` writes, with the machine's load and cores."""
    load = os.getloadavg()[0]
    report: dict[str, Any] = {"load_before": load, "cores": len(os.sched_getaffinity(0)), **measure(options)}
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return report
