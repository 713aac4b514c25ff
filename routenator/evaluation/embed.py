"""Sentence embeddings for subprompt similarity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from routenator.evaluation.metrics import Embed
from routenator.extras import require

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
