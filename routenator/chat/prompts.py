"""Prompts and replies as tokens. Training and evaluation use this module, and servers its chat template.

Two styles:

- ``compact``: the query on one line, then the reply. The model learns the API from the data alone; cheap to train and
  serve.
- ``tools``: the API's tools and the query in the model's own chat template. Works without training, too.

Prompt and reply are tokenised separately and then joined, so that the model sees the same tokens in training and in
use.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

from routenator.chat.templates import Style, assistant, choose_template, plain_reply, render, reply_text
from routenator.domain.calls import Call

_KEYS = ("name", "description", "parameters")
_MARK = "\u2603"  # placeholder for the reply, used to find the chat template's end of turn


class PromptFormat:
    """Prompts and replies in one style, for one API and one tokenizer.

    Args:
        style: ``compact`` or ``tools``.
        tools: the API as OpenAI tools, without RouteNator's own keys.
        tokenizer: a transformers tokenizer.
        template: the chat template that a model was trained with; None: choose one.
        several: whether a reply may have several calls, for the choice of the template.
        untrained: True for a model that is only asked, not trained; for the choice of the template.
    """

    def __init__(
        self,
        style: Style,
        tools: Sequence[Mapping[str, Any]],
        tokenizer: Any,
        *,
        template: str | None = None,
        several: bool = True,
        untrained: bool = False,
    ) -> None:
        self.style = style
        # Keys in the order in which servers pass tools on.
        self.tools: list[dict[str, Any]] = [
            {"type": "function", "function": {key: tool["function"].get(key) for key in _KEYS}} for tool in tools
        ]
        self.tokenizer = tokenizer
        self.template = (
            template
            if template is not None
            else choose_template(style, tokenizer, several=several, untrained=untrained)
        )
        self._order = {
            tool["function"]["name"]: list((tool["function"]["parameters"] or {}).get("properties", {}))
            for tool in self.tools
        }

    def prompt_text(self, query: str, hidden: Collection[str] = ()) -> str:
        """Return the whole prompt as text, with special tokens written out.

        Args:
            hidden: functions that the prompt does not show.
        """
        return render(self.template, self.tokenizer, [_user(query)], self._shown(hidden), add_generation_prompt=True)

    def prompt_ids(self, query: str, hidden: Collection[str] = ()) -> list[int]:
        """Return the token ids of the prompt, ready for an engine."""
        return self._ids(self.prompt_text(query, hidden))

    def reply_ids(self, query: str, calls: Sequence[Call], words: str = "", hidden: Collection[str] = ()) -> list[int]:
        """Return the token ids of a reply and the end of turn: exactly those that the loss is computed on.

        Args:
            calls: its calls; arguments are put in the schema's order.
            words: what it says, if it has no call.
        """
        said = assistant([self._ordered(call) for call in calls], words)
        text = reply_text(self.template, self.tokenizer, [_user(query)], self._shown(hidden), said)
        if text is None:  # the template writes the prompt in another way once there is a reply
            text = plain_reply(self.tokenizer, said) + self._ending
        ids = self._ids(text)
        return ids if self._ending else [*ids, self.tokenizer.eos_token_id]

    @cached_property
    def _ending(self) -> str:
        """What the template writes after a reply."""
        turns = [_user("?"), {"role": "assistant", "content": _MARK}]
        return render(self.template, self.tokenizer, turns, []).rpartition(_MARK)[2].strip()

    def _shown(self, hidden: Collection[str]) -> list[dict[str, Any]]:
        return [tool for tool in self.tools if tool["function"]["name"] not in hidden] if hidden else self.tools

    def _ordered(self, call: Call) -> Call:
        known = [name for name in self._order.get(call.name, ()) if name in call.arguments]
        return Call(call.name, {**{name: call.arguments[name] for name in known}, **call.arguments})

    def _ids(self, text: str) -> list[int]:
        # A chat template writes all special tokens itself.
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _user(query: str) -> dict[str, str]:
    return {"role": "user", "content": query}
