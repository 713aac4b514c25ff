"""Tests of prompt templates: rendering, turns, and errors about names that do not exist."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from routenator.domain.domain import Domain
from routenator.domain.templates import Template
from routenator.errors import InputError
from routenator.generation.prompts import (
    DrawnWords,
    PromptError,
    check_template,
    render_messages,
    sample_variables,
    with_image,
)


def template(tiny: Domain, body: str, name: str = "text/paraphrase", **head: Any) -> Template:
    """A template of the tiny domain with the given body, which starts at line 9 of the file."""
    old = tiny.templates[name]
    return dataclasses.replace(old, body=body, head=old.head.model_copy(update=head))


def render(tiny: Domain, body: str, seed: int = 1, **head: Any) -> list[dict[str, Any]]:
    made = template(tiny, body, **head)
    return render_messages(made, sample_variables(tiny, made, "search", ["content_type", "extracted_prompt"]), seed)


def test_one_message_and_a_system_message(tiny: Domain) -> None:
    assert render(tiny, "Say {{ draft }}\n", system=" Be short. ") == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Say some content_type some extracted_prompt"},
    ]


def test_turns(tiny: Domain) -> None:
    turns = "{% for e in examples %}\n[user]\n{{ e.draft }}\n[assistant]\n{{ e.query }}!\n{% endfor %}\n"
    body = "Intro\n" + turns + "[user]\nnow {{ slots.content_type }}\n"
    messages = render(tiny, body)
    assert [message["role"] for message in messages] == ["user", "user", "assistant", "user", "assistant", "user"]
    assert messages[0]["content"] == "Intro" and messages[-1]["content"] == "now some content_type"
    assert messages[2]["content"].endswith("!")
    # In the middle of a line it does not start a turn.
    assert len(render(tiny, "write [user] here")) == 1


@pytest.mark.parametrize("body", ["{# nothing #}\n", "[user]\nhello\n[assistant]\nhi\n"])
def test_the_last_turn_must_be_the_users(tiny: Domain, body: str) -> None:
    with pytest.raises(PromptError, match="last turn"):
        render(tiny, body)


def test_a_prompt_with_half_of_a_surrogate_pair_is_refused(tiny: Domain) -> None:
    """An escape in a template made one, past the checks of files, and a tokenizer takes no such text."""
    with pytest.raises(InputError, match="surrogate"):
        check_template(tiny, template(tiny, "{{ '\\ud83d' }} dog"))


def test_pick_draws_by_the_rows_seed(tiny: Domain) -> None:
    body = "{{ pick(['a', 'b', 'c']) }}{{ pick(['a', 'b', 'c']) }}{{ pick(['a', 'b', 'c']) }}"
    texts = [render(tiny, body, seed)[0]["content"] for seed in range(60)]
    assert texts == [render(tiny, body, seed)[0]["content"] for seed in range(60)]
    assert len(set(texts)) > 15, "the draws of one prompt are independent"


def test_words_of_the_lexicon_are_drawn_by_the_rows_seed_and_their_weights(tiny: Domain) -> None:
    draws = [DrawnWords(tiny.lexicon, seed) for seed in range(500)]
    assert [dict(words) for words in draws] == [dict(DrawnWords(tiny.lexicon, seed)) for seed in range(500)]
    assert 0.53 < sum(words["find"] == "look for" for words in draws) / 500 < 0.67, "weight 3 of 5"
    assert {words["mood"] for words in draws} == {"happy", "calm", "bright"}
    assert len({(words["find"], words["mood"]) for words in draws}) == 9, "two lists are drawn independently"
    with pytest.raises(InputError) as caught:
        check_template(tiny, template(tiny, "{{ lexicon.moood }}", functions=["search"]))
    assert (caught.value.found, caught.value.nearest) == ("moood", "mood")


def test_json_in_a_prompt_is_not_escaped_for_html(tiny: Domain) -> None:
    (message,) = render(tiny, "{{ {'query': \"Beyoncé's <b>\"} | tojson }}")
    assert message["content"] == '{"query": "Beyoncé\'s <b>"}'


@pytest.mark.parametrize(
    "body",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ slots.update({'a': 1}) }}",
        "{{ record.clear() }}",
        "{{ 1 // 0 }}",
        "{{ pick([]) }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_templates_are_sandboxed(tiny: Domain, body: str) -> None:
    with pytest.raises(PromptError):
        render(tiny, body)


def test_an_image_goes_before_the_last_text(tiny: Domain) -> None:
    messages = with_image(render(tiny, "Look", system="S"), "data:image/png;base64,AAAA")
    assert messages[0] == {"role": "system", "content": "S"}
    assert [part["type"] for part in messages[1]["content"]] == ["image_url", "text"]


def test_the_domains_own_templates_are_accepted(tiny: Domain) -> None:
    for made in tiny.templates.values():
        if made.route != "heuristic":
            check_template(tiny, made)


@pytest.mark.parametrize(
    ("body", "line", "found", "nearest"),
    [
        ("one\n{{ drafft }}", 10, "drafft", "draft"),
        ("{% if 1 %}\n\n{{ slotts.content_type }}{% endif %}", 11, "slotts", "slots"),
        ("one\ntwo\n{{ slots.content_typ }}", 11, "content_typ", "content_type"),
        ("{{ function.nam }}", 9, "nam", "name"),
        ("one\n{{ image.text }}", 10, "image", None),  # only the vision route has one
    ],
)
def test_unknown_names_are_reported_with_their_line_and_the_nearest_name(
    tiny: Domain, body: str, line: int, found: str, nearest: str | None
) -> None:
    with pytest.raises(InputError) as caught:
        check_template(tiny, template(tiny, body, functions=["search"]))
    error = caught.value
    assert (error.key, error.found, error.nearest) == (f"templates.paraphrase.text, line {line}", found, nearest)
    assert Path(str(error.file)).name == "shared.yaml"


def test_all_unknown_variables_are_reported_at_once(tiny: Domain) -> None:
    with pytest.raises(InputError) as caught:
        check_template(tiny, template(tiny, "{{ drafft }} {{ langage }}"))
    assert "drafft" in str(caught.value) and "langage" in str(caught.value)


def test_bad_syntax_is_reported(tiny: Domain) -> None:
    with pytest.raises(InputError) as caught:
        check_template(tiny, template(tiny, "one\n{% for x in %}"))
    assert caught.value.key == "templates.paraphrase.text, line 10" and "not valid Jinja2" in str(caught.value)


def test_a_slot_that_may_be_absent_must_be_guarded(tiny: Domain) -> None:
    with pytest.raises(InputError, match="is defined") as caught:
        check_template(tiny, template(tiny, "{{ slots.people }}", functions=["book"]))
    assert caught.value.found == "people"
    check_template(
        tiny,
        template(
            tiny, "{% if slots.people is defined %}{{ slots.people }}{% endif %} {{ slots.city }}", functions=["book"]
        ),
    )


def test_the_vision_route_has_an_image(tiny: Domain) -> None:
    check_template(
        tiny, template(tiny, "{{ image.text }} {{ image.colours | join }} {{ image.layout }}", "vision/picture")
    )
    with pytest.raises(InputError) as caught:
        check_template(tiny, template(tiny, "{{ image.colors }}", "vision/picture"))
    assert caught.value.nearest == "colours"
