"""What a generator engine is: prompts in, replies out, in the same order. One engine holds one model."""

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
        seed: of this reply alone; the reply depends on no other prompt's seed.
        max_tokens: of the reply.
        temperature: 0 is greedy.
        top_p: nucleus sampling.
        schema: JSON schema that the reply must satisfy, or None.
        grammar: GBNF grammar that the whole reply must match (routenator/generation/guide.py), or None. At most one of
            the two.
        stop: texts that end the reply (not part of it).
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
    """What a model said.

    Attributes:
        text: the reply without special tokens.
        prompt_tokens: length of the prompt in tokens.
        completion_tokens: length of the reply in tokens.
        refused: why there is no reply ("" if there is one): the prompt and its reply would not fit into the model's
            context.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    refused: str = ""


class Engine(ABC):
    """A loaded model. ``close`` it, so that its processes and scratch folder go away.

    Attributes:
        name: the model's name as recorded in the data.
        context: most tokens of a prompt and its reply together.
        lost: it failed and has closed itself; it answers nothing more.
    """

    name: str
    context: int
    lost: bool = False

    def generate(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in the order of ``prompts``.

        Raises:
            StageError: the engine died, and is lost; its own error is in the message.
        """
        if not prompts:
            return []
        try:
            result: dict[int, Reply] = {}
            for position, prompt in enumerate(prompts):
                tokens = self._tokens_if_near(prompt)
                if tokens + prompt.max_tokens > self.context:
                    reason = f"{tokens} tokens and {prompt.max_tokens} for the reply, the model takes {self.context}"
                    result[position] = Reply("", tokens, 0, refused=reason)
            # Prompts that begin alike follow each other, so that the prefix cache still holds what they share.
            order = sorted(set(range(len(prompts))) - set(result), key=lambda i: json.dumps(list(prompts[i].messages)))
            if order:
                result.update(zip(order, self._generate([prompts[i] for i in order]), strict=True))
        except RoutenatorError:
            raise
        except Exception as error:
            self.lost = True  # what a dead engine says next means nothing
            self.close()
            raise StageError(f"the engine of {self.name} failed: {type(error).__name__}: {error}") from error
        return [result[position] for position in range(len(prompts))]

    def _tokens_if_near(self, prompt: Prompt) -> int:
        """The prompt's length in tokens if it may be too long for the model; 0 if it is certainly not."""
        texts = [message["content"] for message in prompt.messages]
        if any(not isinstance(text, str) for text in texts):
            return 0  # how many tokens an image takes only the engine knows
        # A token is at least one byte; the chat format adds a few for each message.
        if sum(len(text.encode()) + 16 for text in texts) + prompt.max_tokens <= self.context:
            return 0
        return len(self._tokenize(list(prompt.messages)))

    @abstractmethod
    def _tokenize(self, messages: list[Message]) -> list[int]:
        """Token ids of a conversation in the model's chat format."""

    @abstractmethod
    def _generate(self, prompts: list[Prompt]) -> list[Reply]:
        """Replies in the given order; any exception means that the engine is lost."""

    @abstractmethod
    def close(self) -> None:
        """Let go of memory, processes and scratch files. Safe to repeat."""


def _end_process(error: StageError) -> None:
    print(error, file=sys.stderr, flush=True)
    os._exit(error.exit_code)


_tell: list[Callable[[StageError], None]] = []


def when_lost(tell: Callable[[StageError], None]) -> None:
    """Have this called before the process ends because its engine lost a process of its own."""
    _tell[:] = [tell]


def engine_lost(error: StageError) -> None:
    """End this process: its engine waits for a process that is dead, and whoever waits for the engine would wait as
    long.

    Called in another thread than the one that waits.
    """
    for tell in _tell:
        tell(error)
    _end_process(error)
