"""The heuristic route at full speed: words for requests, and the generate stage on them, on one core.

    python benchmarks/heuristic.py --rows 1e6

For each domain: queries per second of ``Composer.details`` (slots, arguments, query and path of each row, as Arrow
strings), compared with the same grammars expanded row by row in plain Python (the peer: same slots, same templates,
redrawn until the length fits; it aims at no keyword position and adds no noise); then rows per second of the whole
generate stage (reading, words, all checks, parquet, receipt). Seconds are CPU seconds of this process; compilation is
excluded and shown separately.

`tables-de` and `tables-tr` are the small domain of benchmarks/languages.py in German and in Turkish; the last lines
compare them with the same domain in English, which has no letter beyond ASCII.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.languages import write_domain  # noqa: E402
from routenator import grammar  # noqa: E402
from routenator.domain.dates import MARK, day_texts  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from routenator.config import RunConfig
    from routenator.domain.domain import Domain
    from routenator.domain.slots import Slot
    from routenator.sampling.strata import Stratum

WARM_ROWS = 256
TABLES = "tables-"  # the domain of benchmarks/languages.py, before a language's code


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print its table, and return the value that ``--json`` writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=lambda text: int(float(text)), default=100_000, help="requests of the heuristic route"
    )
    parser.add_argument("--peer-rows", type=int, default=2000, help="rows that the peer writes")
    parser.add_argument(
        "--domains",
        nargs="+",
        default=["creative", "assistant", *(TABLES + language for language in ("en", "de", "tr"))],
        help="names below configs/domains, folders, or tables- and a language of benchmarks/languages.py",
    )
    parser.add_argument("--repeat", type=int, default=3, help="the best of so many counts, for both sides")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    print(
        f"{'domain':>10} {'rows':>10} {'queries/s':>10} {'peer':>8} {'ratio':>6} {'stage rows/s':>13} "
        f"{'accepted':>9} {'compile s':>10}"
    )
    results = []
    for name in options.domains:
        result = measure(name, options.rows, options.peer_rows, options.repeat)
        results.append(result)
        print(
            f"{Path(name).name:>10} {result['rows']:>10,} {result['queries_per_s']:>10,.0f} "
            f"{result['peer_per_s']:>8,.0f} {result['ratio']:>6.0f} "
            f"{result['stage_rows_per_s']:>13,.0f} {result['accepted']:>9.1%} {result['compile_s']:>10.1f}",
            flush=True,
        )
    rates = {result["domain"]: result for result in results}
    english = rates.get(f"{TABLES}en")
    for name, rate in rates.items():
        if english and name.startswith(TABLES) and rate is not english:
            queries, rows = (rate[key] / english[key] for key in ("queries_per_s", "stage_rows_per_s"))
            print(f"{name}: {queries:.2f} of the queries, {rows:.2f} of the stage's rows per second of {TABLES}en")
    report = {"results": results}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return report


def measure(name: str, rows: int, peer_rows: int, repeat: int) -> dict[str, Any]:
    """Measure all figures of one domain."""
    from routenator.compose import find_domain
    from routenator.domain.loader import load_domain

    with tempfile.TemporaryDirectory(prefix="tables-") as folder:
        if name.startswith(TABLES):
            domain = load_domain(write_domain(Path(folder) / name, name.removeprefix(TABLES)))
        else:
            domain = load_domain(find_domain(name))
        return _measured(name, domain, rows, peer_rows, repeat)


def _measured(name: str, domain: Domain, rows: int, peer_rows: int, repeat: int) -> dict[str, Any]:
    from routenator.config import RunConfig
    from routenator.wording.composer import Composer

    config = RunConfig.model_validate(
        {
            "name": "benchmark",
            "domain": str(domain.path),
            "dataset": {"size": max(3 * rows, 1000)},
            "model": {"generator": {"model": "none"}, "trainee": "none", "embedder": "none"},
        }
    )
    requests, strata = heuristic_requests(domain, config, rows)
    started = time.process_time()
    composer = Composer(domain, config, strata)
    composer.details(requests.slice(0, WARM_ROWS))
    compiled = time.process_time() - started
    own = min(seconds_of(lambda: composer.details(requests)) for _ in range(repeat))
    sample = requests.slice(0, peer_rows).to_pylist()
    peer = PlainPython(domain, strata, config.sample.tries)
    theirs = min(seconds_of(lambda: [peer.row(row) for row in sample]) for _ in range(repeat))
    stage, accepted = generate_stage(config, requests, strata)
    return {
        "domain": name,
        "rows": requests.num_rows,
        "queries_per_s": requests.num_rows / own,
        "peer_per_s": len(sample) / theirs,
        "ratio": requests.num_rows / own / (len(sample) / theirs),
        "stage_rows_per_s": requests.num_rows / stage,
        "accepted": accepted,
        "compile_s": compiled,
    }


def seconds_of(work: Any) -> float:
    """CPU seconds of a call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def heuristic_requests(domain: Domain, config: RunConfig, rows: int) -> tuple[pa.Table, list[Stratum]]:
    """Requests of the heuristic route with one call, as the sample stage writes them, and the strata."""
    import numpy as np
    import pyarrow as pa

    from routenator.sampling.sampler import Sampler

    sampler = Sampler(domain, config)
    heuristic = np.array([stratum.route == "heuristic" and stratum.calls == 1 for stratum in sampler.strata])
    tables, found, start = [], 0, 0
    while found < rows and start < sampler.size:
        stop = min(sampler.size, start + 65_536)
        table = sampler.requests(start, stop)
        tables.append(table.filter(heuristic[table["stratum"].to_numpy()]))
        found, start = found + tables[-1].num_rows, stop
    return pa.concat_tables(tables).slice(0, rows).combine_chunks(), list(sampler.strata)


def generate_stage(config: RunConfig, requests: pa.Table, strata: list[Stratum]) -> tuple[float, float]:
    """CPU seconds of the generate stage on these requests, and the share accepted.

    It runs twice; the second run, with everything compiled, counts.
    """
    import pyarrow.parquet as pq

    import jobs.generate
    from jobs.plan import Plan, Run, StagePlan
    from jobs.stages import STAGES
    from jobs.task import Task, read_receipt
    from routenator.files import write_atomic

    with tempfile.TemporaryDirectory(prefix="heuristic-") as folder:
        run_dir = Path(folder) / "run"
        run_dir.mkdir()
        shutil.copytree(config.domain, run_dir / "domain")
        plan = Plan(
            fingerprint="abcdef012345", created="2025-01-01T00:00:00Z", version="0", config=config,
            domain_sha256="0" * 64, golden_sha256="0" * 64,
            stages={name: StagePlan(fingerprint="0" * 12, dir=f"../{name}", shards=1) for name in STAGES},
        )  # fmt: skip
        write_atomic(run_dir / "plan.json", plan.model_dump_json())
        run = Run.load(run_dir)
        sample = Task(run, "sample", 0)
        data, named = sample.output(".parquet"), sample.output(".strata.json")
        pq.write_table(requests, data)
        write_atomic(named, json.dumps([stratum.as_dict() for stratum in strata]))
        sample.commit({"data": data, "strata": named}, rows=requests.num_rows)
        seconds = 0.0
        for _ in range(2):
            shutil.rmtree(run.stage_dir("generate"), ignore_errors=True)
            task = Task(run, "generate", 0)
            seconds = seconds_of(lambda task=task: jobs.generate.run(task))
        receipt = read_receipt(task.dir, 0)
        assert receipt is not None
        return seconds, receipt.metrics["accepted"] / requests.num_rows


class PlainPython:
    """The peer: expands a domain's grammars one row at a time."""

    def __init__(self, domain: Domain, strata: list[Stratum], tries: int) -> None:
        self.domain, self.strata, self.tries = domain, strata, tries
        self.records = list(domain.records.values())
        self.nodes: dict[str, list[Any]] = {}
        self.days: dict[str, list[str]] = {}  # the texts of each reference to a day
        for node in domain.nodes.values():
            self.nodes.setdefault(node.type, []).append(node)

    def row(self, request: dict[str, Any]) -> tuple[str, str, str]:
        """Query, and JSON of slots and arguments, of one request."""
        stratum = self.strata[request["stratum"]]
        self.draw = random.Random(request["seed"])
        self.day = self.draw.randrange(self.domain.today.count) if self.domain.today is not None else 0
        rule = self.domain.rules[stratum.function]
        self.path = {
            step.name: self.nodes[step.type][place] for step, place in zip(rule.path, request["path"], strict=True)
        }
        self.record = {} if request["record"] is None else self.records[request["record"]]
        low, high = self.domain.statistics.length_buckets[stratum.length]
        tree = self.domain.templates[stratum.template].grammar
        assert tree is not None
        for _ in range(self.tries):
            values, said = self.slots(stratum)
            query = grammar.tidy(self.say(tree, said, frozenset(s.local for s in self.domain.spoken(stratum.function))))
            if low <= len(query.split()) <= high:
                break
        return query, json.dumps(said, ensure_ascii=False), json.dumps(values, ensure_ascii=False)

    def slots(self, stratum: Stratum) -> tuple[dict[str, Any], dict[str, str]]:
        """Arguments, and surface forms of the slots that are said."""
        self.function = self.domain.functions[stratum.function]
        self.shares = self.domain.statistics.slots.get(stratum.function, {})
        self.category = stratum.category
        said: dict[str, str] = {}
        return self.fields(self.domain.slots[stratum.function], said), said

    def fields(self, slots: Sequence[Slot], said: dict[str, str]) -> dict[str, Any]:
        """Values of an object's fields; adds what they are called in patterns to ``said``."""
        values: dict[str, Any] = {}
        for slot in slots:
            if slot.name == self.function.category and not slot.required:
                there = self.category != "none"
            else:
                there = slot.required or self.draw.random() < self.shares.get(slot.name, 1.0)
            if (
                not there
                or any(other in values for other in slot.rule.excludes)
                or any(other not in values for other in slot.rule.needs)
            ):
                continue
            if slot.whole:
                values[slot.key], surface = self.value(slot)
                if surface is not None:
                    said[slot.local] = surface
            else:
                values[slot.key] = self.fields(slot.parts, said)
        return values

    def value(self, slot: Slot) -> tuple[Any, str | None]:
        """A value and its surface, which is None if it is not said."""
        key = (self.function.name, slot.name)
        if slot.shape == "value":
            if slot.rule.said is not None:
                phrases = self.domain.phrases[key]
                phrase = self.draw.choices(phrases, [each.weight for each in phrases])[0]
                surface = None if phrase.surface is None else self.say(phrase.surface, {}, frozenset())
                if phrase.relative is not None:
                    return self.say(phrase.relative, {}, frozenset()), surface
                return phrase.value, surface
            value = grammar.tidy(self.say(self.domain.values[key], {}, frozenset()))
            node = self.domain.surfaces[key]
            return value, value if node is None else grammar.tidy(self.say(node, {}, frozenset()))
        if slot.shape == "object":
            return self.said_by(key, slot.parts)
        if slot.shape == "tuple":
            made = [self.value(part) for part in slot.parts]
        else:
            made = self.items(slot)
        said = [str(surface) for _, surface in made]
        surface = " and ".join(filter(None, (", ".join(said[:-1]), *said[-1:]))) if made else None
        values = [value for value, _ in made]
        return {each["key"]: each["value"] for each in values} if slot.shape == "map" else values, surface

    def items(self, slot: Slot) -> list[tuple[Any, str | None]]:
        """Items of a list or entries of a map, each drawn until it differs from those before."""
        made: list[tuple[Any, str | None]] = []
        path = self.path
        for _ in range(self.draw.choices([n for n, _ in slot.counts], [share for _, share in slot.counts])[0]):
            for _ in range(32):
                if slot.shape == "map":
                    item = self.said_by((self.function.name, f"{slot.name}[]"), slot.parts)
                else:
                    item = self.value(slot.parts[0])
                if all(item[0] != other for other, _ in made):
                    made.append(item)
                    break
                self.path = {name: self.draw.choice(self.nodes[node.type]) for name, node in path.items()}
        self.path = path
        return made

    def said_by(self, key: tuple[str, str], parts: Sequence[Slot]) -> tuple[dict[str, Any], str]:
        """An object, and what its pattern says."""
        said: dict[str, str] = {}
        values = self.fields(parts, said)
        pattern = self.domain.surfaces[key]
        assert pattern is not None
        return values, grammar.tidy(self.say(pattern, said, frozenset(part.local for part in parts)))

    def say(self, node: grammar.Node, said: dict[str, str], slots: frozenset[str]) -> str:
        """Draw one expansion of a grammar."""
        if isinstance(node, grammar.Text):
            return node.text
        if isinstance(node, grammar.Sequence):
            return "".join([self.say(part, said, slots) for part in node.parts])
        if isinstance(node, grammar.Reference):
            return self.refer(node.name, said, slots)
        if isinstance(node, grammar.Conditional):
            there = all(r.name in said for r in grammar.references(node) if r.name in slots)
            return self.say(node.part, said, slots) if there else ""
        parts = node.options if isinstance(node, grammar.Choice) else node.parts
        usable = [part for part in parts if grammar.demanded(part, slots) <= said.keys()] if slots else list(parts)
        if isinstance(node, grammar.Choice):
            return self.say(self.draw.choice(usable), said, slots) if usable else ""
        self.draw.shuffle(usable)
        return " ".join(filter(None, (self.say(part, said, slots).strip() for part in usable)))

    def refer(self, name: str, said: dict[str, str], slots: frozenset[str]) -> str:
        """Expand a name."""
        if name in slots:
            return said.get(name, "")
        base, _, attribute = name.partition(".")
        if name.startswith(MARK):
            if name not in self.days:
                assert self.domain.today is not None
                self.days[name] = day_texts(self.domain.today, name)
            return self.days[name][self.day]
        if base == "record":
            return str(self.record.get(attribute, ""))
        if base in self.path:
            node = self.path[base]
            return (
                node.attributes.get(attribute, getattr(node, attribute, ""))
                if attribute
                else self.draw.choice(node.surfaces)
            )
        items = self.domain.lexicon[base]
        return self.draw.choices(items, [item.weight for item in items])[0].text


if __name__ == "__main__":
    main()
