"""Template files: several templates in one, ``*`` for all functions, the package's prompts, and the older form."""

from __future__ import annotations

import ast
import fnmatch
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from routenator.authoring.check import check_domain
from routenator.authoring.derive import DeriveOptions, derive
from routenator.authoring.templatefiles import convert_templates
from routenator.config import RunConfig
from routenator.domain import fingerprint
from routenator.domain.domain import Domain
from routenator.domain.fingerprint import domain_fingerprint
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.sampling.strata import target_shares
from tests.conftest import ROOT, TINY

DOMAINS = ROOT / "configs" / "domains"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "tiny"))


def without_prompts(domain: Path) -> Path:
    for route in ("text", "vision"):
        shutil.rmtree(domain / "templates" / route)
    return domain


def prompts(domain: Domain) -> set[str]:
    return {name for name, template in domain.templates.items() if template.grammar is None}


@pytest.mark.parametrize(("name", "most", "count"), [("assistant", 25, 154), ("creative", 15, 69)])
def test_a_shipped_domain_has_few_template_files(name: str, most: int, count: int) -> None:
    files = [path for path in (DOMAINS / name / "templates").rglob("*") if path.is_file()]
    assert len(files) <= most and len(load_domain(DOMAINS / name).templates) == count


def test_functions_of_a_file_hold_for_templates_without_their_own(copy: Path) -> None:
    (copy / "templates/text/shared.yaml").write_text(
        "functions: ['*']\ntemplates:\n"
        "  b: {text: '{{ draft }}'}\n  a: {text: '{{ draft }}', functions: [book], weight: 2}\n"
    )
    made = load_domain(copy).templates
    assert made["text/b"].functions == ["search", "book"] and made["text/a"].functions == ["book"]
    assert (made["text/b"].weight, made["text/a"].weight) == (1.0, 2.0)
    assert list(made) == sorted(made), "the order within a file decides nothing"


def edited(name: str, old: str, new: str) -> Callable[[Path], object]:
    def edit(domain: Path) -> None:
        file = domain / "templates" / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return edit


def added(name: str, text: str) -> Callable[[Path], object]:
    def add(domain: Path) -> None:
        file = domain / "templates" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    return add


ONE = "functions: [search]\ntemplates:\n  {name}: {{text: '{{content_type}} {{extracted_prompt}}'}}\n"
BOOK, SEARCH = "heuristic/book.yaml", "heuristic/search.yaml"
BAD: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a name twice in a route": (
        added("heuristic/more.yaml", ONE.format(name="search_plain")),
        ["same name", "search.yaml", "key:      templates.search_plain, line 8", "not in more.yaml"],
    ),
    "a name twice in a file": (edited(SEARCH, "search_fragment:", "search_plain:"), ["search_plain", "twice"]),
    "a name that cannot be one": (
        added("heuristic/more.yaml", ONE.format(name="a b")),
        ["not a template's name", "templates.a b, line 3", "letters, digits"],
    ),
    "* beside a name": (
        edited("text/shared.yaml", "['*']", "['*', book]"),
        ["all functions", "shared.yaml", "templates.paraphrase.functions, line 4", "*, book"],
    ),
    "an unknown function": (
        edited(BOOK, "[book]", "[bok]"),
        ["unknown name in functions", "templates.book_plain.functions, line 4", "nearest:  book"],
    ),
    "no functions": (edited(BOOK, "functions: [book]", ""), ["missing key", "templates.book_plain.functions, line 4"]),
    "an unknown key of the head": (
        edited(SEARCH, "    weight: 2", "    wieght: 2"),
        ["unknown key", "templates.search_plain.wieght, line 9", "nearest:  weight"],
    ),
    "an unknown key of the file": (edited(SEARCH, "functions:", "function:"), ["unknown key", "nearest:  functions"]),
    "an invalid value": (
        edited(SEARCH, "weight: 2", "weight: -2"),
        ["search.yaml", "templates.search_plain.weight, line 9", "found:    -2", "greater than or equal to 0"],
    ),
    "an unknown length": (
        edited(SEARCH, "weight: 2", "lengths: [short, lung]"),
        ["unknown name in lengths", "templates.search_plain.lengths, line 9", "nearest:  long"],
    ),
    "no text": (
        edited(SEARCH, "    text: |", "    system: |"),
        ["missing key", "templates.search_fragment.text, line 4"],
    ),
    "an empty text": (
        added("heuristic/more.yaml", "functions: [book]\ntemplates:\n  x:\n    text: ''\n"),
        ["empty template", "templates.x.text, line 4"],
    ),
    "not YAML": (edited(SEARCH, "text: |", "text:"), ["not YAML", "search.yaml", "line 6"]),
    "no templates": (added("heuristic/more.yaml", "functions: [book]\ntemplates: {}\n"), ["more.yaml", "templates"]),
    "a list of templates": (
        added("heuristic/more.yaml", "functions: [book]\ntemplates: [a, b]\n"),
        ["more.yaml", "templates, line 2", "dictionary"],
    ),
    "an empty file": (added("heuristic/more.yaml", ""), ["more.yaml", "None"]),
    "a grammar that cannot be parsed": (
        edited(BOOK, "<in {city}|", "[in {city}|"),
        ["book.yaml", "templates.book_plain.text, line 6", "a stray"],
    ),
    "an unknown word of a grammar": (
        edited(SEARCH, "{find}", "{fnd}"),
        ["search.yaml", "templates.search_plain.text, line 11", "nearest:  find"],
    ),
    "a slot that can be missing": (
        edited(BOOK, "<in {city}|for {people}|close to {near}>", "in {city}"),
        ["can omit a slot", "templates.book_plain.text, line 6"],
    ),
    "a file of one grammar, as earlier versions had": (
        added("heuristic/old.txt", "---\nfunctions: [search]\n---\n{content_type} {extracted_prompt}\n"),
        ["no longer read", "old.txt", "python launch.py domain convert", "docs/domains.md"],
    ),
    "a file of one prompt, as earlier versions had": (
        added("text/old.j2", "---\nfunctions: [search]\n---\n{{ draft }}\n"),
        ["no longer read", "old.j2", "python launch.py domain convert"],
    ),
    "another suffix": (added("heuristic/more.yml", ONE.format(name="a")), ["more.yml", "templates/ROUTE/NAME.yaml"]),
    "a file outside a route": (added("more.yaml", ONE.format(name="a")), ["more.yaml", "templates/ROUTE/NAME.yaml"]),
    "an unknown route": (added("heuristics/more.yaml", ONE.format(name="a")), ["unknown route", "nearest:  heuristic"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_template_file_is_refused(copy: Path, case: str) -> None:
    spoil, expected = BAD[case]
    spoil(copy)
    with pytest.raises(InputError) as error:
        check_domain(copy)
    for part in expected:
        assert part in str(error.value)


def test_a_template_of_a_function_without_a_rule_is_refused(copy: Path) -> None:
    rules = yaml.safe_load((copy / "domain.yaml").read_text())
    del rules["functions"]["book"]
    (copy / "domain.yaml").write_text(yaml.safe_dump(rules))
    with pytest.raises(InputError, match="unknown name in functions") as error:
        load_domain(copy)
    assert "book.yaml" in str(error.value) and "one of search" in str(error.value)


def test_a_domain_without_prompts_gets_the_packages(copy: Path) -> None:
    domain = check_domain(without_prompts(copy))
    assert {name.rsplit("_", 1)[0] for name in prompts(domain)} >= {"text/default", "vision/default"}
    for guided in (True, False):
        model = {"generator": {"model": "none", "guided": guided}, "trainee": "none", "embedder": "none"}
        value = {"name": "x", "domain": str(copy), "dataset": {"size": 2000}, "model": model}
        shares = target_shares(domain, RunConfig.model_validate(value))
        assert {key[2] for key in shares} == {"heuristic", "text", "vision"}
        assert len({key[3] for key in shares if key[2] == "text"}) >= 3


@pytest.mark.parametrize("name", ["assistant", "creative"])
def test_the_packages_prompts_fit_the_shipped_domains(name: str, tmp_path: Path) -> None:
    """Every prompt renders for every function, with all slots and with those only that are always there."""
    domain = check_domain(without_prompts(Path(shutil.copytree(DOMAINS / name, tmp_path / name))))
    assert {template.file.parent.name for template in domain.templates.values()} == {"heuristic", "prompts"}


def test_a_route_with_a_file_or_without_a_share_gets_no_prompts_of_the_package(copy: Path, tiny: Domain) -> None:
    assert prompts(tiny) == {"text/paraphrase", "vision/picture"}
    shutil.rmtree(copy / "templates" / "vision")
    statistics = yaml.safe_load((copy / "statistics.yaml").read_text())
    for shares in statistics["routes"].values():
        shares.pop("vision", None)
    (copy / "statistics.yaml").write_text(yaml.safe_dump(statistics))
    assert prompts(load_domain(copy)) == {"text/paraphrase"}


def test_a_derived_domain_has_its_own_copy_of_the_packages_prompts(copy: Path, tmp_path: Path) -> None:
    source = load_domain(without_prompts(copy))
    derive(copy, tmp_path / "out", DeriveOptions(boost={"search.poster": 2}))
    assert (tmp_path / "out/templates/text/text.yaml").is_file()
    assert prompts(load_domain(tmp_path / "out")) == prompts(source)


def test_the_fingerprint_covers_the_packages_prompts_where_they_are_used(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = without_prompts(Path(shutil.copytree(copy, tmp_path / "bare")))
    before = domain_fingerprint(copy), domain_fingerprint(bare)
    changed = Path(shutil.copytree(fingerprint._DEFAULTS, tmp_path / "prompts"))
    text = (changed / "text.yaml").read_text()
    (changed / "text.yaml").write_text(text.replace("Say the request", "Write the request"))
    monkeypatch.setattr(fingerprint, "_DEFAULTS", changed)
    assert domain_fingerprint(copy) == before[0] and domain_fingerprint(bare) != before[1]


def test_what_is_installed_includes_the_packages_prompts() -> None:
    tree = ast.parse((ROOT / "setup.py").read_text("utf-8"))
    data = next(node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "package_data")
    found = ast.literal_eval(data.value)["routenator"]
    files = {path.relative_to(ROOT / "routenator").as_posix() for path in fingerprint._DEFAULTS.iterdir()}
    assert files and all(any(fnmatch.fnmatch(name, pattern) for pattern in found) for name in files)


def in_old_form(domain: Path) -> Path:
    """Rewrite a domain's templates as earlier versions had them: front matter and a text, one a file."""
    made = load_domain(domain)
    shutil.rmtree(domain / "templates")
    for template in made.templates.values():
        suffix = ".j2" if template.grammar is None else ".txt"
        file = domain / "templates" / template.route / f"{template.key}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        head = template.head.model_dump(by_alias=True, exclude_defaults=True, exclude={"text"})
        file.write_text(f"---\n{yaml.safe_dump(head)}---\n{template.body}")
    return domain


@pytest.mark.parametrize("name", ["tiny", pytest.param("assistant", marks=pytest.mark.slow)])
def test_converted_templates_are_the_same(name: str, tmp_path: Path) -> None:
    source = TINY if name == "tiny" else DOMAINS / name
    before = load_domain(source).templates
    domain = in_old_form(Path(shutil.copytree(source, tmp_path / name)))
    with pytest.raises(InputError, match="no longer read"):
        load_domain(domain)
    count, files = convert_templates(domain)
    after = load_domain(domain).templates
    assert (count, files) == (len(before), len(list((domain / "templates").rglob("*.*"))))
    assert list(after) == list(before)
    for template in before.values():
        other = after[template.name]
        assert sorted(other.functions) == sorted(template.functions)
        kept = {"functions", "text"}
        assert other.head.model_dump(exclude=kept) == template.head.model_dump(exclude=kept)
        assert (other.body.rstrip(), other.grammar) == (template.body.rstrip(), template.grammar)


def test_a_conversion_overwrites_nothing(copy: Path) -> None:
    with pytest.raises(InputError, match="nothing to convert"):
        convert_templates(copy)
    added("heuristic/old.txt", "---\nfunctions: [book]\n---\n{city}\n")(copy)
    before = (copy / "templates/heuristic/book.yaml").read_text()
    with pytest.raises(InputError, match="exists already"):
        convert_templates(copy)
    assert (copy / "templates/heuristic/book.yaml").read_text() == before
    added("text/old.j2", "no front matter")(copy)
    with pytest.raises(InputError, match="not a template"):
        convert_templates(copy)
    assert (copy / "templates/heuristic/old.txt").is_file()
