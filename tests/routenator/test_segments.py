"""Words are counted where a script has no spaces between them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routenator import extras
from routenator.dataset.keys import word_counts
from routenator.extras import MissingPackageError, is_installed
from routenator.validation import segments
from routenator.validation.segments import count_words, require_segmenter, segment_tables, segmenter
from routenator.validation.segments_kernel import count_segments

needs_budoux = pytest.mark.skipif(not is_installed("budoux"), reason="the extra `languages` is not installed")
LANGUAGES = ["en", "ja", "th", "zh-CN", "zh-Hant"]
LETTERS = "東京の天気は晴れ、お願いしますカレー３abc 😀กรุงเทพช่วยจองที่今天请帮我预订餐馆。"


@needs_budoux
@pytest.mark.parametrize(
    ("text", "language", "count"),
    [
        ("東京で二人の和食の店を予約して", "ja", 5),  # 東京で / 二人の / 和食の / 店を / 予約して
        ("จองร้านอาหารที่กรุงเทพ", "th", 5),
        ("今日は 晴れ", "ja", 2),
        ("table for two", "en", 3),
        ("München heute", "de", 2),
        ("ຂ້ອຍ ໄປ", "lo", 2),  # no model: by its spaces
        ("", "ja", 0),
    ],
)
def test_words_are_counted_by_the_language(text: str, language: str, count: int) -> None:
    """A Japanese query was one word, so that no length bucket could tell short from long ones."""
    assert count_words(text, language) == count


@needs_budoux
@given(st.text(alphabet=LETTERS, max_size=24), st.sampled_from(LANGUAGES[1:]))
@settings(max_examples=400, deadline=None)
def test_the_compiled_count_is_that_of_the_library(text: str, language: str) -> None:
    tables = segment_tables(LANGUAGES)
    raw = np.frombuffer(f"xx{text}yy".encode(), dtype=np.uint8).copy()
    number = LANGUAGES.index(language)
    found = count_segments(tables.keys, tables.scores, tables.spans, number, raw, 2, len(raw) - 2)
    assert found == count_words(text, language)


@needs_budoux
def test_simplified_and_traditional_chinese_have_models_of_their_own() -> None:
    assert segmenter("zh") is not None and segmenter("en") is None
    models = [found.model for name in ("zh", "zh-CN", "zh-TW", "zh-Hant") if (found := segmenter(name)) is not None]
    assert models[0] == models[1] != models[2] == models[3]


@needs_budoux
def test_a_table_of_queries_is_counted_by_the_language_of_each() -> None:
    rows = [("table for two", "en"), ("東京で二人の和食の店を予約して", "ja"), ("ein Tisch", "de")]
    frame = pl.DataFrame(rows, schema={"query": pl.String, "language": pl.String}, orient="row")
    assert word_counts(frame).to_list() == [3, 5, 2]


def test_a_missing_library_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda module: module != "budoux")
    segments.segmenter.cache_clear()
    require_segmenter("de")
    for call in (lambda: require_segmenter("ja"), lambda: count_words("東京", "ja-JP")):
        with pytest.raises(MissingPackageError, match="languages") as found:
            call()
        assert "budoux" in str(found.value) and "pip install" in str(found.value)
