"""Shares the pilots of target keyword positions among a process's tests.

They are pure functions of what a domain says and of ``sample.tries``. Each task, which in a run has a process of its
own, begins with them, and they took a third of the CPU time of the tests that make rows of a small domain.
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from routenator.domain.domain import Domain
from routenator.domain.templates import Template

_known: dict[bytes, Any] = {}


def share() -> None:
    """Make composers of equal domains share their pilots; does nothing until their module is loaded."""
    module = sys.modules.get("routenator.wording.composer")
    if module is None or getattr(module.Composer, "shares_pilots", False):
        return
    made = module.Composer.position_targets.func

    def position_targets(self: Any) -> Any:
        if not self.domain.statistics.keyword_position:
            return made(self)  # there is no pilot
        try:
            key = pickle.dumps((_without_paths(self.domain), self.writer.tries))
        except (AttributeError, TypeError, pickle.PicklingError):  # its functions have compiled their schemas
            return made(self)
        if key not in _known:
            _known[key] = made(self)
        return dict(_known[key])

    shared = cached_property(position_targets)
    shared.__set_name__(module.Composer, "position_targets")
    module.Composer.position_targets, module.Composer.shares_pilots = shared, True


def _without_paths(domain: Domain) -> Domain:
    def moved(templates: dict[str, Template]) -> dict[str, Template]:
        return {name: replace(template, file=Path()) for name, template in templates.items()}

    languages = {
        code: replace(language, path=Path(), templates=moved(language.templates))
        for code, language in domain.languages.items()
    }
    return replace(domain, path=Path(), templates=moved(domain.templates), languages=languages, views={})
