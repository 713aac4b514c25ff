"""Prompt templates: sandboxed Jinja2 rendered to chat messages, and the check that all names in a template exist.

A body is one user message, or several turns, each started by a line ``[user]`` or ``[assistant]``. Turns let a template
show examples as a conversation, which small models follow best.
"""

from __future__ import annotations

import bisect
import itertools
import re
import traceback
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from routenator.domain.domain import Domain
from routenator.domain.schema import LexiconItem
from routenator.domain.slots import always_spoken, made_up
from routenator.domain.templates import Template
from routenator.errors import InputError, InputErrors
from routenator.generation.engine import Message
from routenator.generation.sandbox import BoundedEnvironment
from routenator.generation.seeds import STREAM_PICK, STREAM_WORDS, derive, pick
from routenator.jsontext import is_text
from routenator.routes import ROUTES

if TYPE_CHECKING:
    import jinja2

VARIABLES = (
    "function",
    "slots",
    "arguments",
    "path",
    "record",
    "length",
    "language",
    "keyword",
    "draft",
    "examples",
    "lexicon",
    "pick",
)
_TURN = re.compile(r"^\[(user|assistant)\][ \t]*$", re.MULTILINE)
_NO_ATTRIBUTE = re.compile(r"has no (?:attribute|element) '?([^']+)'?")


class DrawnWords(Mapping[str, str]):
    """The template variable ``lexicon``: one word or phrase of each word list, drawn by the row's seed and the weights.

    Args:
        lexicon: the lists by name.
        seed: the row's seed.
    """

    def __init__(self, lexicon: Mapping[str, Sequence[LexiconItem]], seed: int) -> None:
        self._lexicon, self._seed = lexicon, seed

    def __getitem__(self, name: str) -> str:
        items = self._lexicon[name]
        # The list's name is part of the key, so that adding another list does not change this one's draw.
        draw = derive(self._seed, STREAM_WORDS, zlib.crc32(name.encode())) / (1 << 63)
        sums = list(itertools.accumulate(item.weight for item in items))
        return items[min(bisect.bisect_right(sums, draw * sums[-1]), len(items) - 1)].text

    def __iter__(self) -> Iterator[str]:
        return iter(self._lexicon)

    def __len__(self) -> int:
        return len(self._lexicon)


class PromptError(ValueError):
    """Raised if a template cannot be rendered for a request; the row is rejected with the reason ``prompt``."""


def render_messages(template: Template, variables: Mapping[str, Any], seed: int) -> list[Message]:
    """Render the chat messages for one request.

    Args:
        template: a template of an LLM route.
        variables: see docs/domains.md; without ``pick``.
        seed: the row's seed, from which ``pick`` draws.

    Raises:
        PromptError: the template uses something that this request does not have.
    """
    import jinja2

    draws = iter(range(1 << 30))

    def keyed_pick(options: Sequence[Any]) -> Any:
        return pick(seed, STREAM_PICK, list(options), next(draws))

    try:
        _environment().begin()
        text = _compiled(template.body).render({**variables, "pick": keyed_pick})
    except jinja2.TemplateError as error:
        raise PromptError(f"{template.name}: {error.message}") from error
    except Exception as error:  # template code may raise anything: it can divide, index and call its variables
        raise PromptError(f"{template.name}: {type(error).__name__}: {error}") from error
    if not is_text(text):
        raise PromptError(f"{template.name}: half of a surrogate pair, which is not text; write the character itself")
    messages = _turns(text)
    if not messages or messages[-1]["role"] != "user":
        raise PromptError(f"{template.name}: the last turn must be a [user] turn with text")
    if template.system:
        messages.insert(0, {"role": "system", "content": template.system.strip()})
    return messages


def in_language(messages: Sequence[Message], language: str) -> list[Message]:
    """Return the messages with a sentence in the system message that says which language to write.

    For prompts that were written for all languages, and may not say it.
    """
    first, rest = "", list(messages)
    if rest[0]["role"] == "system":
        first, rest = f"{rest[0]['content']}\n", rest[1:]
    return [{"role": "system", "content": f'{first}Write the query in the language "{language}".'}, *rest]


def with_image(messages: Sequence[Message], url: str) -> list[Message]:
    """Return the messages with an image put before the text of the last one, as OpenAI-style parts."""
    last = {
        "role": messages[-1]["role"],
        "content": [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": messages[-1]["content"]},
        ],
    }
    return [*messages[:-1], last]


def check_template(domain: Domain, template: Template) -> None:
    """Check a template's syntax and variables, and render it once to find unknown fields.

    Raises:
        InputError / InputErrors: with file, line and the nearest valid name.
    """
    import jinja2
    from jinja2 import meta, nodes

    try:
        tree = _environment().parse(template.body)
        names = meta.find_undeclared_variables(tree)
    except RecursionError:
        raise InputError(
            "a template is nested too deeply",
            file=template.file,
            key=template.place(line=1),
            found="brackets or operators",
        ) from None
    except jinja2.TemplateSyntaxError as error:
        raise InputError(
            "a template is not valid Jinja2",
            file=template.file,
            key=template.place(line=error.lineno),
            found=error.message,
        ) from None
    known = (*VARIABLES, *ROUTES[template.route].variables)
    unknown = names - set(known) - set(_environment().globals)
    where = {node.name: node.lineno for node in sorted(tree.find_all(nodes.Name), key=lambda n: -n.lineno)}
    errors = [
        InputError(
            "an unknown variable in a template",
            file=template.file,
            key=template.place(line=where.get(name, 1)),
            found=name,
            valid=known,
        )
        for name in sorted(unknown)
    ]
    if errors:
        raise errors[0] if len(errors) == 1 else InputErrors(errors)
    for function in template.functions:
        if function in domain.rules:
            _try_render(domain, template, function)


def _try_render(domain: Domain, template: Template, function: str) -> None:
    """Render with every slot, then with only those that are always present."""
    slots = [slot.local for slot in domain.spoken(function)]
    sure = list(always_spoken(domain.slots.get(function, ()), domain.statistics.slots.get(function, {})))
    always = [slot.local for slot in sure if not slot.rule.excludes] or [slot.local for slot in sure]
    for present, hint in (
        (slots, ""),
        (always, "; some requests lack this slot: put {% if slots.NAME is defined %} around it"),
    ):
        variables = sample_variables(domain, template, function, present)
        try:
            render_messages(template, variables, seed=1)
        except PromptError as error:
            found = _NO_ATTRIBUTE.search(str(error))
            fields = {name for value in variables.values() if isinstance(value, dict) for name in value}
            raise InputError(
                f"a template cannot be rendered for {function}{hint if found and found.group(1) in slots else ''}",
                file=template.file,
                key=template.place(line=_line_of(error.__cause__)),
                found=found.group(1) if found else str(error),
                expected=None if found else "a template that renders for every request",
                valid=fields if found else None,
            ) from None


def sample_variables(domain: Domain, template: Template, function: str, present: Sequence[str]) -> dict[str, Any]:
    """The variables of a made-up request, complete like those of a real one."""
    slots = {name: f"some {name}" for name in present}
    query = " ".join(slots.values()) or "some words"
    arguments = made_up(domain.slots.get(function, ()), present)
    example = {"draft": query, "query": query, "arguments": arguments, "slots": dict(slots)}
    low, high = next(iter(domain.statistics.length_buckets.values()))
    variables: dict[str, Any] = {
        "function": {"name": function, "description": domain.functions[function].description},
        "slots": slots,
        "arguments": arguments,
        "path": {step.name: f"some {step.name}" for step in domain.rules[function].path},
        "record": next(iter(domain.records.values()), {}),
        "length": {"name": next(iter(domain.statistics.length_buckets)), "low": low, "high": high},
        "language": next(iter(domain.statistics.languages)),
        "keyword": {"text": "some words", "place": "first"},
        "draft": query,
        "examples": [example, dict(example)],
        "lexicon": {name: items[0].text for name, items in domain.lexicon.items()},
    }
    if ROUTES[template.route].has_image:
        variables["image"] = {
            "text": "Some Title",
            "colours": ["navy", "white"],
            "layout": "a large title",
            "description": "A design.",
        }
    return variables


def _turns(text: str) -> list[Message]:
    """Split text at turn lines; text before the first is the user's. Drops empty turns, which template loops leave."""
    parts = ["user", *_TURN.split(text)]
    # _TURN.split gives [before, role, text, role, text ...]; with a role in front, roles and texts alternate.
    turns = [{"role": role, "content": body.strip()} for role, body in zip(parts[::2], parts[1::2], strict=True)]
    return [turn for turn in turns if turn["content"]]


def _line_of(error: BaseException | None) -> int:
    """The template line, 1-based, at which rendering failed; Jinja2 puts it into the traceback."""
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    lines = [frame.lineno for frame in frames if frame.filename == "<template>" and frame.lineno]
    return lines[-1] if lines else 1


@lru_cache(maxsize=1)
def _environment() -> BoundedEnvironment:
    return BoundedEnvironment()


@lru_cache(maxsize=256)
def _compiled(body: str) -> jinja2.Template:
    return _environment().from_string(body)
