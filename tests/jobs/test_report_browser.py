"""The report page in headless Chromium: nothing is cut at 400 and 1,400 pixels, its rows are searched by mouse and by
keyboard, axe-core finds nothing serious, and whatever a row holds stays text.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobs.report
from jobs.task import Task
from tests.browser import WIDTHS, Browser, browser
from tests.jobs.test_report import NASTY, finished, side

pytestmark = pytest.mark.slow

LONG = "a_category_whose_name_is_far_longer_than_the_room_beside_any_bar"
# Elements whose content is wider than they are, without a way to scroll to it, and text outside of its chart.
OVERFLOWING = """
[...document.querySelectorAll("body *")].flatMap(element => {
  if (element instanceof SVGElement) {
    if (element.tagName !== "text") return [];
    const box = element.getBoundingClientRect(), frame = element.ownerSVGElement.getBoundingClientRect();
    const out = box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
      || box.bottom > frame.bottom + 1;
    return out ? [element.textContent] : [];
  }
  const style = getComputedStyle(element), scrolls = ["auto", "scroll"].includes(style.overflowX);
  const wide = !scrolls && style.display !== "inline" && element.scrollWidth > element.clientWidth + 1;
  const cut = style.textOverflow !== "clip" || wide && element.clientWidth;
  return cut ? [element.tagName + " " + element.textContent.slice(0, 60)] : [];
}).concat(document.documentElement.scrollWidth > innerWidth ? ["the page"] : [])
"""
# Words of usual length that are broken across lines; data, which may hold any word, is shown in code and lists of rows.
BROKEN = """
(() => {
  const broken = [], walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest("svg, code, .rows, select, script, style")) continue;
    for (const word of node.data.matchAll(/[\\w.]+/g)) {
      if (word[0].length > 24) continue;
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1) broken.push(word[0]);
    }
  }
  return broken;
})()
"""
# Texts of a chart that lie on each other.
OVERLAPPING = """
[...document.querySelectorAll("svg.chart")].flatMap(chart => {
  const texts = [...chart.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
  return texts.flatMap(([name, a], number) => texts.slice(number + 1).filter(([, b]) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4
  ).map(([other]) => name + " on " + other));
})
"""
LISTED = "[...document.querySelectorAll('[data-listing=%s] .query')].map(query => query.textContent)"
STATE = "document.querySelector('[data-listing=%s] .state').textContent"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with long names, wrong answers and a query that is markup."""
    after = side(0.9)
    after["per_category"][LONG] = {"n": 1, "cta": 0.5, "function_accuracy": 0.5, "exact_match": 0.5}
    after["confusion"] = {
        "labels": [*(f"function_number_{number}" for number in range(22)), LONG, "(none)"],
        "counts": [[1234 if gold == said else gold % 3 for said in range(24)] for gold in range(24)],
    }
    after["confusion_categories"] = {
        "labels": ["logo", "(other)", "(none)"],
        "counts": [[2, 1, 3], [0, 0, 0], [0, 0, 0]],
    }
    after["false_call"] = {"value": 0.125, "low": 0.0625, "high": 0.25}
    baselines = {name: side(0.5) for name in ("majority", "keywords", "nearest")}
    run = finished(tmp_path_factory.mktemp("page"), side(0.4), after=after, baselines=baselines)
    jobs.report.run(Task(run, "report", 0))
    return run.stage_dir("report") / "report" / "index.html"


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.mark.parametrize("width", WIDTHS)
def test_no_word_is_clipped_or_cut(tab: Browser, page: Path, width: int) -> None:
    """Legends and long names were cut at the charts' edges, times at the tables'."""
    tab.open(page, width)
    assert tab.run(f"innerWidth == {width}")
    assert tab.run(OVERFLOWING) == []
    assert tab.run(BROKEN) == []
    assert tab.run(OVERLAPPING) == []
    assert LONG.replace("_", "") in tab.run("document.querySelector('main').textContent").replace("_", "")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_serious(tab: Browser, page: Path, width: int, dark: bool) -> None:
    package = importlib.util.find_spec("axe_playwright_python")
    if package is None or package.origin is None:
        reason = "axe-core is not installed: its package is in requirements/cpu.txt"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    tab.open(page, width, dark=dark)
    assert tab.run("matchMedia('(prefers-color-scheme: dark)').matches") is dark
    tab.run(next(Path(package.origin).parent.rglob("axe.min.js")).read_text(encoding="utf-8"))
    found = tab.run("axe.run().then(({violations, passes}) => ({violations, passes: passes.map(rule => rule.id)}))")
    told = [(one["id"], one["impact"], one["nodes"][0]["html"][:200]) for one in found["violations"]]
    assert [one for one in told if one[1] in ("serious", "critical")] == []
    assert {"color-contrast", "label", "select-name", "svg-img-alt"} <= set(found["passes"])


def test_the_browser_asks_for_nothing_and_runs_no_row(tab: Browser, page: Path) -> None:
    """A query with markup could run when the page's script shows it."""
    tab.open(page, 1400)
    assert tab.requests() == [page.resolve().as_uri()]
    assert not [event for event in tab.events if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]
    box = "document.querySelector('[data-listing=data] input')"
    tab.run(f"{box}.focus()")
    tab.type("onerror=alert")
    shown = tab.run(LISTED % "data")
    assert shown and all(NASTY in query for query in shown)
    assert tab.run("document.images.length") == 0
    # Markup that were to reach the page in another way would not run either.
    tab.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
    tab.run(
        "(() => { const s = document.createElement('script'); s.text = 'window.ran = 1'; document.body.append(s); })()"
    )
    assert tab.run("new Promise(done => setTimeout(() => done(window.ran ?? null), 200))") is None


def test_rows_are_filtered_and_paged_by_the_keyboard_alone(tab: Browser, page: Path) -> None:
    tab.open(page, 400)
    everything = tab.run(STATE % "data")
    focused = "document.activeElement.parentElement.firstChild.textContent"
    for _ in range(200):
        tab.press("Tab", 9)
        if tab.run(f"document.activeElement.closest('[data-listing=data]') !== null && {focused}") == "set":
            break
    else:
        pytest.fail("the filter `set` cannot be reached by the keyboard")
    tab.press("r", 82, "r")  # a select goes to the option that starts with what is typed
    tab.press("Enter", 13, "\r")
    assert tab.run("document.activeElement.value !== ''")
    rejected = tab.run(STATE % "data")
    assert rejected != everything and rejected.startswith("1 to 10 of ")
    tags = "[...document.querySelectorAll('[data-listing=data] .tags')].map(tags => tags.innerText)"
    assert all("set rejected" in text and "reason" in text and "function" in text for text in tab.run(tags))
    first = tab.run(LISTED % "data")
    for _ in range(40):
        tab.press("Tab", 9)
        if tab.run("document.activeElement.textContent") == "Next page":
            break
    tab.press("Enter", 13, "\r")
    assert tab.run(STATE % "data").startswith("11 to ")
    assert not set(first) & set(tab.run(LISTED % "data"))


def test_wrong_answers_come_first_with_what_explains_them(tab: Browser, page: Path) -> None:
    tab.open(page, 1400)
    heads = tab.run("[...document.querySelectorAll('h2')].map(head => head.textContent)")
    assert heads[0] == "Wrong answers on the golden set"
    shown = tab.run("document.querySelector('[data-listing=failures] .rows').innerText")
    for part in (
        "wanted",
        "answered",
        "nearest example",
        "its calls",
        "error wrong_value",
        "function search",
        "I cannot",
    ):
        assert part in shown
    assert tab.run("[...document.querySelectorAll('[data-listing=failures] label')].map(l => l.firstChild.data)") == [
        "words", "error", "function", "category",
    ]  # fmt: skip
    pick = "document.querySelectorAll('[data-listing=failures] select')[0]"
    tab.run(f"{pick}.value = [...{pick}.options].find(o => o.text.startsWith('missing_call')).value")
    tab.run(f"{pick}.dispatchEvent(new Event('change'))")
    assert tab.run(STATE % "failures") == "1 to 1 of 1 wrong answers"
