"""``domain draft``: asks a model, prompt by prompt, and keeps what passes as soon as it is checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routenator.config import EngineConfig
from routenator.domain.loader import load_domain, speaking
from routenator.drafting.asks import KINDS, Ask, asks
from routenator.drafting.files import keep
from routenator.drafting.proposals import Proposal, ProposalFilter
from routenator.drafting.translating import TRANSLATED, translations
from routenator.errors import InputError
from routenator.extras import require
from routenator.generation.loading import open_engine

_BATCH = 8  # prompts answered before what passes is kept


@dataclass
class Drafted:
    """The outcome of ``draft``.

    Attributes:
        prompts: answered ones.
        proposals: all of them, refused ones with reasons.
        files: those that changed.
    """

    prompts: int = 0
    proposals: list[Proposal] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Kind -> kept proposals, and all."""
        kept = Counter(each.kind for each in self.proposals if each.kept)
        return {kind: (kept[kind], every) for kind, every in Counter(each.kind for each in self.proposals).items()}


def draft(
    path: Path,
    engine: EngineConfig,
    cache: Path,
    *,
    kinds: Sequence[str] = (),
    functions: Sequence[str] = (),
    count: int = 8,
    seed: int = 0,
    translate: str = "",
    progress: Callable[[int, int, Drafted], None] = lambda done, every, made: None,
) -> Drafted:
    """Let a model propose words for a domain, and add what passes to files of the domain's folder.

    Args:
        path: the domain's folder.
        engine: which model to ask.
        cache: folder of prepared weights.
        kinds: some of ``KINDS``, or with ``translate`` of ``TRANSLATED``; empty: all.
        functions: only for these; empty: all that have a rule and a share.
        count: proposals for each prompt.
        seed: of the prompts and replies.
        translate: code of a language for which to propose what it lacks; "": proposals in the domain's own.
        progress: called after each batch with prompts done, all prompts, and the outcome so far.

    Raises:
        InputError: a name that does not exist, or a domain with errors.
        StageError: the model cannot be loaded, or died; what was kept before stays.
    """
    require("door", "drafting (inflection of English)", ("inflect",))
    domain = load_domain(path)
    every_kind = TRANSLATED if translate else KINDS
    kinds = kinds or every_kind
    for names, known, key in ((kinds, every_kind, "--kinds"), (functions, domain.rules, "--functions")):
        for name in names:
            if name not in known:
                raise InputError("no such name", key=key, found=name, valid=known)
    used = [name for name in domain.rules if domain.statistics.functions.get(name, 0) > 0]
    chosen = [name for name in used if not functions or name in functions]
    if translate:
        view, language = speaking(domain, translate)
        todo = list(translations(domain, view, language, kinds, chosen, seed))
        screen, folder = ProposalFilter(view, translate), language.path
    else:
        todo = list(asks(domain, kinds, chosen, seed))
        screen, folder = ProposalFilter(domain), path
    made = Drafted()
    model = open_engine(engine, cache)
    try:
        for batch in _batches(todo):
            prompts = [ask.prompt(count, engine.temperature, engine.top_p) for ask in batch]
            for ask, reply in zip(batch, model.generate(prompts), strict=True):
                found = list(screen.read(ask, reply.text)) if not reply.refused else [_unanswered(ask, reply.refused)]
                made.files += [file for file in keep(folder, found, model.name, translate) if file not in made.files]
                made.proposals += found
                made.prompts += 1
            progress(made.prompts, len(todo), made)
    finally:
        model.close()
    _ = load_domain(path).no_call  # what was kept can be read, topics too, which load at first use
    if translate:
        speaking(load_domain(path), translate)
    return made


def _unanswered(ask: Ask, why: str) -> Proposal:
    return Proposal(ask.kind, ask.name, "", "", why, ask.origin)


def _batches(todo: Sequence[Ask]) -> Iterator[Sequence[Ask]]:
    for start in range(0, len(todo), _BATCH):
        yield todo[start : start + _BATCH]
