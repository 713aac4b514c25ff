"""A trained model is asked one query at a time. tests/test_end_to_end.py asks a real one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from launch import app
from routenator.chat.guided import structural_tag
from routenator.domain.calls import Call
from routenator.errors import InputError
from routenator.evaluation.engines import EngineSpec, Finished, GreedyEngine
from routenator.evaluation.nearest import Neighbours
from routenator.handoff import asking
from routenator.handoff.asking import Asker
from routenator.handoff.trained import open_trained
from routenator.training.adapter import check_weights
from tests.conftest import launch_here
from tests.routenator.handoff import save_adapter, save_trained
from tests.routenator.tiny_model import byte_tokenizer

GOOD = '<tool_call>\n{"name": "ping", "arguments": {"host": "h"}}\n</tool_call>'
REPLIES = {
    "good": GOOD,
    "two": f"{GOOD}\n{GOOD}",
    "words": "I can only search.",
    "cut": GOOD[:-20],
    "unknown": GOOD.replace("ping", "fly"),
    "against": GOOD.replace('"h"', "7"),
    "nothing": "",
    "Today is Tuesday, 2026-03-03. good": GOOD,
}


class StandIn(GreedyEngine):
    """A stand-in for a loaded model: what it says is chosen by the query."""

    def __init__(self, spec: EngineSpec) -> None:
        assert spec.kind == "transformers" and spec.adapter is not None
        self.guides: list[str | None] = []

    def stream(
        self, prompts: Sequence[Sequence[int]], adapted: bool, guide: str | None = None
    ) -> Iterator[list[Finished]]:
        assert adapted
        self.guides.append(guide)
        for number, prompt in enumerate(prompts):
            yield [Finished(number, REPLIES[byte_tokenizer().decode(prompt).strip()], seconds=0.1, cut_off=False)]

    def close(self) -> None:
        pass


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return save_adapter(tmp_path)


def test_a_reply_is_restricted_and_still_checked(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a grammar cannot hold (a reply that is cut off, a schema's finer points) must not pass as a call."""
    monkeypatch.setattr(asking, "open_engine", StandIn)
    asker = Asker(open_trained(adapter, tmp_path), max_new_tokens=30)
    assert asker.held and asker.prompt(" good ") == "good\n"
    ping = Call("ping", {"host": "h"})
    assert asker.ask("good").calls == (ping,) and asker.ask("two").calls == (ping, ping)
    assert asker.ask("words").words == "I can only search." and asker.ask("words").calls == ()
    problems = {name: asker.ask(name).problem or "" for name in REPLIES}
    assert {name for name, problem in problems.items() if problem} == {"cut", "unknown", "against", "nothing"}
    assert "not a whole call" in problems["cut"] and "fly" in problems["unknown"] and ".host" in problems["against"]
    assert not asker.ask("against").calls and asker.ask("against", free=True).calls
    engine = asker._engine
    assert isinstance(engine, StandIn) and engine.guides[-1] is None
    guide = engine.guides[0]
    assert guide is not None and json.loads(guide) == json.loads(structural_tag(asker._form.tools))


def test_ask_prints_calls_or_a_line_of_json_for_each_line_of_stdin(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "open_engine", StandIn)
    assert launch_here("ask", str(adapter), "good").stdout == 'ping(host="h")\n'
    done = CliRunner().invoke(app, ["ask", str(adapter), "--json", "--explain"], input="good\n\nwords\n")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0 and [row["query"] for row in rows] == ["good", "words"]
    assert rows[0]["calls"] == [{"name": "ping", "arguments": {"host": "h"}}] and rows[0]["free_reply"] == GOOD
    assert rows[1]["words"] == "I can only search." and rows[1]["prompt"] == "words\n"
    dated = json.loads(launch_here("ask", str(adapter), "good", "--json", "--explain", "--today", "2026-03-03").stdout)
    assert (dated["query"], dated["prompt"]) == ("good", "Today is Tuesday, 2026-03-03. good\n")
    failed = launch_here("ask", str(adapter), "cut")
    assert failed.returncode == 1 and failed.stdout.startswith("no usable reply (not a whole call): <tool_call>")


def test_what_cannot_be_asked_is_said_before_a_model_is_loaded(tmp_path: Path, adapter: Path) -> None:
    assert "not a run directory" in launch_here("ask", str(tmp_path), "a query").stderr
    assert launch_here("ask", str(adapter), " ").returncode == 2
    assert "not a day" in launch_here("ask", str(adapter), "a query", "--today", "tomorrow").stderr
    assert "too long" in launch_here("ask", str(adapter), "a" * 20_000).stderr
    tokenizer = tmp_path / "base" / "tokenizer.json"
    tokenizer.rename(tmp_path / "kept")
    refused = launch_here("ask", str(adapter), "a query")
    assert refused.returncode == 2 and "cannot load this model's tokenizer" in refused.stderr
    (tmp_path / "kept").rename(tokenizer)
    (adapter / "routenator.json").unlink()
    refused = launch_here("ask", str(adapter), "a query")
    assert refused.returncode == 2 and "not trained here" in refused.stderr
    with pytest.raises(InputError, match="not an adapter"):
        open_trained(tmp_path, tmp_path)


def test_the_nearest_examples_share_letters_and_the_rare_ones_count_more() -> None:
    train = [
        ("show me a poster", (Call("search", {"kind": "poster"}),)),
        ("show me a walrus", (Call("search", {"kind": "walrus"}),)),
        ("book a room", (Call("book", {}),)),
        ("show me a logo", (Call("search", {"kind": "logo"}),)),
    ]
    known = Neighbours(train)
    found = known.nearest("a walrus", 2)
    assert found[0].query == "show me a walrus" and found[0].calls == train[1][1]
    assert len(found) == 2 and 1 >= found[0].likeness > found[1].likeness > 0
    assert known.nearest("walruses", 1)[0].query == "show me a walrus"  # which no whole word is like
    assert known.nearest("\u03c8\u03be", 2) == []
    for wordless in ([], [("", (Call("book", {}),))]):
        assert Neighbours(wordless).nearest("a", 2) == []


@pytest.mark.slow
def test_asking_imports_nothing_that_plain_weights_do_not_need(tmp_path: Path) -> None:
    """scikit-learn and bitsandbytes came along with transformers and PEFT: 3 of the 11 seconds of a question."""
    adapter = save_trained(tmp_path)
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from routenator.handoff.asking import Asker\nfrom routenator.handoff.trained import open_trained\n"
        f"asker = Asker(open_trained(Path({str(adapter)!r}), Path({str(tmp_path)!r})), 4)\n"
        "asker.ask('a cat poster')\n"
        "print({'bitsandbytes', 'sklearn'} & set(sys.modules))\n"
        "import bitsandbytes, sklearn\nfrom peft.import_utils import is_bnb_available\nprint(is_bnb_available())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["set()", "True"], done.stdout + done.stderr[-3000:]


@pytest.mark.slow
def test_damaged_weights_are_named_before_an_export_or_an_answer(tmp_path: Path) -> None:
    """A copy that broke off was exported as it was, and `ask` ended in a traceback."""
    adapter = save_trained(tmp_path)
    weights = adapter / "adapter_model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:-1], whole[:20], whole[:4], b"", b"\0" * 50, None):
        weights.unlink()
        if damaged is not None:
            weights.write_bytes(damaged)
        with pytest.raises(InputError, match="cut off or damaged" if damaged is not None else "has no weights"):
            check_weights(adapter)
    for command in (["ask", str(adapter), "a query"], ["export", str(adapter), str(tmp_path / "out"), "--adapter"]):
        refused = launch_here(*command)
        assert refused.returncode == 2 and "this adapter has no weights" in refused.stderr
    assert not list((tmp_path / "out").iterdir())
    weights.write_bytes(whole)
    check_weights(adapter)
    (adapter / "routenator.json").write_text('{"format": 2, "dom')
    refused = launch_here("ask", str(adapter), "a query")
    assert refused.returncode == 2 and "this file is damaged" in refused.stderr and "line 1" in refused.stderr
