"""All metrics, checked against scikit-learn, scipy or counts by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from routenator.chat.replies import Reply, parse_reply
from routenator.domain.calls import Call
from routenator.domain.domain import Domain
from routenator.domain.functions import Function
from routenator.domain.golden import GoldenCall, GoldenExample
from routenator.evaluation.bootstrap import interval, mcnemar, mean_of, paired_difference, ratio_of
from routenator.evaluation.metrics import f1_statistic, score, similarities
from routenator.evaluation.verdict import ERRORS, NONE, CallVerdict, Verdict, judge_reply, same


def function(name: str, category: str | None = "kind", subprompt: str | None = "text") -> Function:
    properties: dict[str, Any] = {
        "kind": {"type": "string", "enum": ["cat", "dog"]},
        "text": {"type": "string"},
        "count": {"type": "integer"},
    }
    schema = {"type": "object", "properties": properties, "required": ["kind"], "additionalProperties": False}
    return Function(name, "", schema, category, subprompt)


API = {name: function(name) for name in ("find", "make", "drop")} | {"bare": function("bare", None, None)}


def embed(texts: list[str]) -> np.ndarray:
    """An embedding whose direction depends on the text's length: cosine 1 for equal lengths, less otherwise."""
    angles = np.array([len(text) for text in texts]) * 0.1
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def example(name: str = "find", **arguments: Any) -> GoldenExample:
    return GoldenExample("q", (GoldenCall(name, arguments or {"kind": "cat", "text": "in a hat"}),))


def reply(name: str = "find", **arguments: Any) -> Reply:
    return Reply((Call(name, arguments),))


def right(gold: GoldenExample) -> Reply:
    return Reply(tuple(Call(call.name, call.arguments) for call in gold.calls))


def only(gold: GoldenExample, said: Reply) -> CallVerdict:
    (found,) = judge_reply(gold, said, API).calls
    return found


@pytest.fixture(scope="module")
def random_case() -> tuple[list[GoldenExample], list[Verdict]]:
    generator = np.random.default_rng(8)
    golden, verdicts = [], []
    for _ in range(300):
        name = str(generator.choice(["find", "make", "drop"], p=[0.6, 0.3, 0.1]))
        said = str(generator.choice([name, "find", "make", "bare", "nonsense"], p=[0.6, 0.15, 0.15, 0.05, 0.05]))
        gold = example(name, kind=str(generator.choice(["cat", "dog"])), text="x" * int(generator.integers(1, 9)))
        guess = {"kind": str(generator.choice(["cat", "dog", "cow"])), "text": "x" * int(generator.integers(1, 9))}
        golden.append(gold)
        verdicts.append(
            judge_reply(gold, Reply(problem="bad_block") if said == "nonsense" else reply(said, **guess), API)
        )
    return golden, verdicts


def test_f1_and_confusion_equal_scikit_learn(random_case: tuple[list[GoldenExample], list[Verdict]]) -> None:
    from sklearn.metrics import confusion_matrix, f1_score

    golden, verdicts = random_case
    scores = score(verdicts, API, embed, resamples=50, seed=1)
    true, said = [e.labels[0] for e in golden], [v.said[0] for v in verdicts]
    labels = ["find", "make", "drop"]
    assert {"bare", NONE} <= set(said)
    for average in ("macro", "micro"):
        assert scores[f"function_f1_{average}"]["value"] == pytest.approx(
            f1_score(true, said, labels=labels, average=average)
        )
    each = f1_score(true, said, labels=labels, average=None)
    assert [scores["per_function"][name]["f1"] for name in labels] == pytest.approx(list(each))
    assert scores["confusion"]["labels"] == ["find", "make", "drop", "bare", NONE]
    assert scores["confusion"]["counts"] == confusion_matrix(true, said, labels=scores["confusion"]["labels"]).tolist()


def test_cta_equals_scikit_learns_accuracy(random_case: tuple[list[GoldenExample], list[Verdict]]) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix

    _, verdicts = random_case
    scores = score(verdicts, API, embed, resamples=50, seed=1)
    pairs = [v.calls[0].category for v in verdicts if v.calls[0].category is not None]
    assert scores["n_cta"] == 300
    assert scores["cta"]["value"] == pytest.approx(accuracy_score([a for a, _ in pairs], [b for _, b in pairs]))
    labels = scores["confusion_categories"]["labels"]
    assert labels == ["cat", "dog", "(other)", NONE]
    pooled = [b if b in ("cat", "dog", NONE) else "(other)" for _, b in pairs]
    assert (
        scores["confusion_categories"]["counts"]
        == confusion_matrix([a for a, _ in pairs], pooled, labels=labels).tolist()
    )


def test_a_perfect_model_scores_one() -> None:
    golden = [example("find", kind="cat", text="a"), example("make", kind="dog", count=2), example("bare", kind="cat")]
    verdicts = [judge_reply(e, right(e), API) for e in golden]
    scores = score(verdicts, API, embed, resamples=100, seed=1)
    for name in ("function_f1_macro", "function_f1_micro", "cta", "ss", "exact_match", "argument_f1"):
        assert scores[name] == {"value": pytest.approx(1), "low": pytest.approx(1), "high": pytest.approx(1)}, name
    assert scores["unparsable"]["value"] == 0
    assert scores["errors"] == {}
    assert (scores["n"], scores["n_cta"], scores["n_ss"]) == (3, 2, 1)
    assert scores["per_function"]["make"]["ss"] is None


def test_a_hand_counted_case() -> None:
    golden = [
        example("find", kind="cat", text="abc"),
        example("find", kind="dog", text="abc"),
        example("make", kind="cat", text="abc"),
    ]
    replies = [
        reply("find", kind="cat", text="abc"),
        reply("find", kind="cat", text="abcde"),
        Reply(problem="bad_block"),
    ]
    verdicts = [judge_reply(e, r, API) for e, r in zip(golden, replies, strict=True)]
    scores = score(verdicts, API, embed, resamples=200, seed=1)
    assert scores["function_f1_macro"]["value"] == pytest.approx((1 + 0) / 2)
    assert scores["function_f1_micro"]["value"] == pytest.approx(2 * 2 / (2 + 3))
    assert scores["cta"]["value"] == pytest.approx(1 / 3)
    assert scores["ss"]["value"] == pytest.approx((1 + math.cos(0.2) + 0) / 3)
    assert scores["exact_match"]["value"] == pytest.approx(1 / 3)
    assert scores["argument_f1"]["value"] == pytest.approx(2 * 2 / (4 + 6))
    assert scores["errors"] == {"unparsable": 1, "wrong_value": 1}
    # In a fixed order that does not depend on this process's hash seed: scores.json is reproducible to the byte.
    mixed = [judge_reply(golden[0], reply("find", kind="dog", colour="red"), API), *verdicts[1:]]
    in_order = score(mixed, API, embed, resamples=10, seed=1)
    assert list(in_order["errors"]) == [kind for kind in ERRORS if kind in in_order["errors"]]
    assert list(in_order["per_function"]["find"]["errors"]) == [
        "missing_parameter",
        "unexpected_parameter",
        "wrong_value",
    ]
    assert scores["per_category"]["cat"] == {"n": 2, "cta": 0.5, "function_accuracy": 0.5, "exact_match": 0.5}


def test_no_category_and_no_subprompt_is_not_a_score_of_zero() -> None:
    golden = [example("bare", kind="cat")]
    scores = score([judge_reply(golden[0], reply("bare", kind="cat"), API)], API, embed, resamples=10, seed=1)
    assert scores["cta"] == scores["ss"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(
    ("said", "errors"),
    [
        (Reply(problem="bad_block"), [("unparsable", "")]),
        (reply("make", kind="cat", text="in a hat"), [("wrong_function", "")]),
        (reply("unheard_of"), [("wrong_function", "")]),
        (reply(kind="cat"), [("missing_parameter", "text")]),
        (reply(kind="cat", text="in a hat", count=3), [("unexpected_parameter", "count")]),
        (reply(kind="cow", text="in a hat"), [("not_in_enum", "kind")]),
        (reply(kind="dog", text="in a hat"), [("wrong_value", "kind")]),
        (reply(kind="cat", text=7), [("wrong_type", "text")]),
        (
            reply(kind="dog", colour="red"),
            [("wrong_value", "kind"), ("missing_parameter", "text"), ("unexpected_parameter", "colour")],
        ),
        (reply(kind=" CAT", text="In  a hat"), []),
    ],
)
def test_errors_are_typed(said: Reply, errors: list[tuple[str, str]]) -> None:
    verdict = judge_reply(example(), said, API)
    assert list(verdict.errors) == errors
    assert verdict.exact == (not errors)


def test_a_wrong_function_scores_its_subprompt_but_no_category_or_arguments() -> None:
    (verdict,) = judge_reply(example("find"), reply("make", kind="cat", text="in a hat"), API).calls
    assert verdict.category == ("cat", NONE)
    assert verdict.category_right is False
    assert verdict.matched == 0
    assert verdict.subprompt == ("in a hat", "in a hat")
    assert only(example("find"), reply("bare", kind="cat", text="in a hat")).subprompt == ("in a hat", None)
    assert only(example("find"), reply(kind="cat", text="  ")).subprompt == ("in a hat", None)
    assert only(example("find", kind="cat"), reply(kind="cat")).subprompt is None


def test_similarity_is_zero_without_a_prediction_and_nan_without_a_gold_subprompt() -> None:
    verdicts = [
        judge_reply(e, r, API)
        for e, r in [(example(), reply(kind="cat")), (example("find", kind="cat"), reply(kind="cat"))]
    ]
    measured = similarities(verdicts, embed)
    assert measured[0] == 0
    assert np.isnan(measured[1])


def several(*calls: tuple[str, dict[str, Any]]) -> tuple[GoldenExample, Reply]:
    """A golden query of these calls, and the reply that has them in the opposite order."""
    gold = GoldenExample("q", tuple(GoldenCall(name, arguments) for name, arguments in calls))
    return gold, Reply(tuple(Call(name, arguments) for name, arguments in reversed(calls)))


CAT, DOG = {"kind": "cat", "text": "in a hat"}, {"kind": "dog", "text": "on a mat"}
NO_CALL_WANTED, WORDS = GoldenExample("q", ()), Reply()


@pytest.mark.parametrize(
    ("gold", "said", "errors"),
    [
        (*several(("find", CAT), ("make", DOG)), []),
        (*several(("find", CAT), ("find", DOG)), []),
        (several(("find", CAT), ("make", DOG))[0], reply("find", **CAT), [("missing_call", "")]),
        (several(("find", CAT), ("find", DOG))[0], reply("find", **DOG), [("missing_call", "")]),
        (several(("find", CAT), ("make", DOG))[0], WORDS, [("missing_call", "")] * 2),
        (several(("find", CAT), ("make", DOG))[0], Reply(problem="bad_block"), [("unparsable", "")] * 2),
        (several(("find", CAT), ("make", DOG))[0], several(("find", DOG), ("drop", DOG))[1],
         [("wrong_value", "kind"), ("wrong_value", "text"), ("wrong_function", "")]),
        (example(), several(("make", DOG), ("find", CAT))[1], [("extra_call", "")]),
        (example(), WORDS, [("missing_call", "")]),
        (NO_CALL_WANTED, WORDS, []),
        (NO_CALL_WANTED, reply(), [("extra_call", "")]),
        (NO_CALL_WANTED, reply("unheard_of"), [("extra_call", "")]),
        (NO_CALL_WANTED, Reply(problem="bad_block"), [("unparsable", "")]),
    ],
)  # fmt: skip
def test_calls_are_compared_in_any_order_and_what_is_missing_or_extra_is_an_error(
    gold: GoldenExample, said: Reply, errors: list[tuple[str, str]]
) -> None:
    verdict = judge_reply(gold, said, API)
    assert list(verdict.errors) == errors
    assert verdict.exact == (not errors)
    assert verdict.function_right == (
        not {"missing_call", "extra_call", "unparsable", "wrong_function"} & {*dict(errors)}
    )


def test_calls_of_one_function_are_matched_by_their_arguments_and_a_missing_one_pairs_with_a_wrong_one() -> None:
    gold = several(("find", CAT), ("find", DOG), ("make", CAT))[0]
    verdict = judge_reply(gold, Reply((Call("find", DOG), Call("drop", CAT), Call("find", {"kind": "cat"}))), API)
    assert [(call.gold, call.said, call.matched) for call in verdict.calls] == [
        ("find", "find", 1), ("find", "find", 2), ("make", "drop", 0)
    ]  # fmt: skip
    assert [call.category for call in verdict.calls] == [("cat", "cat"), ("dog", "dog"), ("cat", NONE)]
    twice = judge_reply(example(), Reply((Call("find", DOG), Call("find", CAT))), API)
    assert [(call.gold, call.said, call.exact) for call in twice.calls] == [
        ("find", "find", True), ("none", "find", False)
    ]  # fmt: skip


def test_no_call_is_a_class_of_its_own_and_calls_are_what_functions_are_counted_over() -> None:
    """Counted by hand: queries of no call, one and two."""
    asked = [NO_CALL_WANTED, NO_CALL_WANTED, NO_CALL_WANTED, example("find", **CAT), example("make", **DOG)]
    asked.append(several(("find", CAT), ("make", DOG))[0])
    replies = [WORDS, reply("find", **CAT), Reply(problem="bad_block"), WORDS, reply("make", **DOG)]
    replies.append(Reply((Call("make", DOG), Call("make", CAT))))
    verdicts = [judge_reply(gold, said, API) for gold, said in zip(asked, replies, strict=True)]
    scores = score(verdicts, API, embed, resamples=20, seed=1)
    # gold: find 2, make 2, none 3; said: find 1, make 3, none 2; right: find 0, make 2, none 1
    each = {"find": 0.0, "make": 4 / 5, "none": 2 / 5}
    assert {name: row["f1"] for name, row in scores["per_function"].items()} == pytest.approx(each)
    assert scores["function_f1_macro"]["value"] == pytest.approx(sum(each.values()) / 3)
    assert scores["function_f1_micro"]["value"] == pytest.approx(2 * 3 / (7 + 6))
    assert scores["functions_right"]["value"] == pytest.approx(2 / 6)  # the first query and the fifth
    assert scores["false_call"]["value"] == pytest.approx(1 / 3)
    assert scores["missed_call"]["value"] == pytest.approx(1 / 3)
    assert scores["unparsable"]["value"] == pytest.approx(1 / 6)
    assert scores["exact_match"]["value"] == pytest.approx(2 / 6)
    assert scores["cta"]["value"] == pytest.approx(2 / 4)
    assert (scores["n"], scores["n_no_call"], scores["n_cta"], scores["n_ss"]) == (6, 3, 4, 4)
    # matched: 2 of the fifth, 2 of the last; pairs: 2 (second), 2 (fourth), 4 (fifth), 8 (last)
    assert scores["argument_f1"]["value"] == pytest.approx(2 * 4 / 16)
    none = scores["per_function"]["none"]
    assert (none["n"], none["exact_match"], none["errors"]) == (
        3,
        pytest.approx(1 / 3),
        {"unparsable": 1, "extra_call": 1},
    )
    assert scores["confusion"]["labels"] == ["find", "make", "none", "drop", "bare", NONE]
    counts = dict(zip(scores["confusion"]["labels"], scores["confusion"]["counts"], strict=True))
    assert counts["none"] == [1, 0, 1, 0, 0, 1] and counts["find"] == [0, 1, 1, 0, 0, 0]


def test_a_set_in_which_every_query_wants_a_call_has_no_share_of_false_calls() -> None:
    assert "false_call" not in score([judge_reply(example(), reply(), API)], API, embed, resamples=5, seed=1)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("Ab  c", "ab C", True),
        ("ß", "SS", True),
        (5, 5.0, True),
        (5, "5", False),
        (True, 1, False),
        (True, True, True),
        (["A", 1], ["a", 1], True),
        (["a"], ["a", "a"], False),
        ({"x": "Y"}, {"x": "y"}, True),
        ([1], [2], False),
        (["a"], "a", False),
        ({"x": 1}, {"y": 1}, False),
        ({"x": 1}, {"x": 2}, False),
        ({"x": 1}, ["x"], False),
    ],
)
def test_values_are_compared_by_meaning(left: Any, right: Any, equal: bool) -> None:
    assert same(left, right) is equal
    assert same(right, left) is equal


def test_metrics_read_roles_from_the_domain(tiny: Domain) -> None:
    gold = GoldenExample("q", (GoldenCall("book", {"city": "Bergen", "people": 4}),))
    verdict = judge_reply(
        gold, parse_reply('{"name": "book", "arguments": {"city": "bergen", "people": "4"}}'), tiny.functions
    )
    assert verdict.errors == (("wrong_type", "people"),)
    assert verdict.calls[0].category is None
    assert verdict.calls[0].subprompt == ("Bergen", "bergen")


def test_an_interval_is_seeded_and_contains_the_value() -> None:
    values = np.random.default_rng(1).random(200)
    first = interval(mean_of(values), 200, 500, seed=3)
    assert first == interval(mean_of(values), 200, 500, seed=3)
    assert first != interval(mean_of(values), 200, 500, seed=4)
    assert first.value == pytest.approx(values.mean())
    assert first.low is not None
    assert first.high is not None
    assert first.low < values.mean() < first.high


def test_the_interval_of_a_share_is_as_wide_as_theory_says() -> None:
    right = np.zeros(400)
    right[:120] = 1
    found = interval(mean_of(right), 400, 4000, seed=2)
    half = 1.96 * math.sqrt(0.3 * 0.7 / 400)
    assert found.low == pytest.approx(0.3 - half, abs=0.005)
    assert found.high == pytest.approx(0.3 + half, abs=0.005)


def test_drawing_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(50.0)
    whole = interval(mean_of(values), 50, 101, seed=9)
    monkeypatch.setattr("routenator.evaluation.bootstrap._CELLS", 50 * 7)
    assert interval(mean_of(values), 50, 101, seed=9) == whole


def test_resampled_f1_equals_scikit_learn_on_each_resample() -> None:
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(5)
    gold, said = generator.integers(0, 3, 40), generator.integers(0, 4, 40)
    rows = generator.integers(0, 40, size=(20, 40))
    for macro, average in ((True, "macro"), (False, "micro")):
        found = f1_statistic(np.eye(4)[gold][:, :3], np.eye(4)[said][:, :3], macro=macro)(rows)
        expected = [f1_score(gold[r], said[r], labels=[0, 1, 2], average=average, zero_division=np.nan) for r in rows]
        assert found == pytest.approx(expected)


def test_a_ratio_over_nothing_is_zero() -> None:
    assert ratio_of(np.zeros(3), np.zeros(3))(np.array([[0, 1, 2]])).tolist() == [0.0]


def test_mcnemar_counts_only_queries_on_which_the_models_differ() -> None:
    from scipy.stats import binomtest

    first = np.array([True] * 30 + [False] * 12 + [True] * 2)
    second = np.array([True] * 30 + [True] * 12 + [False] * 2)
    assert mcnemar(first, second) == pytest.approx(binomtest(2, 14, 0.5).pvalue)
    assert mcnemar(first, second) == mcnemar(second, first)
    assert mcnemar(first, first) == 1.0
    for n in (1, 2, 7, 40, 400):
        for wins in range(0, n + 1, max(1, n // 10)):
            right = np.arange(n) < wins
            assert mcnemar(right, ~right) == pytest.approx(binomtest(wins, n, 0.5).pvalue), (wins, n)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    generator = np.random.default_rng(2)
    first = generator.random(300) < 0.5
    second = first | (generator.random(300) < 0.1)
    found = paired_difference(first, second, 1000, seed=1)
    assert found.value == pytest.approx(second.mean() - first.mean())
    assert found.low is not None
    assert found.high is not None
    assert found.low > 0
    alone = interval(mean_of(first.astype(float)), 300, 1000, seed=1)
    assert alone.high is not None
    assert alone.low is not None
    assert found.high - found.low < alone.high - alone.low


def test_scores_by_language_are_those_of_each_languages_queries_alone() -> None:
    """Each language's measures and intervals equal those of a set with its queries alone; without languages none."""
    gold = [example("find"), example("make"), example("find"), example("make"), example("drop")]
    said = [right(gold[0]), right(gold[1]), reply("make"), right(gold[3]), Reply(())]
    verdicts = [judge_reply(one, answer, API) for one, answer in zip(gold, said, strict=True)]
    languages = ["de", "en", "de", "en", None]
    settings: dict[str, Any] = {"resamples": 50, "seed": 3}
    plain = score(verdicts, API, embed, **settings)
    found = score(verdicts, API, embed, languages=languages, **settings)
    by_language = found.pop("per_language")
    assert found == plain and list(by_language) == ["de", "en"]
    for language, numbers in (("de", (0, 2)), ("en", (1, 3))):
        alone = score([verdicts[number] for number in numbers], API, embed, **settings)
        assert by_language[language] == {key: alone[key] for key in by_language[language]}
        assert by_language[language]["n"] == 2 and "cta" in by_language[language]
    assert "per_language" not in score(verdicts, API, embed, languages=["de"] * 5, **settings), "one language is all"
