"""The interface of generator engines: prompts in, replies out, in the same order. One engine holds one model."""

from __future__ import annotations

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from routenator.errors import RoutenatorError, StageError

Message = dict[str, Any]  # OpenAI chat message: {"role": ..., "content": text, or a list of text and image_url parts}


@dataclass(frozen=True)
class Prompt:
    """One request to a model.

    Attributes:
        messages: OpenAI chat messages.
        seed: for this reply alone; no other prompt's seed affects it.
        max_tokens: limit of the reply.
        temperature: 0 is greedy.
        top_p: nucleus sampling.
        schema: JSON schema that the reply must satisfy, or None.
        grammar: GBNF grammar that the whole reply must match (routenator/generation/guide.py), or None. At most one of
            ``schema`` and ``grammar`` may be set.
        stop: strings that end the reply; they are not part of it.
    """

    messages: Sequence[Message]
    seed: int
    max_tokens: int = 96
    temperature: float = 0.9
    top_p: float = 0.95
    schema: dict[str, Any] | None = None
    grammar: str | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """A model's reply.

    Attributes:
        text: the reply without special tokens.
        prompt_tokens: length of the prompt in tokens.
        completion_tokens: length of the reply in tokens.
        refused: why there is no reply, "" if there is one. The only cause is a prompt that, with its reply, exceeds
            the model's context.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    refused: str = ""


class Engine(ABC):
    """A loaded model. Call ``close`` to stop its processes and remove its scratch folder.

    Attributes:
        name: the model's name as recorded in the data.
        context: limit on the tokens of a prompt and its reply together.
        lost: True once the engine has failed and closed itself; it cannot be used again.
    """

    name: str
    context: int
    lost: bool = False

    def generate(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Return replies in the order of ``prompts``.

        Raises:
            StageError: the engine died and is lost; the message includes its own error.
        """
        if not prompts:
            return []
        try:
            result: dict[int, Reply] = {}
            for position, prompt in enumerate(prompts):
                tokens = self._tokens_if_near(prompt)
                if tokens + prompt.max_tokens > self.context:
                    reason = f"{tokens} tokens and {prompt.max_tokens} for the reply exceed the limit of {self.context}"
                    result[position] = Reply("", tokens, 0, refused=reason)
            # Sorted, prompts that begin alike run one after the other while the prefix cache still holds their start.
            order = sorted(set(range(len(prompts))) - set(result), key=lambda i: json.dumps(list(prompts[i].messages)))
            if order:
                result.update(zip(order, self._generate([prompts[i] for i in order]), strict=True))
        except RoutenatorError:
            raise
        except Exception as error:
            self.lost = True  # no later reply of a dead engine can be trusted
            self.close()
            raise StageError(f"the engine of {self.name} failed: {type(error).__name__}: {error}") from error
        return [result[position] for position in range(len(prompts))]

    def _tokens_if_near(self, prompt: Prompt) -> int:
        """Count the prompt's tokens if it may be too long for the model; 0 if it certainly is not."""
        texts = [message["content"] for message in prompt.messages]
        if any(not isinstance(text, str) for text in texts):
            return 0  # only the engine knows how many tokens an image takes
        # A cheap upper bound that spares most prompts the tokenizer: a token is at least one byte, and the chat format
        # adds a few tokens for each message.
        if sum(len(text.encode()) + 16 for text in texts) + prompt.max_tokens <= self.context:
            return 0
        return len(self._tokenize(list(prompt.messages)))

    @abstractmethod
    def _tokenize(self, messages: list[Message]) -> list[int]:
        """Token ids of a conversation in the model's chat format."""

    @abstractmethod
    def _generate(self, prompts: list[Prompt]) -> list[Reply]:
        """Return replies in the given order; any exception means that the engine is lost."""

    @abstractmethod
    def close(self) -> None:
        """Free memory, stop processes and remove scratch files. Safe to call again."""


def _end_process(error: StageError) -> None:
    print(error, file=sys.stderr, flush=True)
    os._exit(error.exit_code)


_tell: list[Callable[[StageError], None]] = []


def when_lost(tell: Callable[[StageError], None]) -> None:
    """Register the callback that ``engine_lost`` calls before it ends the process; it replaces an earlier one."""
    _tell[:] = [tell]


def engine_lost(error: StageError) -> None:
    """End this process because its engine is waiting for a dead process.

    Called from a watching thread. The thread that waits for the engine would never return, so an exception raised here
    would not reach it; only ``os._exit`` ends the wait.
    """
    for tell in _tell:
        tell(error)
    _end_process(error)
