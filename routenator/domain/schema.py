"""Schema of a domain's YAML files. Unknown keys are refused, and the nearest valid key is suggested."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from routenator.config import RouteName
from routenator.domain.kinds import value_name
from routenator.parsing import Closed

Weight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Weights = dict[str, Weight]


def _category_name(value: Any) -> Any:
    """YAML reads the categories of an integer or boolean enum as such; their names are texts."""
    return value_name(value) if isinstance(value, bool | int | float) else value


CategoryName = Annotated[str, BeforeValidator(_category_name, json_schema_input_type=str | bool | int | float)]

NO_CATEGORY = "none"  # stands for "no category"
NO_CALL = "none"  # stands for the function of a row without a call
CallCount = Annotated[int, Field(ge=0, le=4)]
NoCallKind = Literal["topics", "near", "chat"]


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
            "value": {"surface"},
            "said": {"weights", *({"relative", "sent"} if self.relative else ())}
            | ({"at", "surface"} if self.relative == "time" else set()),
            "items": {"join"} if tuple_like else {"count", "join", "unique"},
            "fields": {"surface"},
            "entries": {"count", "join"},
        }[shape]
        extra = self.model_fields_set - {shape, "excludes", "needs"} - allowed
        if extra:
            raise ValueError(f"{', '.join(sorted(extra))} has no meaning beside {shape}")
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


class Noise(Closed):
    """Typing habits applied to heuristic queries; each is a share of the queries.

    Attributes:
        lowercase: share without capitals.
        typo: share with one typing error.
        no_punctuation: share without punctuation.
    """

    lowercase: Annotated[float, Field(ge=0, le=1)] = 0.0
    typo: Annotated[float, Field(ge=0, le=1)] = 0.0
    no_punctuation: Annotated[float, Field(ge=0, le=1)] = 0.0


class JointCell(Closed):
    """One cell of a target given as a joint distribution.

    Attributes:
        function: name of the function.
        category: name of the category; ``none`` for a call without one.
        length: name of the length bucket.
        language: code of the language.
        share: weight of the cell.
    """

    function: str
    category: CategoryName = NO_CATEGORY
    length: str
    language: str = "en"
    share: Weight


class Statistics(Closed):
    """statistics.yaml: the population, as shares only.

    The file may omit ``functions`` and ``lengths`` if ``joint`` or ``word_quantiles`` implies them; in a loaded domain
    they are always filled in.

    Attributes:
        languages: weights of the queries' languages, by code.
        functions: weights of the functions.
        categories: weights of each function's categories.
        length_buckets: least and greatest number of words of each bucket, both included.
        lengths: weights of each function's length buckets.
        word_quantiles: by function, quantile to the least number of words that this share of queries does not exceed.
        joint: the whole target as cells, or a CSV or Parquet file in the domain's folder with the cells.
        routes: weights of each function's routes.
        slots: by function, the share of calls that have an optional slot.
        keyword_position: weights of the third of the query that has the category word, by function.
        noise: typing habits, applied to heuristic queries outside the slots.
        calls: shares of the rows, by their number of calls.
        no_call: weights of what rows without a call are; empty: the default of the style of prompt.
    """

    languages: Weights = {"en": 1.0}
    functions: Weights = {}
    categories: dict[str, dict[CategoryName, Weight]] = {}
    length_buckets: dict[str, tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]]
    lengths: dict[str, Weights] = {}
    word_quantiles: dict[str, dict[Annotated[float, Field(gt=0, lt=1)], Annotated[int, Field(ge=1)]]] = {}
    joint: list[JointCell] | str | None = None
    routes: dict[str, dict[RouteName, Weight]]
    slots: dict[str, dict[str, Annotated[float, Field(ge=0, le=1)]]] = {}
    keyword_position: dict[str, dict[Literal["first", "middle", "last"], Weight]] = {}
    noise: Noise = Noise()
    calls: dict[CallCount, Weight] = {1: 1.0}
    no_call: dict[NoCallKind, Weight] = {}


class NoCallEntry(Closed):
    """A topic of queries without a call.

    Attributes:
        kind: ``topics``: other things that people ask for; ``chat``: talk.
        weight: weight of the topic within its kind.
        languages: only for these languages; default: the file's.
        serves: words that name this topic; an API whose descriptions have them gets no such rows.
        text: the queries' grammar.
    """

    kind: Literal["topics", "chat"] = "topics"
    weight: Weight = 1.0
    languages: list[str] | None = None
    serves: list[str] = []
    text: str


class NoCallFile(Closed):
    """templates/no_call.yaml. ``languages`` holds for every topic that does not give its own.

    Attributes:
        extends: whether the package's topics and words are used too.
        frame: what may stand around a topic's pattern.
        languages: languages of the topics that give none.
        words: lists of words that the patterns name, as in lexicon.yaml.
        templates: the topics, by name.
    """

    extends: bool = True
    frame: str = "{query}"
    languages: list[str] | None = None
    words: dict[str, Any] = {}
    templates: dict[str, NoCallEntry] = {}


class Join(Closed):
    """How a query joins several requests: texts before the first, between, and before the last.

    Attributes:
        open: text before the first.
        between: text between two.
        last: text before the last.
        weight: relative frequency of this way.
    """

    open: str = ""
    between: str = ", "
    last: str
    weight: Annotated[float, Field(gt=0)] = 1.0


class TemplateHead(Closed):
    """Which cells of the target a template serves, and how a model is asked.

    Attributes:
        functions: functions that it serves; ``*``: all.
        weight: relative frequency; 0: never used, unless ``domain derive`` names it.
        lengths: only for these length buckets.
        categories: only for these categories.
        languages: only for these languages.
        for: models that it is for: those whose profile says ``guided: true``, the others (free), or any.
        system: system message of the prompt.
        max_tokens: tokens of a reply; default: the model's.
        temperature: of sampling; default: the model's.
        top_p: of sampling; default: the model's.
        output: ``json``: structured output with the key ``query``; ``line``: the first line of the reply.
        guide: ``slots``: a guided model only writes texts that say each slot once, in words of the heuristic templates.
    """

    functions: Annotated[list[str], Field(min_length=1)]
    weight: Weight = 1.0
    lengths: list[str] | None = None
    categories: list[CategoryName] | None = None
    languages: list[str] | None = None
    for_: Annotated[Literal["any", "guided", "free"], Field(alias="for")] = "any"
    system: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    output: Literal["json", "line"] = "json"
    guide: Literal["none", "slots"] = "none"


class TemplateEntry(TemplateHead):
    """One template of a file: its head, and its grammar or prompt.

    Attributes:
        text: the grammar of a heuristic template, or the prompt of another.
    """

    text: str


class TemplateFile(Closed):
    """A file of templates, by name. ``functions`` holds for every template that does not give its own.

    Attributes:
        functions: functions of the templates that give none; ``*``: all.
        templates: the templates, by name; a name is unique in its route.
    """

    functions: list[str] | None = None
    templates: Annotated[dict[str, TemplateEntry], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _share_functions(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "functions" not in value or not isinstance(value.get("templates"), dict):
            return value
        shared = {"functions": value["functions"]}
        entries = {name: {**shared, **entry} if isinstance(entry, dict) else entry
                   for name, entry in value["templates"].items()}  # fmt: skip
        return {**value, "templates": entries}


class LexiconItem(Closed):
    """A word or phrase and its weight.

    Attributes:
        text: the word or phrase.
        weight: relative frequency.
    """

    text: str
    weight: Annotated[float, Field(gt=0)] = 1.0
