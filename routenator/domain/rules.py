"""Schema of domain.yaml: the rules by which requests for each function are made."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from routenator.domain.kinds import value_name
from routenator.domain.schema import Weight
from routenator.parsing import Closed


class Step(Closed):
    """One step of a path: a node type, reached from the previous step or from the step named by ``from``.

    Attributes:
        type: type of the graph's nodes that the step goes to.
        name: the step's name in grammars; default: its type.
        from: the step that it continues from; default: the one before it.
    """

    type: str
    name: str = ""
    from_: str | None = Field(default=None, alias="from")

    @model_validator(mode="before")
    @classmethod
    def _default_name(cls, value: Any) -> Any:
        if isinstance(value, dict) and "type" in value:
            return {"name": value["type"], **value}
        return value


class Root(Closed):
    """Restricts which nodes of the first type can start a walk: those whose attribute equals a value.

    Attributes:
        attribute: a column of the nodes' file.
        equals: the value that it must have.
    """

    attribute: str
    equals: str


class CategoryRule(Closed):
    """Names the step that decides the category, and the attribute to use (default: the node's label).

    Attributes:
        step: name of a step of the path.
        attribute: attribute of the step's node that is the category; default: the node's label.
    """

    step: str
    attribute: str | None = None


def _from_text(value: Any) -> Any:
    """A rule that is only a value may be written as that value."""
    return {"value": value} if isinstance(value, str) else value


def _phrase_table(value: Any) -> Any:
    """Names of values and lists of phrases: ``{true: gift wrapped, false: []}``."""
    if not isinstance(value, dict):
        return value
    return {
        value_name(key): [phrases] if isinstance(phrases, str) else [] if phrases is None else phrases
        for key, phrases in value.items()
    }


_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
]  # fmt: skip
MOST_DAYS = 3660


class Days(Closed):
    """The days of which each row has one, its today.

    Attributes:
        from: the first day.
        to: the last day.
        weekdays: their names in queries, Monday first.
        months: their names in queries.
    """

    from_: datetime.date = Field(alias="from")
    to: datetime.date
    weekdays: Annotated[list[str], Field(min_length=7, max_length=7)] = _WEEKDAYS
    months: Annotated[list[str], Field(min_length=12, max_length=12)] = _MONTHS

    @property
    def count(self) -> int:
        """Number of days, both ends included."""
        return (self.to - self.from_).days + 1

    @model_validator(mode="after")
    def _in_order(self) -> Days:
        if not 1 <= self.count <= MOST_DAYS:
            raise ValueError(f"{self.from_} to {self.to} are {self.count} days; 1 to {MOST_DAYS} are possible")
        if not (datetime.date(1900, 1, 1) <= self.from_ and self.to <= datetime.date(2200, 12, 31)):
            raise ValueError("the days must lie between 1900 and 2200")
        return self


def _weight_table(value: Any) -> Any:
    return {value_name(key): weight for key, weight in value.items()} if isinstance(value, dict) else value


_Phrases = Annotated[
    dict[str, list[str]] | None,
    BeforeValidator(_phrase_table, json_schema_input_type=dict[str, str | list[str] | None] | None),
]
Rule = Annotated["SlotRule", BeforeValidator(_from_text)]


class EntryRule(Closed):
    """The entries of a map.

    Attributes:
        key: the rule of the keys.
        value: the rule of the values.
        surface: how an entry is said: a pattern over {key} and {value}.
    """

    key: Rule
    value: Rule
    surface: str = "{key} {value}"


class SlotRule(Closed):
    """How a value is made, and how a query puts it into words. One of ``SHAPES`` says what the value is.

    Attributes:
        value: grammar of a single value.
        said: single values, each with the phrases that say it; a value without a phrase is sent but not said.
        weights: of the values in ``said``; all equal if missing.
        relative: ``said`` has numbers of days after today instead of values; sent is that day, or that day and a time.
        at: times of day, each with the phrases that say it.
        sent: how a relative value is sent, over {date} and {time}.
        items: the rule of a list's items, or of each element of a tuple.
        fields: the rules of an object's fields.
        entries: the rules of a map's keys and values.
        surface: how the value is said: a grammar for a single value, a pattern over the fields for an object, a pattern
            over {on} and {at} for a relative time.
        copied: the value is what the query says, in whatever form a pattern asks for (``{city.loc}``), not the label.
        count: number of items or entries -> weight.
        join: put between items: one text, or one and another for the last; by language, where there are several.
        unique: no two items are equal, or, if it names a field, no two have the same value there.
        excludes: slots above it beside which it is never present.
        needs: slots above it without which it is never present.
    """

    value: str | None = None
    said: _Phrases = None
    weights: Annotated[dict[str, Weight], BeforeValidator(_weight_table)] = {}
    relative: Literal["date", "time"] | None = None
    at: _Phrases = None
    sent: str | None = None
    items: Rule | list[Rule] | None = None
    fields: dict[str, Rule] | None = None
    entries: EntryRule | None = None
    surface: str | None = None
    copied: bool = False
    count: dict[Annotated[int, Field(ge=0)], Weight] = {}
    join: str | list[str] | dict[str, list[str]] | None = None
    unique: bool | str = True
    excludes: list[str] = []
    needs: list[str] = []

    def grammars(self) -> Iterator[str]:
        """The texts of all grammars and patterns in this rule and those of its parts."""
        if self.value is not None:
            yield self.value
        if self.surface is not None:
            yield self.surface
        for phrases in (*(self.said or {}).values(), *(self.at or {}).values()):
            yield from phrases
        items = self.items if isinstance(self.items, list) else [self.items] if self.items else []
        parts = [*items, *(self.fields or {}).values()]
        if self.entries is not None:
            yield self.entries.surface
            parts += [self.entries.key, self.entries.value]
        for part in parts:
            yield from part.grammars()

    @model_validator(mode="after")
    def _one_shape(self) -> SlotRule:
        given = [name for name in SHAPES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"{' and '.join(given) or 'nothing'} given; give exactly one of {', '.join(SHAPES)}")
        shape = given[0]
        tuple_like = isinstance(self.items, list)
        allowed = {
            "value": {"surface", "copied"},
            "said": {"weights", *({"relative", "sent"} if self.relative else ())}
            | ({"at", "surface"} if self.relative == "time" else set()),
            "items": {"join"} if tuple_like else {"count", "join", "unique"},
            "fields": {"surface"},
            "entries": {"count", "join"},
        }[shape]
        extra = self.model_fields_set - {shape, "excludes", "needs"} - allowed
        if extra:
            raise ValueError(f"{', '.join(sorted(extra))} has no meaning beside {shape}")
        if self.copied and self.surface is not None:
            raise ValueError("a copied value is what the query says: it has no surface of its own")
        if self.count and not any(self.count.values()):
            raise ValueError("the weights of count are all zero")
        if self.said is not None:
            if not self.said:
                raise ValueError("said has no values")
            unknown = set(self.weights) - set(self.said)
            if unknown:
                raise ValueError(f"weights of values that are not in said: {', '.join(sorted(unknown))}")
            if self.weights and not any(self.weights.values()):
                raise ValueError("the weights are all zero")
        if self.relative is not None:
            self._check_relative(self.said or {})
        for texts in self.join.values() if isinstance(self.join, dict) else [self.join]:
            if isinstance(texts, list) and not 1 <= len(texts) <= 2:
                raise ValueError("join has one text, or one and another that is put before the last item")
        return self

    def _check_relative(self, said: dict[str, list[str]]) -> None:
        wrong = [key for key in said if not re.fullmatch(r"-?[0-9]{1,3}", key)]
        if wrong:
            raise ValueError(f"relative: said has numbers of days after today, -999 to 999, not {wrong[0]!r}")
        if self.relative != "time":
            return
        if not self.at or not all(phrase.strip() for phrases in self.at.values() for phrase in phrases or [""]):
            raise ValueError("relative: time needs `at`, times of day with phrases that say them")
        wrong = [key for key in self.at if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", key)]
        if wrong:
            raise ValueError(f'at has times of day such as "09:30", in quotes, not {wrong[0]!r}')


class DayNames(Closed):
    """Names of days and months in one language.

    Attributes:
        weekdays: seven, Monday first.
        months: twelve.
    """

    weekdays: Annotated[list[str], Field(min_length=7, max_length=7)] | None = None
    months: Annotated[list[str], Field(min_length=12, max_length=12)] | None = None


def _from_surface(value: Any) -> Any:
    """Words that are only a surface may be written as that surface."""
    return {"surface": value} if isinstance(value, str) else value


WordsOf = Annotated["SlotWords", BeforeValidator(_from_surface)]


class EntryWords(Closed):
    """How the entries of a map are said in one language.

    Attributes:
        key: words of the keys.
        value: words of the values.
        surface: a pattern over {key} and {value}.
    """

    key: WordsOf | None = None
    value: WordsOf | None = None
    surface: str | None = None


class SlotWords(Closed):
    """How a slot is said in one language. What is not given here is as in the domain's own domain.yaml.

    Attributes:
        value: grammar of a value that is copied from the query.
        surface: as in domain.yaml. A slot may be written as its surface alone.
        copied: as in domain.yaml.
        said: phrases by value. Numbers of days may be others than in domain.yaml, other values may not.
        at: phrases by time of day.
        join: put between items: one text, or one and another for the last.
        items: words of a list's items, or of each element of a tuple.
        fields: words of an object's fields.
        entries: words of a map's keys and values.
    """

    value: str | None = None
    surface: str | None = None
    copied: bool = False
    said: _Phrases = None
    at: _Phrases = None
    join: str | list[str] | None = None
    items: WordsOf | list[WordsOf] | None = None
    fields: dict[str, WordsOf] | None = None
    entries: EntryWords | None = None


class LanguageFile(Closed):
    """languages/CODE/domain.yaml: how slots are said in one language.

    Attributes:
        today: names of days and months.
        functions: words of slots, by function and slot.
    """

    today: DayNames | None = None
    functions: dict[str, dict[str, WordsOf]] = {}


SHAPES = ("value", "said", "items", "fields", "entries")


class FunctionRule(Closed):
    """How requests for one API function are made.

    Attributes:
        path: a walk over the graph, step by step; empty: no graph, slots take their values from value lists.
        root: which nodes of the first type a walk may start from; default: all.
        category: the step that decides the category; default: the function has none.
        slots: rules of the parameters that the data should teach, by name. A rule may be a text: its value.
    """

    path: list[Step] = []
    root: Root | None = None
    category: CategoryRule | None = None
    slots: dict[str, Rule]


class DomainFile(Closed):
    """domain.yaml: how requests for each function of an API are made.

    Attributes:
        title: the API's name, for people.
        description: one paragraph on what it is.
        today: the days of which each row has one, which its prompt states.
        functions: rules by the name of the function in functions.json.
    """

    title: str
    description: str = ""
    today: Days | None = None
    functions: Annotated[dict[str, FunctionRule], Field(min_length=1)]
