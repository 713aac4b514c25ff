"""Measures of variety, on queries that can be counted by hand."""

from __future__ import annotations

import pytest

from benchmarks.diversity import frame, measures


def test_a_frame_is_what_the_values_leave() -> None:
    assert frame("Play Jazz Suite by Shostakovich!", ["jazz suite", "Shostakovich"]) == ("play", "_", "by", "_")
    assert frame("posters of a poster", ["poster"]) == ("posters", "of", "a", "_"), "whole words only"
    assert frame("ab a", ["a", "ab"]) == ("_", "_")


def test_measures() -> None:
    frames = [("play", "_", "by", "_"), ("play", "_", "by", "_"), ("put", "on", "_"), ("_",)]
    found = measures(frames)
    assert found["vocabulary"] == 4 and found["frames"] == 0.75 and found["openings"] == 0.75
    assert found["distinct_1"] == pytest.approx(4 / 6)
    # pairs: play _, _ by, by _ (twice each), put on, on _
    assert found["distinct_2"] == pytest.approx(5 / 8)
    assert found["words"] == pytest.approx(6 / 4)
