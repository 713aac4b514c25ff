"""Answers one query at a time.

A reply's calls are restricted to the functions of the API and their schemas while they are written. Where the model's
own chat template writes calls in a form other than Hermes tags, they are checked afterwards instead.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from routenator.chat.guided import guide_of
from routenator.chat.prompts import PromptFormat
from routenator.chat.replies import parse_reply
from routenator.domain.calls import Call
from routenator.domain.toolschema import validator_of
from routenator.errors import InputError
from routenator.evaluation.engines import EngineSpec, GreedyEngine, auto_classes, open_engine
from routenator.extras import require
from routenator.handoff.trained import TrainedModel


@dataclass(frozen=True)
class Answer:
    """A model's answer to a query.

    Attributes:
        query: the query.
        calls: the calls of the reply; empty for words.
        words: what it says instead of a call; None for calls.
        problem: why the reply is of no use (empty, cut off, against the schema); None if it is fine.
        reply: the reply as the model wrote it.
        seconds: time taken, without loading the model.
    """

    query: str
    calls: tuple[Call, ...]
    words: str | None
    problem: str | None
    reply: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return {
            "query": self.query,
            "calls": [call._asdict() for call in self.calls],
            "words": self.words,
            "problem": self.problem,
            "seconds": round(self.seconds, 3),
        }


class Asker:
    """A loaded model that answers queries.

    Transformers runs it: for one query it starts sooner than vLLM.

    Args:
        model: the trained model.
        max_new_tokens: maximum length of a reply.

    Raises:
        InputError: a package is missing, or the model has no tokenizer.
    """

    def __init__(self, model: TrainedModel, max_new_tokens: int) -> None:
        require("evaluate", "asking a model", ("torch", "transformers", "peft"))
        self._tools = {tool["function"]["name"]: tool["function"]["parameters"] or {} for tool in model.card.tools}
        # Threads that wait by spinning take the cores from those that they wait for, if the machine has other work.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            tokenizer = auto_classes()[1].from_pretrained(model.base)
        except (OSError, ValueError) as error:
            raise InputError("cannot load this model's tokenizer", file=model.base, expected=str(error)) from None
        self._form = PromptFormat(model.card.prompt, model.card.tools, tokenizer, template=model.template)
        self._guide = guide_of(self._form)
        self._engine: GreedyEngine = open_engine(
            EngineSpec(
                base=model.base,
                adapter=str(model.adapter),
                kind="transformers",
                longest=0,
                max_new_tokens=max_new_tokens,
                threads=len(os.sched_getaffinity(0)),
            )
        )

    @property
    def held(self) -> bool:
        """Whether replies are restricted while they are written; otherwise their calls are only checked."""
        return self._guide is not None

    def prompt(self, query: str) -> str:
        """Return the prompt as text, with special tokens."""
        return self._form.prompt_text(query)

    def ask(self, query: str, *, free: bool = False) -> Answer:
        """Answer a query.

        Args:
            query: what a user says.
            free: True to leave the reply unrestricted and unchecked.
        """
        began = time.monotonic()
        (text,) = self._engine.answer([self._form.prompt_ids(query)], adapted=True, guide=None if free else self._guide)
        seconds = time.monotonic() - began
        reply = parse_reply(text)
        problem = "an empty reply" if reply.problem == "empty" else reply.problem and "not a whole call"
        if problem is None and not free:
            problem = self._against_schema(reply.calls)
        calls = () if problem else reply.calls
        words = text.strip() if not calls and problem is None else None
        return Answer(query, calls, words, problem, text, seconds)

    def _against_schema(self, calls: tuple[Call, ...]) -> str | None:
        """Return what is wrong with the first call that the API does not allow."""
        for call in calls:
            if call.name not in self._tools:
                return f"a call of {call.name}, which the API does not have"
            for error in validator_of(self._tools[call.name]).iter_errors(call.arguments):
                where = "".join(f".{part}" for part in error.absolute_path)
                return f"a call of {call.name} against its schema: arguments{where}: {error.message}"
        return None

    def close(self) -> None:
        """Free the model's memory."""
        self._engine.close()
