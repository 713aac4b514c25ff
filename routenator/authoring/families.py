"""Function families: the same API with another number of functions, so that only names change and the population stays.

Fewer: the first of the API. More: a function is split by the value of its category, the commonest cell of the
population first (``play_music`` with music_item = album becomes ``play_music_album``; ``play_music`` remains for all
other calls); when all values are used up, by whether a call holds one optional slot (``get_weather_rain_with_city``;
``get_weather_rain`` remains for calls without). A slot splits a family only where its presence depends on no other
slot's, so that the halves' slot shares say exactly the same population. Which function a call belongs to is a function
of the call alone.
"""

from __future__ import annotations

import copy
import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from routenator.authoring.reweigh import with_head, with_tables
from routenator.domain.domain import Domain
from routenator.domain.functions import Function
from routenator.domain.joint import Joint
from routenator.domain.schema import NO_CATEGORY
from routenator.errors import InputError
from routenator.files import read_json
from routenator.sampling.strata import category_shares, normalise

FILE = "families.json"
_LONGEST_NAME = 64  # characters, as APIs of this kind allow
_NOTHING = 1e-12  # a share below this is none


@dataclass(frozen=True)
class Family:
    """One function of the new API.

    Attributes:
        parent: the function that it was split from, or itself.
        parameter: the parent's category parameter, if it has one that calls hold.
        said: what the category parameter says in its calls, any of these and in any case; empty: what no other family
            of the parent says.
        present, absent: slots that its calls hold, and that they do not.
        category: the category that ``said`` stands for.
        share: of the population.
    """

    name: str
    parent: str
    parameter: str | None = None
    said: tuple[str, ...] = ()
    present: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    category: str | None = None
    share: float = 0.0

    def holds(self, slots: Mapping[str, Any]) -> bool:
        """Whether a call with these arguments has the right slots."""
        return self.present <= slots.keys() and not self.absent & slots.keys()


class Families:
    """Which function a call belongs to."""

    def __init__(self, members: Sequence[Family]) -> None:
        self.members = list(members)
        self._by_value: dict[tuple[str, str], list[Family]] = {}
        self._others: dict[str, list[Family]] = {}
        for member in members:
            for value in member.said:
                self._by_value.setdefault((member.parent, value.casefold()), []).append(member)
            if not member.said:
                self._others.setdefault(member.parent, []).append(member)
        self._parameter = {member.parent: member.parameter for member in members}

    def of(self, name: str, arguments: Mapping[str, Any]) -> str | None:
        """The function of a call of the source's API; None if its function was left out."""
        value = arguments.get(self._parameter.get(name) or "")
        members = self._others.get(name, [])
        if value is not None:
            members = self._by_value.get((name, str(value).casefold()), members)
        return next((member.name for member in members if member.holds(arguments)), None)

    def as_list(self) -> list[dict[str, Any]]:
        """As ``families.json`` holds them."""
        return [
            {
                "name": m.name,
                "from": m.parent,
                "when": {
                    **({"parameter": m.parameter, "says": list(m.said)} if m.said else {}),
                    **({"present": sorted(m.present)} if m.present else {}),
                    **({"absent": sorted(m.absent)} if m.absent else {}),
                },
                "parameter": m.parameter,
                "share": m.share,
            }
            for m in self.members
        ]


def load_families(file: Path) -> Families:
    """The families of a derived domain.

    Args:
        file: its ``families.json``.
    """
    return Families(
        [
            Family(
                entry["name"],
                entry["from"],
                entry["parameter"],
                tuple(entry["when"].get("says", ())),
                frozenset(entry["when"].get("present", ())),
                frozenset(entry["when"].get("absent", ())),
                share=entry["share"],
            )
            for entry in read_json(file)
        ]
    )


def make_families(domain: Domain, count: int, notes: list[str]) -> tuple[Domain, Families]:
    """The domain with exactly ``count`` functions.

    Raises:
        InputError: there is nothing left to split, or the functions that remain have no share.
    """
    members = _by_category(domain, count, notes)
    if len(members) < count:
        members = _by_presence(domain, members, count)
    return _renamed(domain, members), Families(members)


def _by_category(domain: Domain, count: int, notes: list[str]) -> list[Family]:
    """At most ``count`` families, split by category alone."""

    names = list(domain.functions)[:count]
    population = normalise({name: domain.statistics.functions.get(name, 0.0) for name in names}) if names else {}
    if not population:
        raise InputError(
            "the first functions have no share of the population", key="functions", found=count, valid=None
        )
    if count < len(domain.functions):
        notes.append(
            f"the first {count} functions are kept: {', '.join(names)}; "
            f"left out: {', '.join(list(domain.functions)[count:])}"
        )
    cells = []
    for place, name in enumerate(names):
        if name in population and _parameter(domain, name) is not None:
            shares = category_shares(domain, name)
            cells += [
                (-population[name] * share, place, number, name, c)
                for number, (c, share) in enumerate(shares.items())
                if c != NO_CATEGORY
            ]
    split: dict[str, dict[str, float]] = {name: {} for name in names}
    left = dict(population)
    missing = count - len(names)
    for negative, _, _, name, category in sorted(cells):
        # The last part of a function stays with it: nothing would be left for it.
        if missing and left[name] + negative > _NOTHING:
            split[name][category] = -negative
            left[name] += negative
            missing -= 1
    taken = set(domain.functions)
    members = []
    for name in names:
        parameter, surfaces = _parameter(domain, name), _surfaces(domain, name)
        others = dict(split[name])
        base = Family(name, name, parameter, share=left.get(name, 0.0))
        rest = _last(domain, name, split[name])
        if rest is not None:
            others[rest] = left[name]
        else:
            members.append(base)
        for category, share in others.items():
            own = _unused(f"{name}_{_word(category)}", taken)
            members.append(Family(own, name, parameter, tuple(surfaces[category]), category=category, share=share))
    return members


def _last(domain: Domain, name: str, split: Mapping[str, float]) -> str | None:
    """The only category that a split function still has, if its API has no other and no calls without: then it too is
    named after it.
    """
    if not split:
        return None
    function = domain.functions[name]
    values = function.enum(function.category or "")
    rest = [value for value in values or [] if value not in split]
    return rest[0] if len(rest) == 1 and NO_CATEGORY not in domain.categories_of(name) else None


def _parameter(domain: Domain, name: str) -> str | None:
    """The parameter by which a call of the function tells its category."""
    parameter, rule = domain.functions[name].category, domain.rules.get(name)
    return parameter if rule is not None and rule.category is not None and parameter in rule.slots else None


def _surfaces(domain: Domain, name: str) -> dict[str, list[str]]:
    """What a call may hold for each category; each text stands for one category, and rather for the one whose name it
    is.
    """
    if _parameter(domain, name) is None:
        return {}
    owner: dict[str, tuple[str, str]] = {}
    categories = sorted(domain.reachable_categories(name))
    nodes = {category: domain.category_nodes(name, category) for category in categories}
    # The category's own name comes first, then labels, then aliases.
    for texts in (
        [(category, category) for category in categories],
        [(category, node.label) for category in categories for node in nodes[category]],
        [(category, alias) for category in categories for node in nodes[category] for alias in node.surfaces],
    ):
        for category, text in texts:
            owner.setdefault(text.casefold(), (category, text))
    found: dict[str, list[str]] = {category: [] for category in categories}
    for category, text in owner.values():
        found[category].append(text)
    return found


def _word(text: str) -> str:
    """A text as part of a function's name."""
    return re.sub(r"[^a-z0-9]+", "_", text.casefold()).strip("_") or "other"


def _unused(name: str, taken: set[str]) -> str:
    """The name, cut to what an API allows, with a number if another function has it; it is taken then."""
    name = name[:_LONGEST_NAME].rstrip("_")
    numbered = (name, *(f"{name[: _LONGEST_NAME - 4]}_{number}" for number in range(2, 1000)))
    free = next(candidate for candidate in numbered if candidate not in taken)
    taken.add(free)
    return free


def _by_presence(domain: Domain, members: list[Family], count: int) -> list[Family]:
    """``count`` families: the commonest is halved again and again, by the slot whose share is nearest to a half."""
    taken = {member.name for member in members} | set(domain.functions)
    queue = [(-member.share, place, member) for place, member in enumerate(members) if member.share > 0]
    heapq.heapify(queue)
    done = [member for member in members if member.share <= 0]
    made = len(members)
    while queue and len(queue) + len(done) < count:
        _, place, member = heapq.heappop(queue)
        names = {
            slot: f"{member.name}_{'and' if member.present else 'with'}_{_word(slot)}"
            for slot in domain.rules[member.parent].slots
        }
        free = {slot: share for slot, share in free_slots(domain, member).items() if len(names[slot]) <= _LONGEST_NAME}
        if not free:
            done.append(member)
            continue
        slot = min(free, key=lambda name: abs(free[name] - 0.5))  # the first, of several as near
        with_it = replace(
            member, name=_unused(names[slot], taken), present=member.present | {slot}, share=member.share * free[slot]
        )
        without = replace(member, absent=member.absent | {slot}, share=member.share * (1 - free[slot]))
        heapq.heappush(queue, (-without.share, place, without))
        heapq.heappush(queue, (-with_it.share, made, with_it))
        made += 1
    order = {name: place for place, name in enumerate(domain.functions)}
    members = sorted([*done, *(member for _, _, member in queue)], key=lambda m: order[m.parent])
    if len(members) < count:
        raise InputError(
            "too many functions: there is no category and no free optional slot left to split by",
            key="functions", found=count, expected=f"at most {len(members)}",
        )  # fmt: skip
    return members


def free_slots(domain: Domain, member: Family) -> dict[str, float]:
    """The optional slots whose presence in a family's calls depends on no other slot's, and their shares, between 0 and
    1.
    """
    always: set[str] = set()
    never: set[str] = set()
    free: dict[str, float] = {}
    for slot, rule in domain.rules[member.parent].slots.items():
        share = _slot_share(domain, member, slot)
        if share <= 0 or always & set(rule.excludes) or never & set(rule.needs):
            never.add(slot)
        elif never >= set(rule.excludes) and always >= set(rule.needs):
            if share >= 1:
                always.add(slot)
            elif slot != member.parameter:
                free[slot] = share
    return free


def _slot_share(domain: Domain, member: Family, slot: str) -> float:
    if (
        slot in member.present
        or slot in domain.functions[member.parent].required
        or (slot == member.parameter and member.category is not None)
    ):
        return 1.0
    if slot in member.absent:
        return 0.0
    if slot == member.parameter:
        # Below 1 as long as some of its calls hold none; how far does not matter here.
        none = category_shares(domain, member.parent).get(NO_CATEGORY, 0.0)
        return 1.0 if none == 0 else 0.0 if none == 1 else 0.5
    return domain.statistics.slots.get(member.parent, {}).get(slot, 1.0)


def _renamed(domain: Domain, members: Sequence[Family]) -> Domain:
    """The domain whose functions are the families."""
    shares = {member.name: _categories(domain, members, member) for member in members}
    statistics = domain.statistics
    renamed = {
        "functions": {m.name: m.share for m in members if m.parent in statistics.functions},
        "categories": {m.name: _table(domain, m, shares[m.name]) for m in members if m.parent in statistics.categories},
        "slots": {m.name: _slots(domain, m, shares[m.name]) for m in members},
        **{
            section: {
                m.name: getattr(statistics, section)[m.parent]
                for m in members
                if m.parent in getattr(statistics, section)
            }
            for section in ("lengths", "word_quantiles", "routes", "keyword_position")
        },
    }
    made = replace(
        domain,
        functions={
            m.name: _function(domain.functions[m.parent], m, split=m.name != m.parent or _is_split(members, m))
            for m in members
        },
        rules={m.name: domain.rules[m.parent] for m in members if m.parent in domain.rules},
        joint=None if domain.joint is None else _joint(domain.joint, members, shares),
    )
    made = with_tables(made, **renamed)
    known = {NO_CATEGORY, *(name for table in made.statistics.categories.values() for name in table)}
    templates = {}
    for name, template in domain.templates.items():
        categories = None if template.categories is None else [c for c in template.categories if c in known]
        functions = [
            m.name
            for m in members
            if m.parent in template.functions
            and (categories is None or not shares[m.name] or set(categories) & shares[m.name].keys())
        ]
        if functions:
            templates[name] = with_head(template, functions=functions, categories=categories)
    return replace(made, templates=templates)


def _is_split(members: Sequence[Family], member: Family) -> bool:
    return sum(other.parent == member.parent for other in members) > 1


def _categories(domain: Domain, members: Sequence[Family], member: Family) -> dict[str, float]:
    """P(category | parent) of a family's own categories, with ``none``: its part of the parent's calls, presence left
    aside.
    """

    if domain.statistics.functions.get(member.parent, 0.0) <= 0:
        return {}
    shares = category_shares(domain, member.parent)
    if member.category is not None:
        return {member.category: shares.get(member.category, 0.0)}
    gone = {other.category for other in members if other.parent == member.parent}
    return {category: share for category, share in shares.items() if category not in gone}


def _table(domain: Domain, member: Family, shares: Mapping[str, float]) -> dict[str, float]:
    """The family's entry under ``categories``: the others' values stay without weight, so that the checks still know
    them.

    A family that has no category keeps the parent's weights, since a table may not be all zero.
    """
    parents = domain.statistics.categories[member.parent]
    own = {name: share if name in shares else 0.0 for name, share in parents.items()}
    return own if any(own.values()) else parents


def _slots(domain: Domain, member: Family, shares: Mapping[str, float]) -> dict[str, float]:
    """The family's entry under ``slots``."""
    table = {
        **domain.statistics.slots.get(member.parent, {}),
        **dict.fromkeys(member.present, 1.0),
        **dict.fromkeys(member.absent, 0.0),
    }
    if member.parameter is not None and member.parameter not in domain.functions[member.parent].required and shares:
        none = shares.get(NO_CATEGORY, 0.0)
        table[member.parameter] = 1.0 if none == 0 else 1.0 - none / sum(shares.values())
    return table


def _joint(joint: Joint, members: Sequence[Family], shares: Mapping[str, Mapping[str, float]]) -> Joint:
    """The families' cells: the parent's of their categories, in the part that their slots leave them."""
    weights = {}
    for member in members:
        cells = {c: cells for c, cells in joint.weights.get(member.parent, {}).items() if c in shares[member.name]}
        total = sum(weight for table in cells.values() for weight in table.values())
        if total > 0:
            scale = member.share / total
            weights[member.name] = {
                c: {cell: weight * scale for cell, weight in table.items()} for c, table in cells.items()
            }
    return Joint(weights)


def _function(parent: Function, member: Family, *, split: bool) -> Function:
    """The family's entry in the API: the parent's parameters, and a description that says what it is for."""
    if not split:
        return replace(parent, name=member.name)
    parts = []
    if member.category is not None:
        parts.append(f"{member.parameter} is {member.category}")
    elif member.parameter is not None:
        parts.append(f"no other function is for its {member.parameter}")
    parts += [f"{slot} is given" for slot in sorted(member.present)] + [
        f"{slot} is not given" for slot in sorted(member.absent)
    ]
    description = f"{parent.description} Only where {', '.join(parts)}."
    return replace(
        parent, name=member.name, description=description.strip(), parameters=copy.deepcopy(parent.parameters)
    )
