"""A language model as the last check: do query and call agree? The generator's own engine answers, held to yes or no.

Only rows that a model wrote and all other checks accept are asked about: a heuristic query says its call by
construction. How good a judge a model is must be measured before it is believed: ``benchmarks/checks.py --judge`` asks
it about labelled candidates.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from routenator.domain.domain import Domain
from routenator.generation.engine import Prompt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


REASON = "judge"
MEANING = "the generator, asked whether query and call agree, says no (only with `checks.judge`)"
_GRAMMAR = 'root ::= "yes" | "no"'
_SYSTEM = "You check training data of an assistant that turns what people type into function calls. Answer yes or no."


def agreement_prompt(domain: Domain, request: Mapping[str, Any], query: str) -> Prompt:
    """The question. What does not depend on the row comes first, so that the prefix cache holds it.

    Args:
        request: a row of ``DETAIL_COLUMNS``.
        query: what was made of it.
    """
    functions = "\n".join(f"- {function.name}: {function.description}" for function in domain.functions.values())
    call = json.dumps({"name": request["function"], "arguments": json.loads(request["arguments"])}, ensure_ascii=False)
    question = (
        "Does the call do what the request asks for, with all that it says and nothing else? "
        f"Request: {query}\nCall: {call}"
    )
    messages = [
        {"role": "system", "content": f"{_SYSTEM}\nFunctions:\n{functions}"},
        {"role": "user", "content": question},
    ]
    return Prompt(messages=messages, seed=request["seed"], max_tokens=4, temperature=0.0, top_p=1.0, grammar=_GRAMMAR)


def disagrees(reply: str) -> bool:
    """Whether the model says no."""
    return reply.strip().casefold().startswith("no")
