"""What a generator engine is: prompts in, replies out, in the same order. One engine holds one model."""

from __future__ import annotations

import atexit
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """

    name: str
    context: int

    def generate(self, prompts: Sequence[Prompt]) -> list[Reply]:
        """Replies in the order of ``prompts``.

        Raises:
            StageError: the engine died; its own error is in the message.
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
            if _loaded.engine is self:
                release_engine()  # what a dead engine says next means nothing
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


@dataclass
class _Loaded:
    """The engine that this process holds; loading one costs more than many batches."""

    config: EngineConfig | None = None
    cache: Path | None = None
    engine: Engine | None = None


_loaded = _Loaded()


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


def use_engine(config: EngineConfig, cache: Path) -> Engine:
    """The engine of a profile: the one that this process holds, if it is the same; else that one goes and this one is
    loaded.

    Shards that run one after the other in a process so load a model once. Two models at once would rarely fit.
    """
    if _loaded.engine is None or (_loaded.config, _loaded.cache) != (config, cache):
        release_engine()
        _loaded.engine = open_engine(config, cache)
        _loaded.config, _loaded.cache = config, cache
        atexit.register(release_engine)
    return _loaded.engine


def release_engine() -> None:
    """Let this process's engine go: after a failure, before another stage needs the memory, at exit. Safe to repeat."""
    engine, _loaded.engine = _loaded.engine, None
    atexit.unregister(release_engine)
    if engine is not None:
        engine.close()


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
        raise StageError(
            f"the {config.engine} engine of {config.model} does not start: {type(error).__name__}: {error}"
        ) from error
