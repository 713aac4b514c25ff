"""The whole pipeline on small real parts: vLLM with SmolLM2, 4-bit QLoRA with DeepSpeed, Ray, MiniLM; then re-runs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from routenator.domain.functions import check_call, load_functions
from routenator.domain.loader import load_domain
from routenator.models import cache_folder, resolve_model
from tests.conftest import ROOT, TINY, launch_here
from tests.routenator.tiny_model import save_tiny_model
from tests.serving import NAME, served

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]  # minutes on idle cores, but CI's are not
STAGES = ["sample", "generate", "shortfall", "refill", "merge", "train", "evaluate", "report"]
DATA = STAGES[:5]


def launch(*arguments: str, timeout: int = 3600) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        check=False,
    )
    sys.stdout.write(result.stdout[-4000:] + result.stderr[-4000:])
    return result


def run_directory(result: subprocess.CompletedProcess[str]) -> Path:
    """The last line of ``run`` is the run directory."""
    return Path(result.stdout.strip().splitlines()[-1])


def golden_lines() -> list[dict[str, object]]:
    """40 queries for the tiny domain, five of them without a call and five with two."""

    def search(kind: str, text: str) -> dict[str, object]:
        return {"name": "search", "arguments": {"content_type": kind, "extracted_prompt": text}}

    def book(city: str, **more: object) -> dict[str, object]:
        return {"name": "book", "arguments": {"city": city, **more}}

    subjects = ("sleeping cat", "red kite", "birthday cake", "old lighthouse", "paper boat")
    cities = ("Bergen", "Porto", "Lyon", "Ghent", "Riga")
    lines: list[dict[str, object]] = []
    for number, (subject, city) in enumerate(zip(subjects, cities, strict=True)):
        lines += [
            {"query": f"got any posters of a {subject}?", "call": search("poster", subject)},
            {"query": f"logo with a {subject}", "call": search("logo", subject)},
            {"query": f"a card, {subject} on it please", "call": search("card", subject)},
            {"query": f"table in {city} for {number + 2}", "call": book(city, people=number + 2)},
            {"query": f"get me into a bistro in {city}", "call": book(city, place="bistro")},
            {"query": f"book something in {city}", "call": book(city)},
            {"query": f"what is {number + 2} times seven", "calls": []},
            {
                "query": f"find a logo with a {subject} and book a diner in {city}",
                "calls": [search("logo", subject), book(city, place="diner")],
            },
        ]
    return lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    shutil.copytree(TINY, folder / "domain")
    golden = "".join(json.dumps(line) + "\n" for line in golden_lines())
    (folder / "domain" / "golden.jsonl").write_text(golden)
    with (folder / "domain" / "statistics.yaml").open("a") as statistics:
        statistics.write("calls: {0: 0.2, 1: 0.6, 2: 0.2}\n")
    config = {
        "name": "tiny",
        "domain": str(folder / "domain"),
        "root": str(folder / "runs"),
        "cluster": "local",
        "model": "smollm2-135m",
        "dataset": {"size": 64, "validation_share": 0.15},
        "sample": {"shards": 2},
        "generate": {"shards": 2, "chunk_rows": 8},
        "checks": {"length": False},
        "train": {
            "prompt": "compact",
            "max_steps": 48,  # enough to learn the form of a call
            "learning_rate": 0.0015,
            "processes": 2,
            "batch_size": 4,
            "gradient_checkpointing": False,
        },
        "evaluate": {"workers": 2, "dtype": "float32"},  # as served below: in bfloat16, near ties may fall otherwise
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def first(folder: Path) -> subprocess.CompletedProcess[str]:
    result = launch("run", str(folder / "run.yaml"))
    assert result.returncode == 0
    return result


def receipts(run: Path, stage: str) -> dict[str, float]:
    plan = json.loads((run / "plan.json").read_text())
    directory = (run / plan["stages"][stage]["dir"]).resolve()
    return {str(p): p.stat().st_mtime for p in directory.glob("shard-*.receipt.json")}


def test_the_run_makes_everything_the_user_was_promised(first):
    run = run_directory(first)
    assert all(receipts(run, stage) for stage in STAGES)
    assert len(receipts(run, "sample")) == 2 and len(receipts(run, "generate")) == 2
    import polars as pl

    train, validation = (pl.read_parquet(run / "dataset" / f"{split}.parquet") for split in ("train", "validation"))
    assert train.height > 0 and validation.height > 0
    assert not set(train["group"]) & set(validation["group"])
    routes = set(train["route"]) | set(validation["route"])
    assert "heuristic" in routes and "text" in routes, "no query from the language model was accepted"
    rows = [json.loads(line) for line in (run / "dataset" / "train.jsonl").read_text().splitlines()]
    assert len(rows) == train.height
    call = next(row["messages"][-1]["tool_calls"] for row in rows if row["messages"][-1].get("tool_calls"))[0][
        "function"
    ]
    assert isinstance(json.loads(call["arguments"]), dict) and rows[0]["tools"][0]["function"]["name"] == "search"
    scores = json.loads((run / "scores.json").read_text())
    for moment in ("before", "after"):
        for metric in ("function_f1_macro", "function_f1_micro", "cta", "ss", "exact_match"):
            interval = scores[moment][metric]
            assert 0 <= interval["low"] <= interval["value"] <= interval["high"] <= 1
    html = (run / "report" / "index.html").read_text()
    assert "<svg" in html and "http://" not in html.replace("http://www.w3.org", "") and "https://" not in html
    assert (run / "adapter" / "adapter_config.json").is_file()
    assert "Content-type accuracy" in first.stdout


def test_ask_gives_calls_that_the_api_allows(first):
    """The model has not been trained long, so whatever it says: a call is valid, and stdout holds nothing but JSON."""
    run = run_directory(first)
    done = launch("ask", str(run), "a poster of a sleeping cat", "--json", "--explain")
    answer = json.loads(done.stdout)
    assert done.returncode == (1 if answer["problem"] else 0)
    functions = load_domain(run / "domain").functions
    for call in answer["calls"]:
        assert check_call(functions[call["name"]], call["arguments"]) == []
    assert answer["calls"] or answer["words"] or answer["problem"]
    assert answer["prompt"] == "a poster of a sleeping cat\n" and "free_reply" in answer
    assert 1 <= len(answer["nearest"]) <= 3


@pytest.mark.usefixtures("interruptible")
def test_serve_answers_the_line_that_it_prints(first):
    """vLLM itself, with the adapter; the openai client gets calls of the API, or words."""
    run = run_directory(first)
    command = [sys.executable, str(ROOT / "launch.py"), "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = ""
        while not line.startswith("python"):
            line = process.stdout.readline()
            assert line, process.communicate()
        shown = shlex.split(line)
        client = shown[2].replace(".tool_calls", ".model_dump_json()")
        answer = subprocess.run([sys.executable, "-c", client], capture_output=True, text=True, check=False)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 0 and said.endswith("stopped\n"), said
    assert answer.returncode == 0, answer.stderr
    message = json.loads(answer.stdout)
    functions = load_domain(run / "domain").functions
    # The line asks the first golden query, to which so small a model may say nothing.
    predicted = json.loads((run / "predictions.jsonl").read_text().splitlines()[0])["after"]["reply"]
    assert message["tool_calls"] or message["content"] or not predicted
    for call in message["tool_calls"] or ():
        assert call["function"]["name"] in functions


def margin_where_they_part(reply, tokens):
    """By how much the server preferred its token to the next best, where its reply first differs; None: nowhere."""
    said = ""
    for token in tokens:
        said += token.token
        if not reply.startswith(said):
            best, next_best = token.top_logprobs
            return round(best.logprob - next_best.logprob, 4)
    return None


def test_a_server_answers_with_the_calls_that_the_run_predicted(first, tmp_path):
    """The adapter behind a server and an OpenAI client: `tool_calls` were empty, as no parser takes bare JSON, and 9 of
    20 calls were the run's, as the adapter shipped a chat template other than that of its training data.
    """
    from openai import OpenAI

    run = run_directory(first)
    adapter = run / "adapter"
    card = json.loads((adapter / "routenator.json").read_text())
    assert card["tool_call_parser"] == "hermes"
    base = Path(resolve_model(card["base_model"], cache_folder(".cache")))
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 40 and {len(row["gold"]) for row in rows} == {0, 1, 2}
    functions = load_functions(run / "domain" / "functions.json")

    def valid(call):
        return call["name"] in functions and not check_call(functions[call["name"]], call["arguments"])

    predicted = [row["after"]["calls"] for row in rows]
    assert sum(map(bool, predicted)) >= 20, "the adapter has not learnt to call"
    with served(base, adapter.resolve(), tmp_path) as url:
        client = OpenAI(base_url=url, api_key="none", timeout=1800)

        def ask(row, strict=False):
            tools = [{**tool, "function": {**tool["function"], "strict": strict}} for tool in card["tools"]]
            choice = client.chat.completions.create(
                model=NAME,
                messages=[{"role": "user", "content": row["query"]}],
                tools=tools if strict else card["tools"],
                temperature=0,
                max_tokens=128,
                logprobs=True,
                top_logprobs=2,
            ).choices[0]
            calls = choice.message.tool_calls or []
            said = [{"name": one.function.name, "arguments": json.loads(one.function.arguments)} for one in calls]
            return said, choice

        with ThreadPoolExecutor(len(rows)) as pool:  # the server's batches are faster than one query after the other
            answers = list(pool.map(ask, rows))
            # Those with calls that the API refuses come first: what tools that ask for it are called with is valid.
            order = sorted(range(len(rows)), key=lambda number: all(map(valid, answers[number][0])))[:8]
            held = list(pool.map(ask, [rows[number] for number in order], [True] * len(order)))
    assert all(valid(call) for said, _ in held for call in said)
    different = []
    for row, ours, (said, choice) in zip(rows, predicted, answers, strict=True):
        if said != ours:
            margin = margin_where_they_part(row["after"]["reply"], choice.logprobs.content)
            different.append((row["query"], ours, said, choice.message.content, margin))
    print(*different, sep="\n")
    assert len(different) <= 1


def test_a_second_run_does_nothing_and_says_so(first, folder):
    run = run_directory(first)
    before = {stage: receipts(run, stage) for stage in STAGES}
    start = time.time()
    again = launch_here("run", str(folder / "run.yaml"))
    assert again.returncode == 0 and run_directory(again) == run
    assert "nothing was submitted" in again.stdout
    assert time.time() - start < 60
    assert {stage: receipts(run, stage) for stage in STAGES} == before


def test_the_resolved_config_can_be_run_again_unchanged(first):
    run = run_directory(first)
    again = launch_here("plan", str(run / "config.yaml"), "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout)["fingerprint"] == json.loads((run / "plan.json").read_text())["fingerprint"]


def test_changing_training_reuses_the_data_and_changing_a_template_does_not(first, folder):
    def reused(*overrides: str) -> dict[str, bool]:
        result = launch_here("plan", str(folder / "run.yaml"), *overrides, "--json")
        assert result.returncode == 0
        return {stage["stage"]: stage["reused"] for stage in json.loads(result.stdout)["stages"]}

    assert reused() == dict.fromkeys(STAGES, True)
    assert reused("train.learning_rate=0.002") == {s: s in DATA for s in STAGES}
    assert reused("evaluate.bootstrap=100") == {s: s in (*DATA, "train") for s in STAGES}
    template = folder / "domain" / "templates" / "text" / "shared.yaml"
    text = template.read_text()
    try:
        template.write_text(text.replace("other words", "new words"))
        assert not any(reused().values())
    finally:
        template.write_text(text)


def test_status_report_and_logs_describe_the_run(first):
    run = str(run_directory(first))
    status = json.loads(launch_here("status", run, "--json").stdout)
    assert {s["stage"]: (s["done"], s["shards"]) for s in status["stages"]}["generate"] == (2, 2)
    assert launch_here("report", run).returncode == 0
    assert launch_here("logs", run, "generate").returncode == 0
    retry = launch_here("retry", run)
    assert retry.returncode == 0 and "nothing" in retry.stdout.lower()


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_and_a_rerun_lose_no_finished_shard(folder):
    """Interrupted while the second half is running; receipts of finished shards stay unchanged, the rest is made."""
    model = save_tiny_model(folder / "model")
    arguments = [sys.executable, str(ROOT / "launch.py"), "run", str(folder / "run.yaml")]
    changes = [
        "seed=12",
        "evaluate.limit=2",
        "evaluate.before=false",
        "evaluate.engine=transformers",
        f"model.trainee={model}",
        "generate.routes={heuristic: 1}",
        "sample.shards=6",
        "dataset.size=400",
        "generate.shards=6",
    ]
    with subprocess.Popen(
        arguments + changes, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        deadline = time.time() + 300
        done: list[Path] = []
        while time.time() < deadline and len(done) < 2:
            done = [p for p in (folder / "runs" / "stages").glob("sample-*/shard-*.receipt.json") if _is_new(p, folder)]
            time.sleep(0.1)
        assert len(done) >= 2, "the run made no progress"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    times = {p: p.stat().st_mtime_ns for p in done}
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if _mentions(p, str(folder / "runs"))]
    assert not left, "processes were left behind"
    again = launch("run", str(folder / "run.yaml"), *changes, "train.max_steps=1")
    assert again.returncode == 0
    assert {p: p.stat().st_mtime_ns for p in done} == times


def _is_new(receipt: Path, folder: Path) -> bool:
    return json.loads(receipt.read_text())["metrics"]["requests"] > 200


def _mentions(cmdline: Path, text: str) -> bool:
    try:
        return text.encode() in cmdline.read_bytes() and int(cmdline.parent.name) != os.getpid()
    except OSError:
        return False
