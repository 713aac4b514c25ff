"""Tests of the random decisions about a row."""

from __future__ import annotations

from collections import Counter

from routenator.generation.seeds import STREAM_PICK, STREAM_REPLY, derive, pick, shuffled


def test_numbers_depend_on_seed_stream_and_attempt() -> None:
    numbers = {
        derive(seed, stream, attempt)
        for seed in (0, 1, 2**63 - 1)
        for stream in (STREAM_PICK, STREAM_REPLY)
        for attempt in (0, 1)
    }
    assert len(numbers) == 12 and all(0 <= number < 2**63 for number in numbers)
    assert derive(5, STREAM_PICK) == derive(5, STREAM_PICK, 0)


def test_picks_are_even() -> None:
    counts = Counter(pick(seed, STREAM_PICK, "abcd") for seed in range(4000))
    assert all(abs(count - 1000) < 130 for count in counts.values())


def test_shuffles_are_permutations_and_even() -> None:
    assert sorted(shuffled(3, STREAM_PICK, list(range(50)))) == list(range(50))
    firsts = Counter(shuffled(seed, STREAM_PICK, "abc")[0] for seed in range(3000))
    assert all(abs(count - 1000) < 130 for count in firsts.values())
    assert shuffled(1, STREAM_PICK, []) == []
