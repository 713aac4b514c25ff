"""transformers' ``generate`` as an engine, for machines or models that vLLM does not support.

Batched, with a separate seed for each request.
"""

from __future__ import annotations

import gc
from typing import Any

from routenator.config import EngineConfig
from routenator.errors import InputError
from routenator.extras import require
from routenator.generation.engine import Engine, Message, Prompt, Reply


class TransformersEngine(Engine):
    """A text model in transformers.

    Args:
        name: recorded in the data.
        model: a hub id or folder.
        config: the profile's engine section; ``max_num_seqs`` is the batch size.
    """

    def __init__(self, name: str, model: str, config: EngineConfig) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.name, self.context, self._config = name, config.max_model_len, config
        dtype = "auto" if config.dtype == "auto" else getattr(torch, config.dtype)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model, padding_side="left")
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        self._model = loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self._compiler: Any = None

    def _generate(self, prompts: list[Prompt]) -> list[Reply]:
        replies: list[Reply] = []
        for start in range(0, len(prompts), self._config.max_num_seqs):
            replies.extend(self._batch(prompts[start : start + self._config.max_num_seqs]))
        return replies

    def _batch(self, prompts: list[Prompt]) -> list[Reply]:
        import torch
        from transformers import LogitsProcessorList

        if any(isinstance(message["content"], list) for prompt in prompts for message in prompt.messages):
            raise InputError(
                "the transformers engine does not support images", key="model.vision.engine.engine", expected="vllm"
            )
        texts = [
            self._tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
            for prompt in prompts
        ]
        inputs = self._tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(
            self._model.device
        )
        width = inputs["input_ids"].shape[1]
        longest = max(prompt.max_tokens for prompt in prompts)
        processors = [self._held(prompts), _Sampler(prompts, self._model.device)]
        with torch.inference_mode():
            # _Sampler adds each row's own noise to the logits, so taking the largest (do_sample=False) is the sample.
            output = self._model.generate(
                **inputs,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                max_new_tokens=longest,
                pad_token_id=self._tokenizer.pad_token_id,
                logits_processor=LogitsProcessorList([processor for processor in processors if processor is not None]),
            )
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        return [
            self._reply(prompt, row, length)
            for prompt, row, length in zip(prompts, output[:, width:].tolist(), lengths, strict=True)
        ]

    def _reply(self, prompt: Prompt, tokens: list[int], prompt_tokens: int) -> Reply:
        ends = self._model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends]) | {self._tokenizer.eos_token_id}
        stop = next((position for position, token in enumerate(tokens) if token in ends), len(tokens))
        tokens = tokens[: min(stop, prompt.max_tokens)]
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        for sign in prompt.stop:
            text = text.split(sign, 1)[0]
        return Reply(text, int(prompt_tokens), len(tokens))

    def _held(self, prompts: list[Prompt]) -> Any:
        """Build a processor that masks tokens outside each prompt's schema or grammar; None if no prompt has one."""
        if all(prompt.schema is None and prompt.grammar is None for prompt in prompts):
            return None
        require("generate", "structured output in transformers", ("xgrammar",), key="model.generator.engine")
        import xgrammar
        from xgrammar.contrib.hf import LogitsProcessor

        if self._compiler is None:
            info = xgrammar.TokenizerInfo.from_huggingface(self._tokenizer, vocab_size=self._model.config.vocab_size)
            self._compiler = xgrammar.GrammarCompiler(info)

        def compiled(prompt: Prompt) -> Any:
            if prompt.schema is not None:
                return self._compiler.compile_json_schema(prompt.schema, any_whitespace=False)
            return self._compiler.compile_grammar(prompt.grammar if prompt.grammar is not None else _ANYTHING)

        return LogitsProcessor([compiled(prompt) for prompt in prompts])

    def _tokenize(self, messages: list[Message]) -> list[int]:
        return list(
            self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        )

    def close(self) -> None:
        self._model = None
        gc.collect()


_ANYTHING = "root ::= [^\\u0000]*"


class _Sampler:
    """Temperature and nucleus sampling by the Gumbel-max trick, with a generator for each row.

    argmax(logits / T + Gumbel noise) is distributed as softmax(logits / T). transformers samples a whole batch from one
    generator; with the noise drawn here, each row has its own seed and no other row affects it.
    """

    def __init__(self, prompts: list[Prompt], device: Any) -> None:
        import torch

        self._prompts, self._device = prompts, device
        self._generators = [torch.Generator().manual_seed(prompt.seed) for prompt in prompts]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        rows = []
        for row, prompt, generator in zip(scores.float(), self._prompts, self._generators, strict=True):
            if prompt.temperature <= 0:
                rows.append(row)
                continue
            scaled = row / prompt.temperature
            if prompt.top_p < 1:
                ordered, places = scaled.softmax(-1).sort(descending=True)
                outside = ordered.cumsum(-1) - ordered > prompt.top_p
                scaled = scaled.index_fill(0, places[outside], float("-inf"))
            # float64 on the CPU: the same noise on every device, and never exactly 0 or 1, whose logarithms blow up.
            noise = torch.rand(row.shape, generator=generator, dtype=torch.float64).clamp_(1e-300, 1 - 1e-16)
            rows.append(scaled - torch.log(-torch.log(noise)).to(self._device, torch.float32))
        return torch.stack(rows).to(scores.dtype)
