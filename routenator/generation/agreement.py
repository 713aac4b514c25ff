"""The last checks: do query and call agree? First by the domain's own words, then by a language model.

Only model-written rows that pass every other check are asked about: a heuristic query states its call by construction.
A paraphrase may lose the verb that gave the function away; ``routenator.wording.labeller`` then guesses another one.
The model is the generator's own engine, which answers yes or no.

Measure a model's judgement before trusting it: ``benchmarks/checks.py --judge`` tests it on labelled candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from routenator.domain.dates import asked
from routenator.domain.domain import Domain
from routenator.generation.engine import Prompt

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


MISTAKEN, JUDGE = "mistaken", "judge"
MEANINGS = {
    MISTAKEN: "reads like a request for another function, by the domain's own wording",
    JUDGE: "the generator, asked whether query and call agree, answered no (only with `checks.judge`)",
}
_GRAMMAR = 'root ::= "yes" | "no"'
_SYSTEM = "You check training data of an assistant that turns what people type into function calls. Answer yes or no."


def agreement_prompt(domain: Domain, request: Mapping[str, Any], query: str) -> Prompt:
    """Build the question. The parts that are the same for all rows come first, so that the prefix cache holds them.

    Args:
        domain: its functions are listed in the question.
        request: a row of ``DETAIL_COLUMNS``.
        query: the query written for it.
    """
    functions = "\n".join(f"- {function.name}: {function.description}" for function in domain.functions.values())
    call = request["calls"][1:-1]
    question = (
        "Does the call do what the request asks for, with all that it says and nothing else? "
        f"Request: {asked(query, request.get('today'))}\nCall: {call}"
    )
    messages = [
        {"role": "system", "content": f"{_SYSTEM}\nFunctions:\n{functions}"},
        {"role": "user", "content": question},
    ]
    return Prompt(messages=messages, seed=request["seed"], max_tokens=4, temperature=0.0, top_p=1.0, grammar=_GRAMMAR)


def disagrees(reply: str) -> bool:
    """True if the model says no."""
    return reply.strip().casefold().startswith("no")
