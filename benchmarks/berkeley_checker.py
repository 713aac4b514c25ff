"""Asks the Berkeley leaderboard's checker of syntax trees about replies. Runs in the environment of bfcl-eval alone.

    .cache/bfcl/bin/python benchmarks/berkeley_checker.py < replies > verdicts

A line of the input is ``{"file": "live_simple", "id": ..., "said": [{NAME: {PARAMETER: VALUE}}, ...]}``; the output has
for each a line ``{"right": bool, "why": their type of error}``, or ``{"failed": message}`` if the checker raised.

The checker takes one thing from the packages that the leaderboard asks models with: whether a model writes dots in
names as underscores. Ours does not, so a table that says so replaces theirs, and none of those packages is needed.
"""

from __future__ import annotations

import json
import sys
import types
from collections import defaultdict
from pathlib import Path
from typing import Any

_MODELS = "bfcl_eval.constants.model_config"


def main() -> None:
    table: Any = types.ModuleType(_MODELS)
    table.MODEL_CONFIG_MAPPING = defaultdict(lambda: types.SimpleNamespace(underscore_to_dot=False))
    sys.modules[_MODELS] = table
    import bfcl_eval
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    data = Path(bfcl_eval.__file__).parent / "data"
    read: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        name = asked["file"]
        if name not in read:
            file = f"BFCL_v4_{name}.json"
            read[name] = (rows(data / file), rows(data / "possible_answer" / file))
        questions, truths = read[name]
        functions, truth = questions[asked["id"]]["function"], truths[asked["id"]]["ground_truth"]
        try:
            found = ast_checker(functions, asked["said"], truth, Language.PYTHON, name, "any")
            answer = {"right": bool(found["valid"]), "why": str(found.get("error_type", ""))}
        except Exception as error:  # their code on values that it does not expect
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer))


def rows(file: Path) -> dict[str, Any]:
    """Id -> entry."""
    entries = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return {entry["id"]: entry for entry in entries}


if __name__ == "__main__":
    main()
