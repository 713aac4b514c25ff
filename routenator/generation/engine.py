"""What a generator engine is: prompts in, replies out, in the same order. One engine holds one model."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from routenator.config import EngineConfig
from routenator.errors import RoutenatorError, StageError
from routenator.models import resolve_model

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
        pattern: regular expression that the whole reply must match, or None. At most one of schema and pattern.
        stop: texts that end the reply (not part of it).
    """

    messages: Sequence[Message]
    seed: int
    max_tokens: int = 96
    temperature: float = 0.9
    top_p: float = 0.95
    schema: dict[str, Any] | None = None
    pattern: str | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """What a model said.

    Attributes:
        text: the reply without special tokens.
        prompt_tokens: length of the prompt in tokens.
        completion_tokens: length of the reply in tokens.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int


class Engine(ABC):
    """A loaded model. Use it as a context manager, so that its processes and scratch folder go away.

    Attributes:
        name: the model's name as recorded in the data.
    """

    name: str

    def generate(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in the order of ``prompts``.

        Raises:
            StageError: the engine died; its own error is in the message.
        """
        if not prompts:
            return []
        # Prompts that begin alike follow each other, so that the prefix cache still holds what they share.
        order = sorted(range(len(prompts)), key=lambda i: json.dumps(list(prompts[i].messages)))
        try:
            replies = self._generate([prompts[i] for i in order])
        except RoutenatorError:
            raise
        except Exception as error:
            raise StageError(f"the engine of {self.name} failed: {type(error).__name__}: {error}") from error
        result: list[Reply | None] = [None] * len(prompts)
        for position, reply in zip(order, replies, strict=True):
            result[position] = reply
        return [reply for reply in result if reply is not None]

    @abstractmethod
    def _generate(self, prompts: list[Prompt]) -> list[Reply]:
        """Replies in the given order; any exception means that the engine is lost."""

    def close(self) -> None:
        """Let go of memory, processes and scratch files. Safe to repeat."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_engine(config: EngineConfig, cache: Path) -> Engine:
    """Load the model of a profile.

    Args:
        config: which model and how to run it.
        cache: folder of prepared weights (routenator/models.py).

    Raises:
        InputError: there is no such model.
        StageError: the engine does not start; its own error is in the message.
    """
    model = resolve_model(config.model, cache)
    name = config.model.rstrip("/").rsplit("/", 1)[-1].removeprefix("package:")
    try:
        if config.engine == "vllm":
            from routenator.generation.vllm_engine import VllmEngine

            return VllmEngine(name, model, config)
        from routenator.generation.transformers_engine import TransformersEngine

        return TransformersEngine(name, model, config)
    except RoutenatorError:
        raise
    except Exception as error:
        raise StageError(f"the {config.engine} engine of {config.model} does not start: {type(error).__name__}: {error}") from error
