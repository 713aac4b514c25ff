"""Jinja2 with bounds, for templates from elsewhere.

Jinja's sandbox keeps a template from Python's internals, but not from taking all memory or time: ``"%1000000000d"`` is
a gigabyte, and a few loops within each other never end. Here every loop, call and operator counts against a budget,
and whatever could make a long text is first measured for how long that may become.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_STEPS = 100_000  # rounds of loops, calls, filters, operators and hundreds of characters made, of one rendering
LONGEST = 1_000_000  # characters of a text, digits of a number, or values in a list
_MOST_PRODUCT = 100_000_000  # of the lengths and numbers given to one call: what `replace` or `indent` could make
_SEQUENCES = (str, bytes, list, tuple)
_BUILT_IN = (str, bytes, int, list, tuple, dict)
_WIDTH = re.compile(r"\d{5,}")  # in a format string


class BoundsError(jinja2.TemplateRuntimeError):
    """A template needs more than the bounds allow."""


class _Generator(CodeGenerator):
    """Compiles ``a ~ b`` to a bounded operator; Jinja's own joins texts of any length."""

    def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:
        self.write("environment.concatenated((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


def _ask(name: str, subject: Any, others: Iterable[Any]) -> None:
    """Refuse a call that could make a long text: ``replace``, ``center``, ``join``, ``format`` and the like."""
    if name == "format" and isinstance(subject, str) and _WIDTH.search(subject):
        raise BoundsError("a format wider than 9,999 characters")
    product = _size(subject)
    for other in others:
        product *= max(1, abs(other) if isinstance(other, int) else _size(other))
        if product > _MOST_PRODUCT:
            raise BoundsError(f"a call of {name!r} that could make more than {LONGEST:,} characters")


def _limit(length: int) -> None:
    if length > LONGEST:
        raise BoundsError(f"a text, list or number of more than {LONGEST:,} characters, values or digits")


def _size(value: Any) -> int:
    """Return the length of a text, the digits of a number, or the values in a list with all that is in it."""
    total, waiting = 0, [value]
    while waiting and total <= LONGEST:
        item = waiting.pop()
        if isinstance(item, str | bytes | range):
            total += len(item)
        elif isinstance(item, int):
            total += 1 + item.bit_length() // 3
        else:
            total += 1
            if isinstance(item, dict):
                waiting.extend(item.keys())
                waiting.extend(item.values())
            elif isinstance(item, list | tuple | set | frozenset):
                waiting.extend(item)
    return total


def _text(value: Any) -> str:
    """Format a value. Lists may hold each other many times, so their text is measured before it is made."""
    if isinstance(value, str):
        return value
    _limit(_size(value))
    return str(value)


def _concat(parts: Iterable[str]) -> str:
    texts, length = [], 0
    for part in parts:
        length += len(part)
        _limit(length)
        texts.append(part)
    return "".join(texts)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a budget for each rendering, which ``begin`` renews."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "*", "**", "%"})
    concat = staticmethod(_concat)

    def __init__(self) -> None:
        super().__init__(
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
            finalize=_text,
        )
        self._local = threading.local()
        # Jinja's own tojson is made for web pages: it writes \u0027 for an apostrophe, and a model would imitate that.
        self.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
        self.filters = {name: self._guarded(name, call) for name, call in self.filters.items()}
        self.filters["_counted"] = self._counted
        del self.globals["lipsum"]  # random filler, of any length

    def begin(self) -> None:
        """Renew the budget."""
        self._local.steps = 0

    def parse(self, source: str, name: str | None = None, filename: str | None = None) -> nodes.Template:
        """Parse a template.

        Raises:
            TemplateSyntaxError: it is not a template, or nested deeper than Python's stack.
        """
        try:
            return super().parse(source, name, filename)
        except RecursionError:
            raise jinja2.TemplateSyntaxError("nested too deeply", 1) from None

    def _generate(
        self, source: nodes.Template, name: str | None, filename: str | None, defer_init: bool = False
    ) -> str:
        for loop in source.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
            loop.iter.set_environment(self)
        return super()._generate(source, name, filename, defer_init)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function or method; Jinja comes here for every call in a template."""
        self._step()
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, _BUILT_IN):
            args = tuple(map(self._held, args))
            _ask(str(getattr(obj, "__name__", "")), owner, (*args, *kwargs.values()))
        return self._charged(super().call(context, obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return a bounded ``str.format`` for the method of a string, None for anything else."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def bounded(*args: Any, **kwargs: Any) -> str:
            _ask("format", value.__self__, (*args, *kwargs.values()))
            return wrapped(*args, **kwargs)

        return bounded

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Apply an operator; Jinja comes here for those in ``intercepted_binops``."""
        self._step()
        both = isinstance(left, int) and isinstance(right, int)
        if operator == "**" and both:
            _limit(left.bit_length() * abs(right) // 3)
        elif operator == "*" and both:
            _limit((left.bit_length() + right.bit_length()) // 3)
        elif operator == "*" and isinstance(left, _SEQUENCES) and isinstance(right, int):
            _limit(_size(left) * max(0, right))
        elif operator == "*" and isinstance(right, _SEQUENCES) and isinstance(left, int):
            _limit(_size(right) * max(0, left))
        elif operator == "+" and isinstance(left, _SEQUENCES) and isinstance(right, _SEQUENCES):
            _limit(len(left) + len(right))
        elif operator == "%" and isinstance(left, str):
            _ask("format", left, right if isinstance(right, tuple) else (right,))
        return self._charged(super().call_binop(context, operator, left, right))

    def concatenated(self, parts: Iterable[Any]) -> str:
        """Join values as text: the operator ``~``."""
        self._step()
        return str(self._charged(_concat(map(_text, parts))))

    def _guarded(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        subject = 1 if hasattr(call, "jinja_pass_arg") else 0  # Jinja's context may come first

        @wraps(call)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self._step()
            args = tuple(map(self._held, args))
            if len(args) > subject:
                _ask(name, args[subject], (*args[subject + 1 :], *kwargs.values()))
            return self._charged(call(*args, **kwargs))

        return guarded

    def _held(self, value: Any) -> Any:
        """Make a list of what a lazy filter gives, so that it has a length."""
        return list(self._counted(value)) if isinstance(value, Iterator) else value

    def _charged(self, value: Any) -> Any:
        """Count what was made."""
        if isinstance(value, str | list | tuple):
            _limit(len(value))
            self._step(len(value) // 100)
        return value

    def _step(self, count: int = 1) -> None:
        self._local.steps = getattr(self._local, "steps", 0) + count
        if self._local.steps > MOST_STEPS:
            raise BoundsError(f"more work than {MOST_STEPS:,} rounds of loops, calls and operators")

    def _counted(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self._step()
            yield value
