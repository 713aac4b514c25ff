"""Turns requests into candidates: prompt, reply, cleaned query, checks.

A batch is processed as a whole and its result depends on that batch alone, so an interrupted task resumes with the
same rows. The caller decides what a batch is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routenator.config import EngineConfig
from routenator.domain.calls import read_calls
from routenator.generation.agreement import JUDGE, MISTAKEN, agreement_prompt, disagrees
from routenator.generation.candidate import WRITTEN_COLUMNS, candidate_table, to_check
from routenator.generation.describe import Describer, Description, UnreadableImageError
from routenator.generation.engine import Engine, Prompt, Reply
from routenator.generation.guide import Gaps, build_grammar, collect_gaps
from routenator.generation.heuristic import candidates
from routenator.generation.imaging import find_torchvision
from routenator.generation.loading import use_engine
from routenator.generation.prompts import DrawnWords, PromptError, in_language, render_messages, with_image
from routenator.generation.query import clean_query
from routenator.generation.render import data_url, render
from routenator.generation.seeds import STREAM_EXAMPLES, STREAM_POOL, STREAM_REPLY, derive, shuffled
from routenator.routes import ROUTES
from routenator.schemas import arrow_schema
from routenator.validation.checks import Context, first_failure
from routenator.validation.segments import count_words
from routenator.validation.text import third_of, words
from routenator.wording.composer import Composer
from routenator.wording.labeller import Labeller

Request = Mapping[str, Any]  # a row of DETAIL_COLUMNS; path, slots and calls are JSON text
Row = dict[str, Any]  # a row of CANDIDATE_COLUMNS

QUERY_KEY = "query"
QUERY_SCHEMA = {
    "type": "object",
    "properties": {QUERY_KEY: {"type": "string"}},
    "required": [QUERY_KEY],
    "additionalProperties": False,
}
# Few-shot examples come from this many pools of this size per function and language: enough variety, and the gaps of a
# pool are collected only once.
_POOLS, _POOL_SIZE = 8, 256
_OF_DRAFTS = [name for name, route in ROUTES.items() if route.is_draft]
_TOKENS_A_WORD = 4  # generous, so that rare words fit


class _Refused(Exception):
    """Raised for a request that cannot be put to the model; holds the reason code and detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass
class _Written:
    """A row of ``WRITTEN_COLUMNS``: what was written for a request and, if it is refused, why."""

    generator: str
    query: str = ""
    raw: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reason: str | None = None
    detail: str | None = None

    def refuse(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Preview:
    """One row as shown to a person: the prompt (empty on the heuristic route) and the resulting candidate."""

    messages: list[dict[str, Any]]
    grammar: str | None
    candidate: Row


class Generator:
    """Turns requests into candidates. Models are loaded when a batch first needs one.

    Args:
        composer: holds the run's domain and config; draws the few-shot examples.
        cache: folder of prepared weights.
    """

    def __init__(self, composer: Composer, cache: Path) -> None:
        self.domain, self.config, self.cache = composer.domain, composer.config, cache
        templates = {name: t for view in self.domain.every_view for name, t in view.templates.items()}
        texts = {name: f"{t.system or ''}\n{t.body}" for name, t in templates.items() if t.grammar is None}
        self.context = Context(self.domain, self.config.checks, texts)
        self.engine_seconds = 0.0  # waiting for replies, not counting loading
        self.start_seconds = 0.0  # loading models
        self._describer: Describer | None = None
        self._images: dict[str, Any] = {}
        self._composer = composer
        self._labeller = Labeller(self.domain)
        self._pool = lru_cache(maxsize=16 * _POOLS)(self._make_pool)

    def engine_config(self, route: str) -> EngineConfig | None:
        """Config of the engine that writes a route's queries; None where the draft is the query."""
        return self.config.model.engine_for(route)

    def is_shown_images(self, engine: EngineConfig) -> bool:
        """True if an engine is the vision route's vision-language model."""
        vision = self.config.model.vision
        return vision.kind == "vlm" and engine == vision.engine

    def candidates(self, details: pa.Table) -> pa.Table:
        """Turn requests with their words (``DETAIL_COLUMNS``) into candidates (``CANDIDATE_COLUMNS``), in order.

        Args:
            details: rows of the heuristic route and of routes that all use the same engine.

        Raises:
            StageError: the engine died.
        """
        return self._make(details)[0]

    def preview(self, details: pa.Table) -> list[Preview]:
        """Like ``candidates``, but with the prompts."""
        table, prompts = self._make(details)
        return [
            Preview(
                messages=list(prompts[number].messages) if number in prompts else [],
                grammar=prompts[number].grammar if number in prompts else None,
                candidate=candidate,
            )
            for number, candidate in enumerate(table.to_pylist())
        ]

    def _make(self, details: pa.Table) -> tuple[pa.Table, dict[int, Prompt]]:
        """Return the candidates, and the prompts by row."""
        is_draft = pc.is_in(details["route"], pa.array(_OF_DRAFTS)).to_numpy()
        asked = np.flatnonzero(~is_draft)
        if not asked.size:
            return candidates(details, self.context), {}
        rows = details.take(asked)
        written, prompts = self._write(rows.to_pylist())
        made = candidate_table(rows, pa.Table.from_pylist(list(map(asdict, written)), arrow_schema(WRITTEN_COLUMNS)))
        by_row = {int(asked[number]): prompt for number, prompt in prompts.items()}
        drafts = np.flatnonzero(is_draft)
        if drafts.size:
            both = pa.concat_tables([candidates(details.take(drafts), self.context), made])
            made = both.take(np.argsort(np.concatenate([drafts, asked])))
        return made, by_row

    def _write(self, requests: Sequence[Request]) -> tuple[list[_Written], dict[int, Prompt]]:
        """Have a model write queries and check them; return the rows, and the prompts by position."""
        prompts: dict[int, Prompt] = {}
        refused: dict[int, _Refused] = {}
        for number, request in enumerate(requests):
            try:
                prompts[number] = self._prompt(request)
            except _Refused as error:
                refused[number] = error
        replies: dict[int, Reply] = {}
        engine = None
        if prompts:
            engine = self._open([requests[number]["route"] for number in prompts])
            started = time.monotonic()
            replies = dict(zip(prompts, engine.generate(list(prompts.values())), strict=True))
            self.engine_seconds += time.monotonic() - started
        rows = []
        for number, request in enumerate(requests):
            described = ROUTES[request["route"]].has_image and self.config.model.vision.kind == "described"
            name = engine.name if engine is not None else ""
            row = _Written(generator=f"described+{name}" if described else name)
            if number in refused:
                row.refuse(refused[number].reason, refused[number].detail)
            else:
                self._read(row, request, replies[number])
            rows.append(row)
        if self.config.checks.function:
            self._refuse_mistaken(_passed(requests, rows))
        if engine is not None and self.config.checks.judge:
            self._refuse_disagreeing(engine, _passed(requests, rows))
        return rows, prompts

    def _refuse_mistaken(self, rows: Sequence[tuple[Request, _Written]]) -> None:
        """Refuse queries from which a function other than the one called would be guessed."""
        guesses = self._labeller.guess([row.query for _, row in rows]) if rows else []
        for (request, row), guess in zip(rows, guesses, strict=True):
            if guess not in (None, request["function"]):
                row.refuse(MISTAKEN, f"reads like {guess}")

    def _refuse_disagreeing(self, engine: Engine, rows: Sequence[tuple[Request, _Written]]) -> None:
        """Refuse candidates whose query and call do not agree in the opinion of the model that wrote them."""
        started = time.monotonic()
        replies = engine.generate([agreement_prompt(self.domain, request, row.query) for request, row in rows])
        self.engine_seconds += time.monotonic() - started
        for (_, row), reply in zip(rows, replies, strict=True):
            row.prompt_tokens += reply.prompt_tokens
            row.completion_tokens += reply.completion_tokens
            if disagrees(reply.text):
                row.refuse(JUDGE, f"{engine.name} says the query and the call do not agree")

    def _open(self, routes: Sequence[str]) -> Engine:
        configs = {config.model_dump_json(): config for config in map(self.engine_config, routes) if config is not None}
        (wanted,) = configs.values()
        if self.is_shown_images(wanted) and wanted.engine == "vllm":
            find_torchvision()
        started = time.monotonic()
        engine = use_engine(wanted, self.cache)
        self.start_seconds += time.monotonic() - started
        return engine

    def _prompt(self, request: Request) -> Prompt:
        domain = self.domain.view(request["language"])
        template = domain.templates[request["template"]]
        seed = request["seed"]
        low, high = self.domain.statistics.length_buckets[request["length"]]
        config = self.engine_config(request["route"])
        assert config is not None
        slots: dict[str, str] = json.loads(request["slots"])[0]
        pool, gaps = self._pool(request["function"], request["language"], derive(seed, STREAM_POOL) % _POOLS)
        examples = self._examples(pool, seed, (low, high), request["language"])
        record = self.domain.records.get(request["record"] or "", {})
        keyword = slots.get(self.domain.functions[request["function"]].category or "", "")
        variables: dict[str, Any] = {
            "function": {
                "name": request["function"],
                "description": self.domain.functions[request["function"]].description,
            },
            "slots": slots,
            "arguments": read_calls(request["calls"])[0].arguments,
            "path": {step: domain.nodes[node].label for step, node in json.loads(request["path"]).items()},
            "record": record,
            "length": {"name": request["length"], "low": low, "high": high},
            "language": request["language"],
            "keyword": {"text": keyword, "place": third_of(words(request["draft"]), [words(keyword)]) or "absent"},
            "draft": request["draft"],
            "examples": examples,
            "lexicon": DrawnWords(domain.lexicon, seed),
        }
        if ROUTES[request["route"]].has_image:
            variables["image"] = self._image(record)
        try:
            messages = render_messages(template, variables, seed)
        except PromptError as error:
            raise _Refused("prompt", str(error)) from None
        if request["language"] in self.domain.languages and template.languages is None:
            messages = in_language(messages, request["language"])
        if ROUTES[request["route"]].has_image and self.config.model.vision.kind == "vlm":
            messages = with_image(messages, data_url(self._drawn(record)))
        json_output = template.output == "json"
        grammar = None
        if template.guide == "slots" and config.guided:
            grammar = build_grammar(
                slots,
                request["draft"],
                (low, high),
                gaps,
                seed,
                QUERY_KEY if json_output else None,
                request["language"],
            )
        # A grammar ends the reply by itself and a cut would break it, so a template's limit applies to free replies
        # only.
        longest = _TOKENS_A_WORD * high + (
            sum(len(surface.encode()) for surface in slots.values()) + 16 if grammar else 0
        )
        return Prompt(
            messages=messages,
            seed=derive(seed, STREAM_REPLY),
            max_tokens=longest if grammar else template.max_tokens or max(config.max_tokens, longest),
            temperature=config.temperature if template.temperature is None else template.temperature,
            top_p=template.top_p or config.top_p,
            schema=QUERY_SCHEMA if json_output and grammar is None else None,
            grammar=grammar,
            stop=() if json_output else ("\n",),
        )

    def _make_pool(self, function: str, language: str, number: int) -> tuple[list[dict[str, Any]], Gaps]:
        """Draw examples of a function, and collect the text between their slots."""
        pool = self._composer.examples(derive(self.config.seed, STREAM_POOL, number), function, language, _POOL_SIZE)
        return pool, collect_gaps(
            (text, example["slots"]) for example in pool for text in {example["draft"], example["query"]}
        )

    def _examples(
        self, pool: list[dict[str, Any]], seed: int, bounds: tuple[int, int], language: str
    ) -> list[dict[str, Any]]:
        """Draw few-shot examples by the seed; those closest in length to the request come last and count most."""
        mixed = shuffled(seed, STREAM_EXAMPLES, pool)

        def outside(example: dict[str, Any]) -> int:
            count = count_words(example["query"], language)
            return max(bounds[0] - count, count - bounds[1], 0)

        return sorted(mixed, key=outside)[: self.config.generate.examples][::-1]

    def _drawn(self, record: Mapping[str, Any]) -> Any:
        if not record:
            raise _Refused("no_image", "the request has no metadata record")
        try:
            return render(dict(record), self.config.model.vision.image_size)
        except (TypeError, ValueError, AttributeError) as error:
            raise _Refused("unreadable_image", f"{record.get('id')}: cannot be drawn: {error}") from None

    def _image(self, record: Mapping[str, Any]) -> Any:
        """Return the template variable ``image``; a vision-language model sees the image itself and gets a stub."""
        if self.config.model.vision.kind == "vlm":
            if not record:
                raise _Refused("no_image", "the request has no metadata record")
            return Description("", [], "", "the attached image")
        key = str(record.get("id", ""))
        if key not in self._images:
            if self._describer is None:
                self._describer = Describer()
            try:
                self._images[key] = self._describer.describe(self._drawn(record))
            except UnreadableImageError as error:
                self._images[key] = error
        if isinstance(self._images[key], UnreadableImageError):
            raise _Refused("unreadable_image", f"{key}: {self._images[key]}")
        return self._images[key]

    def _read(self, row: _Written, request: Request, reply: Reply) -> None:
        """Fill in a row from the reply: the query, and the first check that it fails."""
        row.prompt_tokens = reply.prompt_tokens
        if reply.refused:
            row.refuse("prompt_too_long", reply.refused)
            return
        # Parquet holds UTF-8 only; what cannot be written becomes a question mark.
        row.raw, row.completion_tokens = reply.text.encode(errors="replace").decode(), reply.completion_tokens
        template = self.domain.view(request["language"]).templates[request["template"]]
        query = clean_query(reply.text, template.output, QUERY_KEY)
        if query is None:
            row.refuse("unparsable", row.raw[:200])
            return
        row.query = query
        failure = first_failure(to_check(self.domain, request, query), self.context)
        if failure is not None:
            row.refuse(*failure)


def _passed(requests: Sequence[Request], rows: Sequence[_Written]) -> list[tuple[Request, _Written]]:
    """The requests and rows that no check has refused so far."""
    return [(request, row) for request, row in zip(requests, rows, strict=True) if row.reason is None]
