"""domain init --languages: values of other languages beside the English ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from routenator.authoring.door.init import init_domain
from routenator.authoring.door.locales import locale_of
from routenator.domain.functions import check_value
from routenator.domain.loader import load_domain
from routenator.domain.valuelists import load_lists
from routenator.errors import InputError
from tests.routenator.door_documents import write_document


def test_names_places_and_days_are_made_in_each_language(tmp_path: Path) -> None:
    """Lists of German and Italian are beside the English ones, fit the schema, and stay when init runs again."""
    source, out = str(write_document("OpenAPI", tmp_path)), tmp_path / "shelf"
    made = init_domain(source, out, languages=["de", "it"])
    statistics = yaml.safe_load((out / "statistics.yaml").read_text())
    assert statistics["languages"] == {"en": 1.0, "de": 0.0, "it": 0.0}
    assert [warning for warning in made.warnings if "languages/de is not used" in warning]
    english = load_lists(out)
    for language, month in (("de", "März"), ("it", "marzo")):
        lists = load_lists(out / "languages" / language)
        assert "date" in lists and set(lists) <= set(english)
        assert any(month in said for value in lists["date"] for said in value.said)
        assert not any("March" in said for value in lists["date"] for said in value.said)
        add = load_domain(out).functions["add_book"]
        assert all(check_value(add, "bought_on", value.value) is None for value in lists["date"])
    head = (out / "languages" / "de" / "values" / "date.tsv").read_text()
    assert "# In de, from Faker's de_DE" in head
    before = {file: file.read_text() for file in (out / "languages").rglob("*.tsv")}
    init_domain(source, out)
    assert {file: file.read_text() for file in (out / "languages").rglob("*.tsv")} == before
    given = {**statistics, "languages": {"en": 0.5, "de": 0.5}}
    (out / "statistics.yaml").write_text(yaml.safe_dump(given))
    said = {
        text for node in load_domain(out).view("de").nodes.values() if node.type == "date" for text in node.surfaces
    }
    assert any("März" in text for text in said)


def test_locales_of_languages() -> None:
    assert [locale_of(code) for code in ("de", "tr", "da", "pt-BR", "pt")] == [
        "de_DE", "tr_TR", "da_DK", "pt_BR", "pt_PT",
    ]  # fmt: skip
    with pytest.raises(InputError, match="no names and places are known in this language"):
        locale_of("xx")
