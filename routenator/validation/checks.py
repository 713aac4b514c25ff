"""The checks of a candidate, in order. Each is a small function that returns what it found if it fails, else None.

Duplicates, leakage of golden queries and ambiguity cannot be seen in a single candidate; the merge handles them. All
reasons are listed in routenator/generation/reasons.py. To add a check, write the function and add it to ``CHECKS`` with
its reason code and meaning.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from routenator.config import ChecksConfig
from routenator.domain.calls import Call
from routenator.domain.domain import Domain
from routenator.domain.functions import check_call
from routenator.language import SURE, base_code, detect, known, related
from routenator.validation.letters import is_latin, is_spaceless, stands_alone
from routenator.validation.segments import count_words
from routenator.validation.text import find_phrase, find_words, grams, spoken_share, without_phrases, words
from routenator.validation.words import (
    DANGLING,
    ELIDING,
    FUNCTION_WORDS,
    OBJECTS,
    OWN_WORDS,
    TELLING_WORDS,
    longest_word,
)

_LONGEST = 600  # characters; no user types more into one line
ECHO = 6  # this many consecutive words of the prompt are not a coincidence
_LETTERS_A_WORD = 3  # of a script without spaces
# Fewer Latin letters tell the detector too little, in a language other than the six for which SURE was measured.
_FEWEST_LETTERS = 15
# Runs of up to _FEW letters, each a word by itself, may be repeated fewer than _OFTEN times: いろいろ
_FEW, _OFTEN = 4, 4
# Stock phrases of chat models, instead of, before or after the query. Allowed within a slot's surface ("Sure Thing", a
# song).
_REPLY_HABITS = re.compile(
    r"""^\W*(
      sure\b | certainly\b | of\ course\b | absolutely\b
    | ((ok|okay|great|alright)\W+)?here('s|\ is|\ are)\ (a|an|the|your|some)\b[^:]{0,60}:
    | as\ an\ ai\b | i'm\ sorry\b | i\ am\ sorry\b | i\ apologi[sz]e\b | i\ cannot\b | i\ can't\ (help|assist|provide)\b
    | (the\ )?(rewritten|rephrased?|rewrite|reworded|paraphrased?|query|request|search\ query|user|assistant)\s*:
    | (answer|output|response|note|example|facts)\s*:
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# Talk about the query, anywhere in it.
_META = re.compile(
    r"""\b(
      (the|this)\ user\ (wants|needs|asks|is|would|has)
    | (the|this|your)\ (query|request|prompt|rewrite)\ (is|asks|wants|says|means|seems|mentions)
    | (original|rewritten|rephrased|reworded|paraphrased)\ (query|request|sentence|version|prompt)
    | i\ hope\ (this|that|it)\ helps | let\ me\ know\ if\ you\ (need|want|have|would|'d) | feel\ free\ to\ ask
    | as\ an\ ai\ (language\ )?model | (language|ai)\ model,?\ i\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_MARKUP = re.compile(
    r"\{\{|\}\}|\{%|%\}|<\|[a-z_]+\||\[(user|assistant|INST)\]|</?[a-z]{1,12}>|```|\*\*|https?:/|^\s*[{\[]",
    re.IGNORECASE,
)
_VOWELLESS = re.compile(r"^[bcdfghjklmnpqrstvwxz]{6,}$")


@dataclass(frozen=True)
class Candidate:
    """A query with the parts of its request that the checks need.

    Attributes:
        query: the cleaned query.
        calls: the gold calls: none, one or several.
        slots: surface by slot, for each call; the query must contain them.
        category: the request's category.
        bounds: lowest and highest number of words of its length bucket.
        language: language code.
        template: name of the template that wrote the query.
        draft: the heuristic query for the same call.
    """

    query: str
    calls: Sequence[Call]
    slots: Sequence[Mapping[str, str]]
    category: str
    bounds: tuple[int, int]
    language: str
    template: str
    draft: str

    @cached_property
    def words(self) -> tuple[str, ...]:
        return words(self.query)

    @cached_property
    def glue(self) -> list[str]:
        """The query's words outside the slots' surfaces; "\\0" stands for a surface."""
        return without_phrases(self.surfaces, self.words)

    @cached_property
    def surfaces(self) -> list[str]:
        """The surfaces of all slots."""
        return [surface for slots in self.slots for surface in slots.values()]


@dataclass
class Context:
    """Everything that the checks need besides the candidate.

    Attributes:
        domain: functions, categories and their surfaces.
        config: the run's ``checks`` section.
        prompt_texts: name of a template -> its fixed text (system message and body), which a query must not repeat.
    """

    domain: Domain
    config: ChecksConfig
    prompt_texts: Mapping[str, str]
    _echoes: dict[tuple[str, int], set[tuple[str, ...]]] = field(default_factory=dict)
    _surfaces: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)

    def echoes(self, template: str, size: int = ECHO) -> set[tuple[str, ...]]:
        """Runs of ``size`` words of a template's prompt."""
        key = (template, size)
        if key not in self._echoes:
            self._echoes[key] = grams(words(self.prompt_texts.get(template, "")), size)
        return self._echoes[key]

    def surfaces(self, function: str, category: str, language: str) -> list[str]:
        key = (function, category, language)
        if key not in self._surfaces:
            self._surfaces[key] = self.domain.view(language).category_surfaces(function, category)
        return self._surfaces[key]

    @cached_property
    def categories(self) -> dict[str, list[str]]:
        """Category names by function."""
        return {function: list(shares) for function, shares in self.domain.statistics.categories.items()}


def empty(candidate: Candidate, context: Context) -> str | None:
    return None if candidate.words else "no words"


def too_long(candidate: Candidate, context: Context) -> str | None:
    if "\n" in candidate.query:
        return "more than one line"
    return f"{len(candidate.query)} characters" if len(candidate.query) > _LONGEST else None


def boilerplate(candidate: Candidate, context: Context) -> str | None:
    found = _REPLY_HABITS.search(candidate.query)
    if found is None and candidate.query != candidate.draft:  # a draft is the domain's own words
        found = _META.search(candidate.query)
    if found is None:
        return None
    before, habit = len(words(candidate.query[: found.start()])), len(words(found.group(0)))
    for surface in candidate.surfaces:
        start = find_phrase(surface, candidate.words)
        if 0 <= start <= before and before + habit <= start + len(words(surface)):
            return None
    return found.group(0).strip()


def markup(candidate: Candidate, context: Context) -> str | None:
    found = _MARKUP.search(candidate.query)
    return found.group(0).strip() if found else None


def prompt_echo(candidate: Candidate, context: Context) -> str | None:
    size = ECHO * _LETTERS_A_WORD if is_spaceless(candidate.language) else ECHO
    shared = grams(candidate.words, size) & context.echoes(candidate.template, size)
    return " ".join(min(shared)) if shared else None


def quotes(candidate: Candidate, context: Context) -> str | None:
    text = candidate.query
    if text.count('"') % 2:
        return 'an odd number of "'
    for left, right in ("()", "[]", "{}", "„“" if "„" in text else "“”"):
        if text.count(left) != text.count(right):
            return f"{left} and {right} do not match"
    return None


def repetition(candidate: Candidate, context: Context) -> str | None:
    """Fail on repeated words, unless the slots repeat them as often: Duran Duran; in Lisbon in Lisbon District."""
    said = candidate.words
    in_slots = Counter(word for surface in candidate.surfaces for word in words(surface))
    common = OWN_WORDS.get(candidate.language, frozenset())
    for size in range(1, len(said) // 2 + 1):
        for run, times in _runs(said, size):
            limit = context.config.max_repetition if size == 1 else 2
            if size <= _FEW and all(map(stands_alone, run)):
                limit = max(limit, _OFTEN)
            own = min((in_slots[word] for word in run if word not in common), default=0)
            if times >= limit and times > own:
                return f"{' '.join(run)!r} {times} times in a row"
    return None


def _runs(said: tuple[str, ...], size: int) -> Iterator[tuple[tuple[str, ...], int]]:
    """Find runs of ``size`` words that are immediately repeated; yield each with its number of repetitions.

    Overlapping runs are yielded too: "a b a b a" gives both "a b" and "b a".
    """
    for start in range(len(said) - 2 * size + 1):
        run, times = said[start : start + size], 1
        while said[start + times * size : start + (times + 1) * size] == run:
            times += 1
        if times > 1:
            yield run, times


def language(candidate: Candidate, context: Context) -> str | None:
    """Check the words outside the slots (script, function words of other languages, non-words), then the full query."""
    if not context.config.language:
        return None
    own = OWN_WORDS.get(candidate.language)
    seen = None if own is None else _foreign_words(candidate, own)
    if seen is not None:
        return seen
    if any(word in TELLING_WORDS.get(candidate.language, ()) for word in candidate.glue):
        return None  # a slot may hold a title in another language
    if {*words(candidate.draft), "\0"}.issuperset(candidate.glue):
        return None  # all words are the domain's own; the detector is often wrong about a few bare nouns
    wanted = base_code(candidate.language)
    found, score = detect(candidate.query.replace("\n", " "))
    if found == wanted or score < SURE or wanted not in known() or found in related(wanted):
        return None
    if candidate.language not in FUNCTION_WORDS and _latin_letters(candidate.query) < _FEWEST_LETTERS:
        return None
    return f"reads like {found} ({score:.0%})"


def _latin_letters(text: str) -> int:
    """Number of letters of a text; treated as endless if one is of another script, which says a lot."""
    letters = [sign for sign in text if sign.isalpha()]
    return len(letters) if all(is_latin(ord(sign)) for sign in letters) else _LONGEST


def _foreign_words(candidate: Candidate, own: frozenset[str]) -> str | None:
    glue = [word for word in candidate.glue if word != "\0"]
    letters = [sign for word in glue for sign in word if sign.isalpha()]
    foreign = [sign for sign in letters if not is_latin(ord(sign))]
    if len(foreign) * 5 > len(letters):
        return f"{len(foreign)} of {len(letters)} letters are not Latin"
    odd = [word for word in glue if len(word) > longest_word(candidate.language) or _VOWELLESS.match(word)]
    if odd:
        return f"{odd[0]!r} is not a word"
    hits = sum(word in own for word in glue)
    for code, others in FUNCTION_WORDS.items():
        theirs = list(dict.fromkeys(word for word in glue if word in others and word not in own))
        if code != candidate.language and len(theirs) >= 2 and len(theirs) > hits:
            return f"looks like {code}: {' '.join(theirs[:4])}"
    return None


def schema(candidate: Candidate, context: Context) -> str | None:
    for name, arguments in candidate.calls:
        errors = check_call(context.domain.functions[name], arguments)
        if errors:
            return f"{errors[0].kind}: {errors[0].message}"
    return None


def ungrounded(candidate: Candidate, context: Context) -> str | None:
    """The query must contain every slot's surface; for the category, any of its surfaces will do."""
    for call, slots in zip(candidate.calls, candidate.slots, strict=True):
        category = context.domain.functions[call.name].category
        for name, surface in slots.items():
            if find_phrase(surface, candidate.words) >= 0 or _elided(surface, candidate):
                continue
            if name == category and any(
                find_phrase(other, candidate.words) >= 0
                for other in context.surfaces(call.name, candidate.category, candidate.language)
            ):
                continue
            if context.config.grounding >= 1.0 or spoken_share(surface, candidate.words) < context.config.grounding:
                return f"{name}: {surface!r} is not in the query"
    return None


def _elided(surface: str, candidate: Candidate) -> bool:
    """True if an article or preposition has grown together with the surface: "album" in "l'album"."""
    if candidate.language not in ELIDING:
        return False
    query = [part for word in candidate.words for part in word.split("'")]
    return find_words(tuple(part for word in words(surface) for part in word.split("'")), query) >= 0


def contradicts(candidate: Candidate, context: Context) -> str | None:
    """Fail if the query names a category other than the call's, instead of it or in addition."""
    if candidate.query == candidate.draft or len(candidate.calls) != 1:
        return None  # in a draft, words between the slots never name a category, see below
    name = candidate.calls[0].name
    category = context.domain.functions[name].category
    if category is None or category not in candidate.slots[0]:
        return None
    mine = {words(surface) for surface in context.surfaces(name, candidate.category, candidate.language)}
    for other in context.categories.get(name, []):
        if other == candidate.category:
            continue
        for surface in context.surfaces(name, other, candidate.language):
            # A word that the draft also has between its slots is not used as a category: "sketch a poster".
            if (
                words(surface) not in mine
                and _names(surface, candidate.glue)
                and find_phrase(surface, words(candidate.draft)) < 0
            ):
                return f"says {surface!r} ({other})"
    return None


def _names(surface: str, glue: list[str]) -> bool:
    """True if the words outside the slots use this as a noun; in "show me" or "play the" it is a verb."""
    start = find_phrase(surface, glue)
    after = start + len(words(surface))
    return start >= 0 and not (after < len(glue) and glue[after] in OBJECTS)


def length(candidate: Candidate, context: Context) -> str | None:
    if not context.config.length:
        return None
    count, (low, high) = count_words(candidate.query, candidate.language), candidate.bounds
    return None if low <= count <= high else f"{count} words, not {low} to {high}"


def incomplete(candidate: Candidate, context: Context) -> str | None:
    last = candidate.glue[-1] if candidate.glue else ""
    return f"ends with {last!r}" if last in DANGLING.get(candidate.language, ()) else None


Check = Callable[[Candidate, Context], str | None]

# Order matters: the first failure is the reason, so the most informative checks come first.
CHECKS: dict[str, tuple[Check, str]] = {
    "empty": (empty, "contains no words"),
    "too_long": (too_long, "longer than anything a user would type, or more than one line"),
    "boilerplate": (boilerplate, "contains a chat model's stock phrases (Sure, here is; Query:)"),
    "markup": (markup, "contains template or chat markup, JSON or a web address"),
    "prompt_echo": (prompt_echo, "repeats text of the prompt"),
    "quotes": (quotes, "unbalanced quotes or brackets"),
    "repetition": (repetition, "repeats a word or phrase over and over"),
    "language": (language, "not in the request's language"),
    "schema": (schema, "the gold call violates the function's schema"),
    "ungrounded": (ungrounded, "a value of the gold call is missing"),
    "contradicts": (contradicts, "names a category other than the gold call's"),
    "length": (length, "outside its length bucket"),
    "incomplete": (incomplete, "breaks off"),
}

# Reasons for requests that get no query to check.
EARLY_REASONS: dict[str, str] = {
    "prompt": "the template cannot be rendered for this request",
    "prompt_too_long": "the prompt plus its reply would not fit in the model's context",
    "no_image": "the vision route has no metadata record to draw",
    "unreadable_image": "the record cannot be drawn, or no text could be read in the image",
    "unparsable": "the reply is not the requested JSON",
}


def first_failure(candidate: Candidate, context: Context, *, passed: Container[Check] = ()) -> tuple[str, str] | None:
    """Return the first failing check's reason code and what it found, or None if the candidate is accepted.

    Args:
        candidate: the candidate.
        context: the context.
        passed: checks that the candidate is known to pass; they are skipped.
    """
    for code, (check, _) in CHECKS.items():
        detail = None if check in passed else check(candidate, context)
        if detail is not None:
            return code, detail
    return None
