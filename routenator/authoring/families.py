"""Function families: the same API with a different number of functions. Names change, the population does not.

For fewer functions, the first ones of the API are kept. For more, functions are split by the value of their category,
the most frequent cell of the population first (``play_music`` with music_item = album becomes ``play_music_album``;
``play_music`` keeps all other calls). When all values are used up, functions are split by the presence of an optional
slot (``get_weather_rain_with_city``; ``get_weather_rain`` keeps the calls without it). A slot can split a family only
if its presence depends on no other slot, so that the slot shares of the two halves describe exactly the same
population. The call alone determines which function it belongs to.
"""

from __future__ import annotations

import copy
import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from routenator.authoring.membership import Families, Family
from routenator.authoring.reweigh import with_head, with_tables
from routenator.domain.domain import Domain
from routenator.domain.functions import Function
from routenator.domain.joint import Joint
from routenator.domain.schema import NO_CATEGORY
from routenator.errors import InputError
from routenator.sampling.shares import normalise
from routenator.sampling.strata import category_shares

_LONGEST_NAME = 64  # characters; the limit of function-calling APIs
_NOTHING = 1e-12  # shares below this count as zero


def make_families(domain: Domain, count: int, notes: list[str]) -> tuple[Domain, Families]:
    """Change the domain to exactly ``count`` functions.

    Raises:
        InputError: nothing is left to split, or the remaining functions have no share.
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
            "none of the functions to keep has a share of the population", key="functions", found=count, valid=None
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
        # The last part of a function is not split off, or nothing would be left for the function itself.
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
    """The only category left to a split function, if the API has no others and every call has a category.

    The function is then named after this category too.
    """
    if not split:
        return None
    function = domain.functions[name]
    values = function.names(function.category or "")
    rest = [value for value in values or [] if value not in split]
    return rest[0] if len(rest) == 1 and NO_CATEGORY not in domain.categories_of(name) else None


def _parameter(domain: Domain, name: str) -> str | None:
    """The parameter that holds the category of the function's calls, if any."""
    parameter, rule = domain.functions[name].category, domain.rules.get(name)
    return parameter if rule is not None and rule.category is not None and parameter in rule.slots else None


def _surfaces(domain: Domain, name: str) -> dict[str, list[str]]:
    """Possible argument values for each category. A text that fits several goes to the category of that name first."""
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
    """Turn a text into a part of a function name."""
    return re.sub(r"[^a-z0-9]+", "_", text.casefold()).strip("_") or "other"


def _unused(name: str, taken: set[str]) -> str:
    """Cut the name to the allowed length, append a number if it is taken, and add the result to ``taken``."""
    name = name[:_LONGEST_NAME].rstrip("_")
    numbered = (name, *(f"{name[: _LONGEST_NAME - 4]}_{number}" for number in range(2, 1000)))
    free = next(candidate for candidate in numbered if candidate not in taken)
    taken.add(free)
    return free


def _by_presence(domain: Domain, members: list[Family], count: int) -> list[Family]:
    """Split up to ``count`` families: always the most frequent one, by the slot with the share closest to one half."""
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
        slot = min(free, key=lambda name: abs(free[name] - 0.5))  # ties: the first slot
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
            "too many functions: no category and no independent optional slot is left to split by",
            key="functions", found=count, expected=f"at most {len(members)}",
        )  # fmt: skip
    return members


def free_slots(domain: Domain, member: Family) -> dict[str, float]:
    """Optional slots whose presence in a family's calls depends on no other slot, with shares between 0 and 1."""
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
        # Below 1 if some of its calls lack it; the exact value does not matter here.
        none = category_shares(domain, member.parent).get(NO_CATEGORY, 0.0)
        return 1.0 if none == 0 else 0.0 if none == 1 else 0.5
    return domain.statistics.slots.get(member.parent, {}).get(slot, 1.0)


def _renamed(domain: Domain, members: Sequence[Family]) -> Domain:
    """Replace the domain's functions with the families."""
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
    """P(category | parent) for the family's own categories, including ``none``, regardless of its other slots."""
    if domain.statistics.functions.get(member.parent, 0.0) <= 0:
        return {}
    shares = category_shares(domain, member.parent)
    if member.category is not None:
        return {member.category: shares.get(member.category, 0.0)}
    gone = {other.category for other in members if other.parent == member.parent}
    return {category: share for category, share in shares.items() if category not in gone}


def _table(domain: Domain, member: Family, shares: Mapping[str, float]) -> dict[str, float]:
    """The family's entry under ``categories``: other families' values stay with weight 0, so that checks know them.

    A family without a category keeps the parent's weights, since a table must not be all zero.
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
    """The families' cells: those of the parent for their categories, scaled to the families' shares."""
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
    """The family's entry in the API: the parent's parameters, and a description that says which calls it is for."""
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
