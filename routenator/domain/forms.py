"""Slots in another form: ``{room.dat}`` in a template says the slot ``room`` by the attribute ``dat`` of its node.

So a language's patterns can ask for a case or a number, and whatever else the nodes have as attributes. The slot's
surface, or its value if it has none, is then one step of the path, such as ``{Room}`` or ``{Room.label}``.
"""

from __future__ import annotations

from routenator import grammar
from routenator.domain.domain import Domain
from routenator.domain.slots import LEAF, Slot


def form_step(domain: Domain, function: str, slot: Slot) -> str:
    """The step that a slot says; "" if it says anything else, and so has no other forms."""
    key = (function, slot.name)
    said = domain.surfaces.get(key) or domain.values.get(key)
    if slot.shape != LEAF or not isinstance(said, grammar.Reference):
        return ""
    step = said.name.partition(".")[0]
    return step if any(each.name == step for each in domain.rules[function].path) else ""


def forms_of(domain: Domain, function: str) -> list[str]:
    """The forms that a function's templates name, such as ``room.dat``, each once."""
    slots = frozenset(slot.local for slot in domain.spoken(function))
    return list(
        dict.fromkeys(
            reference.name
            for template in domain.templates.values()
            if template.grammar is not None and function in template.functions
            for reference in grammar.references(template.grammar)
            if reference.name not in slots and grammar.slot_of(reference.name, slots)
        )
    )
