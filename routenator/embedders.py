"""The languages that the embedders in common use were trained on."""

from __future__ import annotations

from collections.abc import Iterable

from routenator.language import base_code

ENGLISH = frozenset({"en"})
_FIFTY = """
    ar bg ca cs da de el en es et fa fi fr gl gu he hi hr hu hy id it ja ka ko ku lt lv mk mn mr ms my nb nl no pl pt ro
    ru sk sl sq sr sv th tr uk ur vi zh"""
FIFTY = frozenset(_FIFTY.split())
MULTILINGUAL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
# Parts of names -> languages; the first that is in a name counts. Models of other names may serve any language.
_SERVES = {
    "multilingual-minilm": FIFTY,
    "multilingual-mpnet": FIFTY,
    "distiluse-base-multilingual": FIFTY,
    "all-minilm": ENGLISH,
    "all-mpnet": ENGLISH,
    "all-distilroberta": ENGLISH,
    "multi-qa": ENGLISH,
    "bge-small-en": ENGLISH,
    "bge-base-en": ENGLISH,
    "bge-large-en": ENGLISH,
}


def served_languages(embedder: str) -> frozenset[str] | None:
    """Codes of the languages that an embedder was trained on; None if its name does not say.

    Args:
        embedder: a hub id, a folder or a packaged model.
    """
    name = embedder.lower()
    return next((languages for part, languages in _SERVES.items() if part in name), None)


def embedder_warnings(embedder: str, languages: Iterable[str], user: str) -> list[str]:
    """Warn of languages that an embedder was not trained on.

    Args:
        embedder: as in ``model.embedder``.
        languages: of the queries.
        user: what compares queries by it; the message starts with it.
    """
    served = served_languages(embedder)
    if served is None:
        return []
    strange = sorted({language for language in languages if base_code(language) not in served})
    if not strange:
        return []
    kind = "on English only" if served == ENGLISH else "on some fifty languages"
    better = "" if served == FIFTY else f"; model.embedder={MULTILINGUAL} serves some fifty languages"
    return [f"{user}: the embedder {embedder} was trained {kind}, and queries are in {', '.join(strange)}{better}"]
