"""A loaded domain: one product API with its graph, statistics, lexicon and templates."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from routenator.domain.functions import Function
from routenator.domain.graph import Edge, Node
from routenator.domain.joint import Joint
from routenator.domain.languages import Language
from routenator.domain.nocall import NoCall, load_no_call
from routenator.domain.rules import Days, FunctionRule
from routenator.domain.schema import NO_CATEGORY, LexiconItem, Statistics
from routenator.domain.slots import Slot, slots_of, spoken
from routenator.domain.templates import Template
from routenator.grammar import Node as GrammarNode


class Phrase(NamedTuple):
    """A value of a slot that lists its values by ``said``, and what says it.

    Attributes:
        value: the text that is sent; of a relative one that on the first day of the domain's ``today``.
        surface: None if the value is sent but not said.
        relative: grammar of a value that depends on the row's today.
    """

    value: str
    weight: float
    surface: GrammarNode | None
    relative: GrammarNode | None = None


@dataclass(frozen=True)
class Domain:
    """One product API, loaded from a folder.

    Attributes:
        values, surfaces, phrases: grammars of slots by (function, full name of the slot). ``surfaces`` also has the
            patterns of objects that are said in one piece, and under ``name[]`` those of a map's entries.
        languages: the files of each language that has some.
        views: by language; empty if no language has files of its own.
    """

    path: Path
    title: str
    description: str
    functions: dict[str, Function]
    rules: dict[str, FunctionRule]
    nodes: dict[str, Node]
    edges: list[Edge]
    statistics: Statistics
    lexicon: dict[str, list[LexiconItem]]
    templates: dict[str, Template]
    records: dict[str, dict[str, Any]]
    today: Days | None = None
    joint: Joint | None = None  # the target as one table; if None, the statistics' conditional shares are the target
    values: dict[tuple[str, str], GrammarNode] = field(default_factory=dict)
    surfaces: dict[tuple[str, str], GrammarNode | None] = field(default_factory=dict)
    phrases: dict[tuple[str, str], tuple[Phrase, ...]] = field(default_factory=dict)
    languages: dict[str, Language] = field(default_factory=dict)
    views: dict[str, Domain] = field(default_factory=dict)

    def view(self, language: str) -> Domain:
        """The domain as queries in a language see it: with that language's words, patterns and statistics."""
        return self.views.get(language, self)

    @property
    def every_view(self) -> list[Domain]:
        """The domain as each of its languages sees it; one for all languages without files of their own."""
        return list({id(view): view for view in self.views.values()}.values()) or [self]

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def no_call(self) -> NoCall:
        """What queries with no call or several are made of; read on first use.

        Raises:
            InputError / InputErrors: as ``load_no_call``.
        """
        return load_no_call(self.path / "templates", self.functions, self.rules, self.lexicon)

    def tools(self) -> list[dict[str, Any]]:
        """The API as OpenAI tools, without our ``x-role`` marks."""
        return [function.tool() for function in self.functions.values()]

    @cached_property
    def slots(self) -> dict[str, tuple[Slot, ...]]:
        """The slots of each function that has a rule, as a tree.

        Raises:
            InputError: a rule does not fit the schema of its parameter.
        """
        file = self.path / "domain.yaml"
        return {
            name: slots_of(self.functions[name], rule.slots, file, f"functions.{name}.slots")
            for name, rule in self.rules.items()
            if name in self.functions
        }

    def spoken(self, function: str) -> list[Slot]:
        """The slots that a function's templates can name."""
        return list(spoken(self.slots.get(function, ())))

    def node_category(self, function: str, node: Node) -> str:
        """The category that a node of the function's category step stands for."""
        rule = self.rules[function].category
        if rule is None:
            return NO_CATEGORY
        return node.named if rule.attribute is None else node.attributes.get(rule.attribute, "")

    @cached_property
    def nodes_by_category(self) -> dict[tuple[str, str], list[Node]]:
        """(function, category) -> nodes of the category step that stand for the category."""
        table: dict[tuple[str, str], list[Node]] = {}
        for name, rule in self.rules.items():
            if rule.category is None:
                continue
            kind = next(step.type for step in rule.path if step.name == rule.category.step)
            for node in self.nodes.values():
                if node.type == kind:
                    table.setdefault((name, self.node_category(name, node)), []).append(node)
        return table

    def category_nodes(self, function: str, category: str) -> list[Node]:
        """Nodes of the category step that stand for a category."""
        return self.nodes_by_category.get((function, category), [])

    def reachable_categories(self, function: str) -> set[str]:
        """Categories that at least one node of the function's category step stands for."""
        return {category for name, category in self.nodes_by_category if name == function}

    def categories_of(self, function: str) -> list[str]:
        """Categories that a request for the function can have; only ``none`` if the function has no category."""
        rule, api = self.rules[function], self.functions[function]
        if rule.category is None:
            return [NO_CATEGORY]
        names = (api.names(api.category) if api.category else None) or sorted(self.reachable_categories(function))
        optional = api.category in rule.slots and api.category not in api.required
        return [*names, NO_CATEGORY] if optional else names

    def category_surfaces(self, function: str, category: str) -> list[str]:
        """All wordings of a category: labels and aliases of its nodes, and its name with and without underscores."""
        words = {surface for node in self.category_nodes(function, category) for surface in node.surfaces}
        return sorted(words | {category, category.replace("_", " ")})
