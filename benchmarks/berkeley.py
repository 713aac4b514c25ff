"""``evaluate.match: berkeley`` against the Berkeley leaderboard's own checker, and the leaderboard's data read here.

    make bfcl                          # once: the package bfcl-eval in an environment of its own
    python benchmarks/berkeley.py      # 4,000 calls
    python benchmarks/berkeley.py --calls 300 --json out.json

Loads all functions of the single-turn data, imports all answers as golden queries, draws replies from the right ones
(half of them spoilt: values and types changed, arguments left out or added, calls changed, dropped, added or
reordered), and has both judge them. Prints what could not be loaded or imported, the agreement, and each disagreement.

The checker reads Java and JavaScript as source text, not as JSON; those 150 entries are loaded and imported, but no
replies are drawn from them.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the program runs by its path, too

from routenator.authoring.answers import read_bfcl  # noqa: E402
from routenator.authoring.door.forms import read_list  # noqa: E402
from routenator.authoring.goldenset import LeftOut, import_golden, usable  # noqa: E402
from routenator.authoring.records import Source  # noqa: E402
from routenator.chat.replies import Reply  # noqa: E402
from routenator.domain.calls import Call  # noqa: E402
from routenator.domain.functions import Function, load_functions  # noqa: E402
from routenator.domain.golden import GoldenCall, GoldenExample  # noqa: E402
from routenator.errors import InputError  # noqa: E402
from routenator.evaluation.verdict import judge_reply  # noqa: E402

FOLDER = ROOT / ".cache" / "bfcl"
SINGLE_TURN = (
    "simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "parallel_multiple", "irrelevance",
    "live_simple", "live_multiple", "live_parallel", "live_parallel_multiple", "live_irrelevance", "live_relevance",
)  # fmt: skip
OTHER_LANGUAGES = ("simple_java", "simple_javascript")
_SPOILT = 0.5  # share of the replies


@dataclass(frozen=True)
class Entry:
    """A question of the leaderboard, with its calls as golden.

    Attributes:
        file: the file's part of the name, such as ``live_simple``.
        api: the question's own functions.
    """

    file: str
    id: str
    api: dict[str, Function]
    golden: GoldenExample


@dataclass
class Loaded:
    """What the leaderboard's files gave.

    Attributes:
        functions: different functions.
        refused: those that do not load, with the reason.
        entries: those whose calls are known, with queries that came before.
        left: file -> reason -> entries that `golden import` leaves out.
        questions, imported: entries in all, and golden queries.
    """

    functions: int
    refused: dict[str, str]
    entries: list[Entry]
    left: dict[str, dict[str, int]]
    questions: int
    imported: int


def data_folder(folder: Path = FOLDER) -> Path:
    """The data in the package's environment.

    Raises:
        InputError: there is no such environment.
    """
    found = next(folder.glob("lib/python3*/site-packages/bfcl_eval/data"), None)
    if found is None:
        raise InputError(
            "the leaderboard's package is not installed", file=folder, found="no bfcl_eval",
            expected="make bfcl",
        )  # fmt: skip
    return found


def load(data: Path, files: Sequence[str] = SINGLE_TURN) -> Loaded:
    """Load the functions and answers of the single-turn data."""
    known: dict[str, Function | str] = {}
    entries, left, questions, imported = [], {}, 0, 0
    for name in files:
        file = data / f"BFCL_v4_{name}.json"
        rows = {row["id"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
        questions += len(rows)
        for row in rows.values():
            for function in row["function"]:
                known.setdefault(json.dumps(function), "")
        try:
            found = list(zip(rows, read_bfcl(Source(file)), strict=True))
            with tempfile.TemporaryDirectory() as folder:
                written = import_golden([Source(file)], Path(folder) / "golden.jsonl")
        except InputError as error:
            left[name] = {str(error).splitlines()[0]: len(rows)}
            continue
        imported += written.written
        left[name] = written.left.counts()
        for identity, record in found:
            for one in usable([record], LeftOut(), None):
                api = {each["name"]: _function(each, known, file) for each in rows[identity]["function"]}
                if one.calls is not None and all(isinstance(each, Function) for each in api.values()):
                    example = GoldenExample(one.query, one.calls)
                    entries.append(Entry(name, identity, api, example))  # type: ignore[arg-type]
    for text in known:
        _function(json.loads(text), known, data)
    refused = {text[:80]: why for text, why in known.items() if isinstance(why, str)}
    return Loaded(len(known), refused, entries, left, questions, imported)


def _function(given: dict[str, Any], known: dict[str, Function | str], file: Path) -> Function | str:
    """A function as this project loads it, or why it does not."""
    text = json.dumps(given)
    if known[text] == "":
        try:
            (tool,) = read_list([given], file).tools
            described = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
            with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as functions:
                json.dump([{"type": "function", "function": described}], functions)
                functions.flush()
                (known[text],) = load_functions(Path(functions.name)).values()
        except InputError as error:
            known[text] = str(error)
    return known[text]


def draw(entries: Sequence[Entry], count: int, seed: int) -> Iterator[tuple[Entry, list[Call], list[str]]]:
    """Yield (entry, calls of a reply, what was spoilt) by seed."""
    source = random.Random(seed)
    for _ in range(count):
        entry = source.choice(entries)
        calls = [Call(call.name, _right(call, source)) for call in entry.golden.calls]
        done = []
        if source.random() < _SPOILT:
            for _ in range(source.choice((1, 1, 1, 2, 3))):
                done.append(_spoil(calls, entry, source))
        yield entry, calls, done


def _right(call: GoldenCall, source: random.Random) -> dict[str, Any]:
    made = {name: source.choice([value, *call.accepted.get(name, ())]) for name, value in call.arguments.items()}
    made |= {
        name: source.choice(values)
        for name, values in call.accepted.items()
        if name not in made and source.random() < 0.5
    }
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


def _spoil(calls: list[Call], entry: Entry, source: random.Random) -> str:
    """Change a reply in place; return what was done."""
    if len(calls) > 1 and source.random() < 0.5:
        return _spoil_list(calls, source)
    if not calls:
        return "nothing"
    place = source.randrange(len(calls))
    name, arguments = calls[place]
    what = source.choice(("value", "value", "value", "type", "type", "drop", "add", "add", "name", "extra", "missing"))
    if what == "name":
        calls[place] = Call(source.choice([*entry.api, "another.function"]), arguments)
    elif what == "extra":
        calls.append(Call(name, dict(arguments)))
    elif what == "missing":
        del calls[place]
    elif what == "add":
        known = entry.api[name].properties if name in entry.api else {}
        new = source.choice([*known, "another"])
        arguments[new] = source.choice(["", "text", 1, 0.5, True, [], ["a"], {}, None])
    elif arguments:
        chosen = source.choice([*arguments])
        if what == "drop":
            del arguments[chosen]
        else:
            arguments[chosen] = _changed(arguments[chosen], what, source)
    return what


def _spoil_list(calls: list[Call], source: random.Random) -> str:
    what = source.choice(("reorder", "reorder", "swap", "twice"))
    one, two = source.sample(range(len(calls)), 2)
    if what == "reorder":
        source.shuffle(calls)
    elif what == "swap":  # the arguments of two calls
        calls[one], calls[two] = (
            Call(calls[one].name, calls[two].arguments),
            Call(calls[two].name, calls[one].arguments),
        )
    else:
        calls[one] = Call(calls[two].name, dict(calls[two].arguments))
    return what


def _changed(value: Any, what: str, source: random.Random) -> Any:
    """Another value, or one of another type; sometimes of a part of it."""
    if isinstance(value, list) and value and source.random() < 0.7:
        if source.random() < 0.3:
            return source.choice([value[1:], value[::-1], [*value, value[0]]])
        place = source.randrange(len(value))
        return [*value[:place], _changed(value[place], what, source), *value[place + 1 :]]
    if isinstance(value, dict) and value and source.random() < 0.8:
        name = source.choice([*value])
        if source.random() < 0.3:
            return source.choice([{**value, "another": 1}, {key: part for key, part in value.items() if key != name}])
        return {**value, name: _changed(value[name], what, source)}
    if what == "type":
        return _retyped(value, source)
    if isinstance(value, str):
        return source.choice(
            [value.upper(), value.lower(), value + ".", f" {value}", value.replace(" ", ""), value.replace(" ", "_"),
             value.replace("-", " "), value.replace(",", ""), value + "s", value[1:], value.replace("'", '"'),
             value.replace("é", "e"), ""]
        )  # fmt: skip
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return source.choice([value + 1, -value, value * 10, value + 0.5])
    return source.choice(["", None, [], {}])


def _retyped(value: Any, source: random.Random) -> Any:
    choices: list[Any] = [str(value), [value], {"value": value}, None, True, 1]
    if isinstance(value, int) and not isinstance(value, bool):
        choices += [float(value), float(value)]
    if isinstance(value, float) and value.is_integer():
        choices += [int(value), int(value)]
    if isinstance(value, list) and value:
        choices.append(value[0])
    return source.choice(choices)


def ask(replies: Sequence[tuple[Entry, list[Call], list[str]]], folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The checker's verdicts."""
    lines = [
        json.dumps({"file": entry.file, "id": entry.id, "said": [{call.name: call.arguments} for call in calls]})
        for entry, calls, _ in replies
    ]
    command = [str(folder / "bin" / "python"), "-I", str(ROOT / "benchmarks" / "berkeley_checker.py")]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=4000, help="replies to judge")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the environment of bfcl-eval")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    loaded = load(data_folder(options.folder))
    print(f"{loaded.functions:,} different functions, {len(loaded.refused)} of them do not load")
    for text, why in loaded.refused.items():
        print(f"  {text}: {why}")
    print(f"{loaded.questions:,} questions, {loaded.imported:,} imported as golden; the others:")
    for name, reasons in loaded.left.items():
        for reason, count in reasons.items():
            print(f"  {count:,} of {name}: {reason}")
    asked = [entry for entry in loaded.entries if entry.golden.calls and entry.file not in OTHER_LANGUAGES]
    replies = list(draw(asked, options.calls, options.seed))
    result = {
        **{key: getattr(loaded, key) for key in ("functions", "refused", "questions", "imported", "left")},
        **compare(replies, ask(replies, options.folder)),
    }
    print(f"{len(replies):,} replies of {len(asked):,} questions, {result['right']:,} right by the checker")
    print(
        f"same verdict: {result['same']:,} (under `match: own` {result['own']:,}); "
        f"it raised an error: {result['failed']:,}"
    )
    for line in result["different"]:
        print(f"  {line}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def compare(replies: Sequence[tuple[Entry, list[Call], list[str]]], theirs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count agreements, and list the disagreements."""
    counts: Counter[str] = Counter()
    different = []
    for (entry, calls, done), their in zip(replies, theirs, strict=True):
        if "failed" in their:
            counts["failed"] += 1
            counts[their["failed"]] += 1
            continue
        reply = Reply(tuple(calls))
        ours = judge_reply(entry.golden, reply, entry.api, "berkeley")
        counts["right"] += their["right"]
        counts["own"] += judge_reply(entry.golden, reply, entry.api).exact == their["right"]
        if ours.exact == their["right"]:
            counts["same"] += 1
        else:
            verdict = "right" if their["right"] else their["why"]
            different.append(f"{entry.id} ({', '.join(done)}): theirs {verdict}, ours {list(ours.errors) or 'right'}")
    return {
        "replies": len(replies),
        **{key: counts[key] for key in ("same", "failed", "right", "own")},
        "different": different,
    }


if __name__ == "__main__":
    main()
