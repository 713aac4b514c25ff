"""Schemas of statistics.yaml, the template files and the lexicon's entries; that of domain.yaml is in rules.py."""

from __future__ import annotations

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


class LanguageStatistics(Closed):
    """languages/CODE/statistics.yaml: what differs in one language. Other tables are those of statistics.yaml.

    Attributes:
        lengths: weights of each function's length buckets.
        word_quantiles: by function, quantile to the least number of words that this share of queries does not exceed.
        slots: by function, the share of calls that have an optional slot; not of the category's.
        keyword_position: weights of the third of the query that has the category word, by function.
        noise: typing habits, applied to heuristic queries outside the slots.
    """

    lengths: dict[str, Weights] = {}
    word_quantiles: dict[str, dict[Annotated[float, Field(gt=0, lt=1)], Annotated[int, Field(ge=1)]]] = {}
    slots: dict[str, dict[str, Annotated[float, Field(ge=0, le=1)]]] = {}
    keyword_position: dict[str, dict[Literal["first", "middle", "last"], Weight]] = {}
    noise: Noise = Noise()


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
