"""Measures how natural the queries of each route read, beside people's queries.

    python benchmarks/naturalness.py --human QUERIES [--domain creative ...] [--import SOURCE ...] [--run RUN ...]

For each group of rows: faults in 100 rows (wrong articles, wrong numbers, repeated words, prepositions without an
object, and queries from which the function cannot be told), the median perplexity under a small model as a share of
that of people's queries, and distinct-2 (benchmarks/diversity.py). A query hides its function if a classifier that was
trained on the domain's own drafts is sure of another one.

Short queries have a far higher perplexity than long ones, so that medians of few rows vary: with 200 rows that of
`creative` was 3.1 times people's, with 900 rows 1.8 times. Some subjects have a higher one than others. Two more shares
show how much of the perplexity is due to that: of people's queries weighted to the group's numbers of words, and of the
domain's golden queries weighted in the same way. Without --domain, --import and --run, the two domains creative and
assistant are measured. Domains and imports give heuristic rows, drawn here; a run gives the rows of its data set by
route. People's queries are only read, for comparison; any file that `golden import` reads will do, such as those of the
SNIPS benchmark.

Returns 1 if a group has more than 5 faults in 100 rows, or a perplexity not between 0.7 and 1.5 of people's.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.diversity import frame, measures
from routenator.authoring.door.init import init_domain
from routenator.authoring.faults import KINDS, faults
from routenator.authoring.goldenset import records_of
from routenator.authoring.records import Source
from routenator.compose import find_domain, probe_config
from routenator.dataset.files import split_files
from routenator.domain.calls import read_calls
from routenator.domain.domain import Domain
from routenator.domain.golden import has_golden, load_golden
from routenator.domain.loader import load_domain
from routenator.generation.heuristic import candidates
from routenator.models import cache_folder, resolve_model
from routenator.sampling.sampler import Sampler
from routenator.validation.checks import Context
from routenator.wording.composer import Composer
from routenator.wording.labeller import Labeller

MODEL = "package:smollm2-135m-instruct"
DOMAINS = ("creative", "assistant")
MOST_FAULTS, PERPLEXITY = 5.0, (0.7, 1.5)
WIDTHS = (4, 6, 9, 14, 19)
"""Queries are compared with those in the same bucket of words: up to 4, 5 and 6, ..., 20 and more."""
_BATCH = 32
UNTOLD = "untold"


class Group(NamedTuple):
    """Rows of one route.

    Attributes:
        domain: None for people's queries.
        rows: query and calls, as in the data set; no calls for people's queries.
    """

    name: str
    domain: Domain | None
    rows: list[tuple[str, str]]

    @property
    def queries(self) -> list[str]:
        return [query for query, _ in self.rows]


class Reference(NamedTuple):
    """What the perplexities of a group are compared with.

    Attributes:
        widths: the number of words of each query, as a place in ``WIDTHS``.
        perplexities: of each query.
    """

    widths: list[int]
    perplexities: list[float]

    def median(self, widths: Sequence[int]) -> float:
        """The median perplexity, with queries weighted so that their numbers of words are shared as in ``widths``."""
        theirs, wanted = Counter(self.widths), Counter(widths)
        pairs = sorted(zip(self.perplexities, self.widths, strict=True))
        weights = [wanted[width] / theirs[width] for _, width in pairs]
        half, passed = sum(weights) / 2, 0.0
        for (perplexity, _), weight in zip(pairs, weights, strict=True):
            passed += weight
            if weight and passed >= half:
                return perplexity
        return float("nan")


def main() -> int:
    """Measure each group and print a line for it."""
    options = _options()
    human = [record.query for record in records_of(Source(options.human), None)[1] if record.query.strip()]
    people = Group("people", None, [(query, "[]") for query in _spread(human, options.rows)])
    likelihood = None if options.no_model else Likelihood(options.model)
    base = likelihood.reference(people.queries) if likelihood else None
    print(f"{'group':32} {'rows':>5}" + "".join(f"{kind:>9}" for kind in (*KINDS, UNTOLD, "faults"))
          + f"{'perplexity':>11}{'of people':>10}{'by length':>10}{'of golden':>10}{'distinct-2':>11}")  # fmt: skip
    missed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for group in itertools.chain((people,), _groups(options, Path(scratch))):
            missed += _measure(group, likelihood, base, options)
    return int(missed > 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--human", type=Path, required=True, metavar="FILE", help="people's queries, to compare with")
    parser.add_argument("--domain", action="append", default=[], help="a domain; may be repeated")
    parser.add_argument("--import", action="append", default=[], dest="sources", help="what domain init takes")
    parser.add_argument("--run", action="append", default=[], type=Path, help="the folder of a run with a data set")
    parser.add_argument("--rows", type=int, default=1000, help="of each group at most")
    parser.add_argument("--model", default=MODEL, help="whose perplexity is measured")
    parser.add_argument("--no-model", action="store_true", help="count only")
    parser.add_argument(
        "--show", type=int, default=0, metavar="N", help="print at most N faults of each kind, of our own rows alone"
    )
    options = parser.parse_args()
    if not (options.domain or options.sources or options.run):
        options.domain = list(DOMAINS)
    return options


def _groups(options: argparse.Namespace, scratch: Path) -> Iterator[Group]:
    for name in options.domain:
        yield drawn(Path(name).name, load_domain(find_domain(name)), options.rows)
    for number, source in enumerate(options.sources):
        made = init_domain(source, scratch / f"api{number}")
        yield drawn(f"import of {Path(source).name}", load_domain(made.path), options.rows)
    for run in options.run:
        yield from of_run(run, options.rows)


def drawn(name: str, domain: Domain, rows: int) -> Group:
    """Heuristic rows of a domain as a run would make them; only what the checks accept."""
    config = probe_config(domain.path, rows)
    changed = {"routes": {"heuristic": 1.0}, "oversample": {"heuristic": 2.0}}
    config = config.model_copy(update={"generate": config.generate.model_copy(update=changed)})
    sampler = Sampler(domain, config)
    details = Composer(domain, config, sampler.strata).details(sampler.requests(0, sampler.size))
    made = pl.DataFrame(candidates(details, Context(domain, config.checks, {})))
    kept = made.filter(pl.col("accepted")).head(rows)
    return Group(f"{name} heuristic", domain, list(kept.select("query", "calls").iter_rows()))


def of_run(folder: Path, rows: int) -> Iterator[Group]:
    """The rows of a run's data set by route, in the order of their indices."""
    domain, data = load_domain(folder / "domain"), (folder / "dataset").resolve()
    files = [file for split in ("train", "validation") for file in split_files(data, split)]
    made = pl.read_parquet(files, columns=["index", "route", "query", "calls"]).sort("index")
    for route in sorted(made["route"].unique()):
        part = made.filter(pl.col("route") == route).head(rows)
        yield Group(f"{folder.name} {route}", domain, list(part.select("query", "calls").iter_rows()))


def _spread(items: Sequence[str], count: int) -> list[str]:
    """This many items from all over a list, which may be sorted by function."""
    return [items[place * len(items) // count] for place in range(count)] if len(items) > count else list(items)


@cache
def _labeller(domain: Path) -> Labeller:
    return Labeller(load_domain(domain))


def untold(group: Group) -> list[str]:
    """Queries of one call from which a function other than the one called would be guessed."""
    single = [(query, read_calls(calls)[0].name) for query, calls in group.rows if len(read_calls(calls)) == 1]
    if group.domain is None or not single or len(group.domain.rules) < 2:
        return []
    guesses = _labeller(group.domain.path).guess([query for query, _ in single])
    return [
        f"{query}  ({name}; guessed {guess})"
        for (query, name), guess in zip(single, guesses, strict=True)
        if guess not in (None, name)
    ]


def _golden(likelihood: Likelihood, domain: Domain | None, rows: int) -> Reference | None:
    """The golden queries of a domain, at most this many; None if it has none."""
    if domain is None or not has_golden(domain.path / "golden.jsonl"):
        return None
    golden = load_golden(domain.path / "golden.jsonl", domain.functions)
    return likelihood.reference(_spread([example.query for example in golden], rows))


def _measure(group: Group, likelihood: Likelihood | None, base: Reference | None, options: argparse.Namespace) -> bool:
    """Print a group's line; return whether it misses a goal."""
    queries = group.queries
    found = [(kind, said, query) for query in queries for kind, said in faults(query)]
    found += [(UNTOLD, "", line) for line in untold(group)]
    counts = Counter(kind for kind, _, _ in found)
    share = 100 / max(1, len(queries))
    total = len(found) * share
    line = f"{group.name[:32]:32} {len(queries):5}"
    line += "".join(f"{counts[kind] * share:9.1f}" for kind in (*KINDS, UNTOLD)) + f"{total:9.1f}"
    fine = group.domain is None or total <= MOST_FAULTS
    if likelihood is not None and base is not None:
        own = likelihood.reference(queries)
        perplexity, golden = statistics.median(own.perplexities), _golden(likelihood, group.domain, options.rows)
        ratio = perplexity / statistics.median(base.perplexities)
        line += f"{perplexity:11.0f}{ratio:10.2f}{perplexity / base.median(own.widths):10.2f}"
        line += f"{perplexity / golden.median(own.widths):10.2f}" if golden else f"{'-':>10}"
        fine = fine and (group.domain is None or PERPLEXITY[0] <= ratio <= PERPLEXITY[1])
    else:
        line += " " * 41
    values = [[value for call in read_calls(calls) for value in call.arguments.values()] for _, calls in group.rows]
    frames = [frame(query, each) for query, each in zip(queries, values, strict=True)]
    print(f"{line}{measures(frames)['distinct_2']:11.3f}{'' if fine else '  MISSED'}", flush=True)
    shown: Counter[str] = Counter()
    for kind, said, query in found:
        shown[kind] += 1
        # People's queries are for judging only: who writes wording must not read them.
        if group.domain is not None and shown[kind] <= options.show:
            print(f"    {kind}: {said + ': ' if said else ''}{query}")
    return not fine


class Likelihood:
    """Perplexity under a causal model, in batches on this machine.

    Args:
        source: a hub id, a folder, or a packaged model.
    """

    def __init__(self, source: str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = resolve_model(source, cache_folder(".cache"))
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()

    def reference(self, texts: Sequence[str]) -> Reference:
        """exp(mean negative log-likelihood of a token) of each text, the first token included."""
        texts = sorted(texts, key=len)
        return Reference([bisect_left(WIDTHS, len(text.split())) for text in texts], list(self._perplexity(texts)))

    def _perplexity(self, texts: Sequence[str]) -> Iterator[float]:
        import torch

        start = self._tokenizer.bos_token_id
        rows = [[start, *self._tokenizer(text, add_special_tokens=False)["input_ids"]] for text in texts]
        for first in range(0, len(rows), _BATCH):
            batch = rows[first : first + _BATCH]
            width = max(map(len, batch))
            ids = torch.tensor([row + [start] * (width - len(row)) for row in batch])
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch])
            with torch.inference_mode():
                logits = self._model(input_ids=ids, attention_mask=mask).logits.float()
            losses = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
            kept = mask[:, 1:]
            yield from ((losses * kept).sum(1) / kept.sum(1)).exp().tolist()


if __name__ == "__main__":
    sys.exit(main())
