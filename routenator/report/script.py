"""The page's only script: searches and filters the rows of a listing.

Plain DOM instead of a table library: rows are a list of cards, which fit a phone as well as a desktop, and a library
would add hundreds of kilobytes to every report, for sorting, resizing and editing that nobody needs here. All data
reaches the page by ``textContent``, so that no row can be markup. The page's policy (``POLICY``) lets this script run
and no other.
"""

from __future__ import annotations

import base64
import hashlib

SCRIPT = """
"use strict";
(() => {
  const PAGE = 10;
  const data = JSON.parse(document.getElementById("rows").textContent);

  function make(tag, text, attributes) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
    return made;
  }

  function card(listing, row) {
    const item = make("li"), body = make("dl"), tags = make("ul", undefined, {class: "tags"});
    listing.fields.forEach(([label, kind], place) => {
      const cell = row[place];
      if (kind === "pick") {
        if (listing.picks[place].length > 1) for (const number of cell) {
          const tag = make("li");
          tag.append(make("span", label + " "), make("b", listing.picks[place][number]));
          tags.append(tag);
        }
      } else if (cell !== null) {
        if (kind === "head") item.append(make("p", cell, {class: "query"}));
        else {
          const value = make("dd");
          value.append(kind === "code" ? make("code", cell) : cell);
          body.append(make("dt", label), value);
        }
      }
    });
    if (body.childElementCount) item.append(body);
    item.append(tags);
    return item;
  }

  function start(box) {
    const listing = data[box.dataset.listing], noun = box.dataset.noun, chosen = new Map();
    const texts = listing.rows.map(() => null);
    const heads = listing.fields.flatMap(([, kind], place) => kind === "pick" ? [] : [place]);
    let words = [], first = 0, found = [];

    function matches(row, number) {
      for (const [place, name] of chosen) if (!row[place].includes(name)) return false;
      if (!words.length) return true;
      texts[number] ??= heads.map(place => row[place] ?? "").join("\\n").toLowerCase();
      return words.every(word => texts[number].includes(word));
    }

    function search() {
      first = 0;
      found = listing.rows.filter(matches);
      show();
    }

    function show() {
      const rows = found.slice(first, first + PAGE);
      list.replaceChildren(...rows.map(row => card(listing, row)));
      const of = found.length.toLocaleString("en");
      state.textContent = found.length ? `${(first + 1).toLocaleString("en")} to ` +
        `${(first + rows.length).toLocaleString("en")} of ${of} ${noun}` : `no ${noun} match`;
      before.disabled = first === 0;
      after.disabled = first + PAGE >= found.length;
    }

    function turn(step) {
      first += step;
      show();
      state.focus();
      state.scrollIntoView({block: "nearest"});
    }

    const form = make("form", undefined, {class: "filters"});
    function labelled(text, input) {
      const label = make("label", text);
      label.append(input);
      form.append(label);
      return input;
    }
    const text = labelled("words", make("input", undefined, {type: "search", autocomplete: "off"}));
    text.addEventListener("input", () => {
      words = text.value.toLowerCase().split(/\\s+/).filter(Boolean);
      search();
    });
    listing.fields.forEach(([label, kind], place) => {
      if (kind !== "pick" || listing.picks[place].length < 2) return;
      const counts = listing.picks[place].map(() => 0);
      for (const row of listing.rows) for (const number of row[place]) counts[number] += 1;
      const select = labelled(label, make("select"));
      select.append(make("option", "all", {value: ""}));
      listing.picks[place].forEach((name, number) =>
        select.append(make("option", `${name} (${counts[number].toLocaleString("en")})`, {value: number})));
      select.addEventListener("change", () => {
        if (select.value === "") chosen.delete(place); else chosen.set(place, Number(select.value));
        search();
      });
    });
    form.addEventListener("submit", event => event.preventDefault());
    const state = make("p", "", {class: "state", role: "status", tabindex: "-1"});
    const list = make("ol", undefined, {class: "rows"});
    const pages = make("div", undefined, {class: "pages"});
    const before = make("button", "Previous page", {type: "button"});
    const after = make("button", "Next page", {type: "button"});
    before.addEventListener("click", () => turn(-PAGE));
    after.addEventListener("click", () => turn(PAGE));
    pages.append(before, after);
    box.replaceChildren(form, state, list, pages);
    search();
  }

  document.querySelectorAll("[data-listing]").forEach(start);
})();
"""

_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
# Nothing is loaded from anywhere, no form is sent, and of scripts only this one runs, whatever the data holds.
POLICY = (
    f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
)
