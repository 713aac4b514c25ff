"""Sentence embeddings for subprompt similarity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routenator.evaluation.metrics import Embed
from routenator.extras import require
from routenator.models import cache_folder, resolve_model

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer


_BATCH = 128


def sentence_embedder(model: str) -> Embed:
    """Return a function that embeds texts with a sentence-transformers model, loaded on its first call.

    Args:
        model: a folder or hub id.
    """

    encoder: SentenceTransformer | None = None

    def embed(texts: list[str]) -> np.ndarray:
        nonlocal encoder
        if encoder is None:
            require("evaluate", "embedding text", ("torch", "transformers", "sentence_transformers"))
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()
            encoder = SentenceTransformer(model)
        vectors: np.ndarray = encoder.encode(
            texts, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False
        )
        return vectors

    return embed


def remembering(name: str, cache: str) -> Embed:
    """Return an embedder that embeds each text once: runs share their gold subprompts and most predicted ones.

    The model is prepared and loaded on its first call.

    Args:
        name: as for ``resolve_model``.
        cache: a config's ``cache``.
    """
    import numpy as np

    inner: list[Embed] = []
    known: dict[str, np.ndarray] = {}

    def embed(texts: list[str]) -> np.ndarray:
        new = list(dict.fromkeys(text for text in texts if text not in known))
        if new:
            if not inner:
                inner.append(sentence_embedder(resolve_model(name, cache_folder(cache))))
            known.update(zip(new, inner[0](new), strict=True))
        return np.stack([known[text] for text in texts])

    return embed
