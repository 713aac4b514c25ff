"""Which embedder serves which languages."""

from __future__ import annotations

from routenator.embedders import MULTILINGUAL, embedder_warnings, served_languages


def test_the_embedders_of_the_profiles_serve_english() -> None:
    for name in ("sentence-transformers/all-MiniLM-L6-v2", "package:all-minilm-l6-v2"):
        assert served_languages(name) == {"en"}
        assert embedder_warnings(name, ["en", "en-GB"], "merge.ambiguity") == []
        [warning] = embedder_warnings(name, ["tr", "en", "de"], "merge.ambiguity")
        assert warning.startswith(f"merge.ambiguity: the embedder {name} was trained on English only")
        assert "de, tr" in warning and MULTILINGUAL in warning


def test_a_multilingual_embedder_serves_its_languages_and_an_unknown_one_may_serve_any() -> None:
    assert embedder_warnings(MULTILINGUAL, ["de", "da", "nb", "zh-TW", "ja"], "x") == []
    [warning] = embedder_warnings(MULTILINGUAL, ["de", "eu"], "x")
    assert "in eu" in warning and "model.embedder=" not in warning
    assert embedder_warnings("/models/ours", ["eu"], "x") == []
