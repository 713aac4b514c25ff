"""Guesses the function of a query, knowing only the domain: its heuristic grammar and its descriptions.

A linear classifier over TF-IDF weights of words, word pairs and character n-grams, trained on queries drawn from the
domain's own heuristic templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from routenator.compose import probe_config
from routenator.domain.domain import Domain
from routenator.sampling.strata import heuristic_templates
from routenator.wording.composer import Composer

_DRAFTS = 400  # at most, per function and language; each gives two texts
_ALL_DRAFTS = 8000  # of all functions in a language: with many functions, training takes a minute
_SURE = 0.5  # minimum probability of a guess
_MARGIN = 0.2  # minimum lead over the second guess
_SEED = 0  # fixed, so that the same domain gives the same guesses


@dataclass
class Labeller:
    """Guesses functions. Its model is trained at the first guess, since most samples have calls."""

    domain: Domain
    _model: Any = field(default=None, repr=False)

    def guess(self, queries: Sequence[str]) -> list[str | None]:
        """Guess a function for each query; None where the guess is unsure."""
        if self._model is None:
            self._model = self._train()
        if isinstance(self._model, str):
            return [self._model] * len(queries)
        import numpy as np

        table = self._model.predict_proba(list(queries))
        known = (
            self._model[0].transformer_list[0][1].transform(list(queries)).getnnz(axis=1) > 0
        )  # words that the domain has, too
        names = self._model.classes_
        order = np.sort(table, axis=1)
        sure = known & (order[:, -1] >= _SURE) & (order[:, -1] - order[:, -2] >= _MARGIN)
        best = table.argmax(axis=1)
        return [str(names[place]) if fine else None for place, fine in zip(best.tolist(), sure.tolist(), strict=True)]

    def _train(self) -> Any:
        """Train a scikit-learn pipeline; if there is only one function, return its name instead."""
        functions = [name for name, share in self.domain.statistics.functions.items() if share > 0]
        if len(functions) == 1:
            return functions[0]
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        composer = Composer(self.domain, probe_config(self.domain.path), [])
        texts: list[str] = []
        labels: list[str] = []
        for function in functions:
            written = self._texts(composer, function)
            texts += written
            labels += [function] * len(written)
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2)
        return make_pipeline(make_union(words, letters), LogisticRegression(max_iter=1000)).fit(texts, labels)

    def _texts(self, composer: Composer, function: str) -> list[str]:
        texts = [self.domain.functions[function].description]
        count = min(_DRAFTS, _ALL_DRAFTS // len(self.domain.functions) + 1)
        for language, share in self.domain.statistics.languages.items():
            if share > 0 and heuristic_templates(self.domain, function, language):
                for example in composer.examples(_SEED, function, language, count):
                    texts += [example["draft"], example["query"]]
        return texts
