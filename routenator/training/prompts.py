"""Formats of prompt and answer. Training, evaluation and serving all use this module, so they cannot drift apart.

Two styles:

- ``compact``: the query on one line, then the call. The model learns the API from the data alone; cheap to train and
  serve.
- ``tools``: a system message with the API's tools as JSON and the query as the user message, in the model's own chat
  template. Works without training, too.

The answer is always the call as JSON text, ``{"name": ..., "arguments": {...}}``, with arguments in the schema's order.
Prompt and answer are tokenised separately and then joined, so that the model sees the same tokens in training and in
use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

Style = Literal["compact", "tools"]
STYLES: tuple[Style, ...] = ("compact", "tools")
# With the form of each call written out and "Call:" at the end, an untrained model of 135 M parameters answers 20 of 48
# queries of the creative domain with a call; with only the functions and a description of the form, it answers none.
_INSTRUCTION = (
    "You turn a request into one function call. These are the functions, as JSON:\n{tools}\n"
    "Answer with one of these calls alone, as JSON, and fill in the values from the request:\n{forms}"
)
_REQUEST = "Request: {query}\nCall:"
_SHOWN = 2  # parameters shown in the form of a function that requires none
_MARK = "\u2603"  # placeholder for the answer, used to find the chat template's end of turn


def call_text(name: str, arguments: Mapping[str, Any], order: Sequence[str] = ()) -> str:
    """Format a call as JSON text: first the parameters in ``order``, then the others as given."""
    known = [key for key in order if key in arguments]
    ordered = {key: arguments[key] for key in [*known, *(key for key in arguments if key not in known)]}
    return json.dumps({"name": name, "arguments": ordered}, ensure_ascii=False)


class PromptFormat:
    """Prompts and answers in one style, for one API and one tokenizer.

    Args:
        style: ``compact`` or ``tools``.
        tools: the API as OpenAI tools, without RouteNator's own keys.
        tokenizer: a transformers tokenizer; ``tools`` needs its chat template.
    """

    def __init__(self, style: Style, tools: Sequence[Mapping[str, Any]], tokenizer: Any) -> None:
        self.style = style
        self.tools = [dict(tool) for tool in tools]
        self.tokenizer = tokenizer
        self._order = {
            tool["function"]["name"]: list(tool["function"]["parameters"].get("properties", {})) for tool in self.tools
        }

    @cached_property
    def instruction(self) -> str:
        """The system message of the ``tools`` style."""
        lines = [json.dumps(tool["function"], ensure_ascii=False, separators=(",", ":")) for tool in self.tools]
        forms = []
        for tool in self.tools:
            schema = tool["function"]["parameters"]
            names = schema.get("required") or list(schema.get("properties", {}))[:_SHOWN]
            forms.append(call_text(tool["function"]["name"], dict.fromkeys(names, "...")))
        return _INSTRUCTION.format(tools="\n".join(lines), forms="\n".join(forms))

    def messages(self, query: str) -> list[dict[str, str]]:
        """Build the OpenAI messages of the ``tools`` style."""
        return [
            {"role": "system", "content": self.instruction},
            {"role": "user", "content": _REQUEST.format(query=_clean(query))},
        ]

    def prompt_text(self, query: str) -> str:
        """Return the whole prompt as text, with special tokens written out."""
        if self.style == "compact":
            return _clean(query) + "\n"
        return str(self.tokenizer.apply_chat_template(self.messages(query), tokenize=False, add_generation_prompt=True))

    def prompt_ids(self, query: str) -> list[int]:
        """Return the token ids of the prompt, ready for an engine."""
        # A chat template includes the special tokens; plain text gets the tokenizer's start token, if it has one.
        ids = list(self.tokenizer(self.prompt_text(query), add_special_tokens=self.style == "compact")["input_ids"])
        return ids[:-1] if ids and ids[-1] == self.tokenizer.eos_token_id and self.style == "compact" else ids

    def answer_ids(self, name: str, arguments: Mapping[str, Any]) -> list[int]:
        """Return the token ids of the call and the end of turn: exactly those that the loss is computed on."""
        text = call_text(name, arguments, self._order.get(name, ()))
        return [*self.tokenizer(text, add_special_tokens=False)["input_ids"], *self.end_ids]

    @cached_property
    def end_ids(self) -> list[int]:
        """Token ids that end an answer: the chat template's end of turn, or else the end-of-text token."""
        if self.style == "tools":
            turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
            ending = str(self.tokenizer.apply_chat_template(turn, tokenize=False)).rpartition(_MARK)[2].strip()
            ids = list(self.tokenizer(ending, add_special_tokens=False)["input_ids"]) if ending else []
            if ids:
                return ids
        return [self.tokenizer.eos_token_id]


def _clean(query: str) -> str:
    return " ".join(query.split())
