"""The report page's CSS and Jinja2 template, kept as Python strings so that the package needs no data files."""
# ruff: noqa: E501  (markup: line breaks would show on the page)

STYLE = """
:root { color-scheme: light dark; --back: #f6f7f9; --card: #ffffff; --ink: #1b2430; --soft: #5b6676; --rule: #dfe3e9; --target: #9aa5b4;
  --requested: #c9b27a; --accepted: #8ab8f0; --final: #1f6fd1; --before: #8a94a3; --miss: #c9512f; --hit: #1f6fd1; --empty: #eef1f5; --third: #2a9d74; }
@media (prefers-color-scheme: dark) { :root { --back: #10151c; --card: #18202a; --ink: #e6ebf2; --soft: #9aa7b8; --rule: #2b3644;
  --requested: #8f7c4a; --target: #6d7a8c; --accepted: #3f6ea8; --final: #6cb0ff; --before: #8794a6; --miss: #ef8a63;
  --hit: #4f97ea; --empty: #202a36; --third: #4fc49a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 16px 64px; }
header p, .note { color: var(--soft); margin: 4px 0 0; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 40px 0 12px; }
h3 { font-size: .95rem; margin: 0 0 8px; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 12px; margin-top: 20px; }
.tile, .card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 14px 16px; min-width: 0; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 430px), 1fr)); gap: 12px; align-items: start; }
.flow { columns: 2 430px; column-gap: 12px; }
.flow .card { break-inside: avoid; margin-bottom: 12px; }
.note + .card { margin-top: 12px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
tr:last-child td { border-bottom: 0; }
.n { text-align: right; padding-right: 0; padding-left: 10px; }
small { display: block; color: var(--soft); font-size: .85em; line-height: 1.35; }
p, ul, dd, label { overflow-wrap: anywhere; }
nav ul, .tags, .rows { list-style: none; padding: 0; margin: 0; }
nav ul, .tags { display: flex; flex-wrap: wrap; gap: 4px 14px; margin-top: 10px; }
a { color: inherit; }
:focus-visible { outline: 2px solid var(--final); outline-offset: 2px; }
.filters { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 150px), 1fr)); gap: 8px 12px; }
.filters label { color: var(--soft); font-size: .85rem; }
.filters input, .filters select, button { font: inherit; color: var(--ink); background: var(--back); border: 1px solid var(--soft);
  border-radius: 6px; padding: 4px 8px; min-height: 32px; }
.filters input, .filters select { display: block; width: 100%; min-width: 0; }
button { cursor: pointer; } button:disabled { opacity: .45; cursor: default; }
.state { color: var(--soft); margin: 12px 0 0; }
.rows > li { border-top: 1px solid var(--rule); padding: 10px 0; color: var(--ink); font-size: .9rem; }
.rows .query { font-weight: 600; margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.rows dl { display: grid; grid-template-columns: 10.5em minmax(0, 1fr); gap: 2px 12px; margin: 6px 0 0; }
.rows dt { color: var(--soft); } .rows dd { margin: 0; white-space: pre-wrap; }
.rows .tags b { font-weight: 600; color: var(--ink); }
.pages { display: flex; gap: 8px; margin-top: 12px; }
ul { color: var(--soft); font-size: .85rem; }
ul:not([class]) { margin: 8px 0 0; padding-left: 18px; }
nav ul:not([class]) { padding: 0; }
svg.chart { display: block; width: 100%; max-width: 520px; height: auto; font: 11.5px system-ui, sans-serif; }
svg.wide { max-width: none; }
svg text { fill: var(--ink); } svg .name { font-size: 11px; } svg .value { fill: var(--soft); }
svg .requested { fill: var(--requested); }
svg .target { fill: var(--target); } svg .accepted { fill: var(--accepted); } svg .final { fill: var(--final); }
svg .before { fill: var(--before); stroke: var(--before); } svg .after { fill: var(--final); stroke: var(--final); }
svg .guided { fill: var(--accepted); stroke: var(--accepted); }
svg .base0 { fill: var(--requested); stroke: var(--requested); } svg .base1 { fill: var(--miss); stroke: var(--miss); }
svg .base2 { fill: var(--third); stroke: var(--third); }
svg rect { stroke: none; } svg .range { stroke-width: 2.5; }
svg .miss { fill: var(--miss); } svg .hit { fill: var(--hit); } svg .empty { fill: var(--empty); }
svg .grid { stroke: var(--rule); } svg .whisker { stroke: var(--soft); } svg .median { stroke: var(--card); stroke-width: 2.5; }
svg .curve { fill: none; stroke: var(--final); stroke-width: 1.6; stroke-linejoin: round; }
svg .count { font-size: 10.5px; } svg .count.on { fill: var(--card); }
@media (max-width: 640px) { main { padding: 16px 10px 40px; } .card, .tile { padding: 12px; }
  .rows dl { grid-template-columns: minmax(0, 1fr); } .rows dt { margin-top: 4px; } }
@media print { body { background: #fff; } .card, .tile { break-inside: avoid; } }
"""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<title>{{ run.name }}: RouteNator report</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<header>
<h1>{{ run.title }}</h1>
<p>Run {{ run.name }}, plan <code>{{ run.fingerprint }}</code>, made {{ run.created }} by RouteNator {{ run.version }}
{%- if run.commit %}, commit <code>{{ run.commit }}</code>{% endif %}.</p>
</header>
<div class="tiles">
{% for name, figure, note in tiles %}
<div class="tile"><span>{{ name }}</span><b>{{ figure }}</b><span>{{ note }}</span></div>
{% endfor %}
</div>
<nav aria-label="Parts of this page"><ul>
{% if listings.failures is defined %}<li><a href="#failures">Wrong answers</a></li>{% endif %}
{% if score_chart %}<li><a href="#scores">Scores</a></li>{% endif %}
<li><a href="#funnel">From request to example</a></li>
{% if dimensions %}<li><a href="#distribution">Distribution</a></li>{% endif %}
{% if words_chart %}<li><a href="#queries">Queries</a></li>{% endif %}
<li><a href="#time">Training and time</a></li>
{% if listings.data is defined %}<li><a href="#data">Data</a></li>{% endif %}
<li><a href="#files">Files</a></li>
</ul></nav>

{% macro search(name, noun, where) %}
<div class="card" data-listing="{{ name }}" data-noun="{{ noun }}">
<p>Searching the rows needs JavaScript, which this browser does not run here. The same rows are in <code>{{ where }}</code>.</p></div>
{% endmacro %}
{% if listings.failures is defined %}
<h2 id="failures">Wrong answers on {{ "the" if summary.scored_on == "golden set" else "a" }} {{ summary.scored_on }}</h2>
{% if listings.failures.rows %}
<p class="note">Every query that the trained model answered wrongly{% if listings.failures.total > listings.failures.rows | length %}
(the first {{ listings.failures.rows | length | count }} of {{ listings.failures.total | count }}){% endif %}, beside the training
example on this page with the most similar wording. Function and category are those wanted. Errors: <i>unparsable</i> replies cannot be read; <i>missing call</i>: words or too few calls;
<i>extra call</i>: more calls than wanted; <i>wrong function</i>; and of arguments <i>missing</i>, <i>unexpected</i>, of the <i>wrong type</i>,
<i>not in enum</i> (a value that the API does not have) or the <i>wrong value</i>.</p>
{{ search("failures", "wrong answers", summary.places.predictions) }}
{% else %}
<p class="note">None: every query got exactly the calls that it wants.</p>
{% endif %}
{% endif %}

{% if score_chart %}
<h2 id="scores">Scores on {{ "the" if summary.scored_on == "golden set" else "a" }} {{ summary.scored_on }}</h2>
{% if summary.scored_on != "golden set" %}<p class="note">The domain has no golden set. These queries are synthetic, like
the training data: the scores show that training worked, not how the model does on people's queries.</p>{% endif %}
<div class="grid">
<div class="card">{{ score_chart }}
<p class="note">Lines are 95% bootstrap intervals.
{% if "before" not in sides %}The untrained model was not scored. {% endif %}
{% if "guided" in sides %}<i>guided</i>: the trained model, with replies restricted to valid calls of the API or none. {% endif %}
{% if (sides.values() | first).get("match") == "berkeley" %}Values are right as the Berkeley leaderboard's checker says. {% endif %}
{% if summary.baselines %}Baselines use no language model, only the same training set: <i>majority</i> always answers with the most
common call, <i>keywords</i> goes by the most reliable word of the query, <i>nearest</i> copies the call of the most similar query.{% endif %}</p></div>
<div class="card scroll" tabindex="0" role="group" aria-label="table"><h3>By metric</h3><table>
<tr><th>metric</th>{% for side in sides %}<th class="n">{{ side }}</th>{% endfor %}</tr>
{% for key, name in metrics.items() %}
<tr><td>{{ name }}<small>{{ explained[key] }}</small></td>{% for side in sides.values() %}<td class="n">{{ side.get(key) | score }}</td>{% endfor %}</tr>
{% endfor %}
{% for key, name in [("n", "Queries"), ("prompt", "Prompt"), ("seconds", "Seconds"), ("queries_per_second", "Queries/s"),
  ("cut_off", "Replies cut off at evaluate.max_new_tokens")] %}
<tr><td>{{ name }}</td>{% for side in sides.values() %}{% set value = side.get(key) %}
<td class="n">{{ "-" if value is none else ("%.1f" % value if value is float else value) }}</td>{% endfor %}</tr>
{% endfor %}
{% for key, name in [("mean", "Seconds per query, mean"), ("p50", "median"), ("p95", "95th percentile")] %}
<tr><td>{{ name }}</td>{% for side in sides.values() %}{% set value = (side.get("latency") or {}).get(key) %}
<td class="n">{{ "-" if value is none else "%.3f" % value }}</td>{% endfor %}</tr>
{% endfor %}
</table><p class="note">Seconds per query: measured in a batch of concurrent queries, without the time to load the model.</p></div>
{% if summary.baselines %}
<div class="card scroll" tabindex="0" role="group" aria-label="table"><h3>Baselines without a language model</h3><table>
<tr><th>metric</th>{% for name in summary.baselines %}<th class="n">{{ name }}</th>{% endfor %}</tr>
{% for key, name in metrics.items() %}
<tr><td>{{ name }}</td>{% for side in summary.baselines.values() %}<td class="n">{{ side.get(key) | score }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
{% endif %}
{% for item in confusions %}
<div class="card"><h3>Functions {{ item.side }} training</h3><div class="scroll" tabindex="0" role="group" aria-label="table">{{ item.chart }}</div>
<p class="note">Rows are the gold function, columns the predicted one, by the rows' numbers; {{ item.errors }} wrong.
{% if item.none %}<i>(none)</i>: a reply that cannot be read, or a function that the API does not have.{% endif %}</p>
{% if item.pairs %}<ul>{% for number, gold, predicted in item.pairs %}
<li>{{ number }} &times; {{ gold }} taken for {{ predicted }}</li>{% endfor %}</ul>{% endif %}</div>
{% endfor %}
{% if functions %}
<div class="card scroll" tabindex="0" role="group" aria-label="table"><h3>By function</h3><table>
<tr><th>function</th>{% for column in functions.columns %}<th class="n">{{ column }}</th>{% endfor %}</tr>
{% for name, figures in functions.rows %}
<tr><td>{{ name }}</td>{% for figure in figures %}<td class="n">{{ figure }}</td>{% endfor %}</tr>
{% endfor %}
</table>{% if functions.more %}<p class="note">and {{ functions.more }} more, in summary.json</p>{% endif %}</div>
{% endif %}
{% if languages %}
<div class="card scroll" tabindex="0" role="group" aria-label="table"><h3>By language</h3><table>
<tr><th>language</th><th class="n">queries</th>{% for column in languages.columns %}<th class="n">{{ column }}</th>{% endfor %}</tr>
{% for name, queries, values in languages.rows %}
<tr><td>{{ name }}</td><td class="n">{{ queries | count }}</td>{% for value in values %}<td class="n">{{ value | score }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
{% endif %}
{% if categories %}
<div class="card scroll" tabindex="0" role="group" aria-label="table"><h3>By content type</h3><table>
<tr><th>content type</th><th class="n">queries</th>{% for side in sides %}<th class="n">accuracy {{ side }}</th>{% endfor %}
<th class="n">exact</th></tr>
{% for row in categories.rows %}
<tr><td>{{ row.name }}</td><td class="n">{{ row.n }}</td>{% for value in row.cta %}<td class="n">{{ value | score }}</td>{% endfor %}
<td class="n">{{ row.exact | score }}</td></tr>
{% endfor %}
</table>{% if categories.more %}<p class="note">and {{ categories.more }} more, in summary.json</p>{% endif %}
{% if categories.pairs %}<p class="note">Most often confused:</p><ul>{% for number, gold, predicted in categories.pairs %}
<li>{{ number }} &times; {{ gold }} taken for {{ predicted }}</li>{% endfor %}</ul>{% endif %}
{% if categories.none or categories.other %}<p class="note">
{% if categories.none %}<i>(none)</i>: the reply has another function, or no content type, or cannot be read. {% endif %}
{% if categories.other %}<i>(other)</i>: content types that the golden queries do not have, or that are too rare for a row of their own.{% endif %}</p>{% endif %}</div>
{% endif %}
{% if errors %}
<div class="card scroll" tabindex="0" role="group" aria-label="table"><h3>Wrong calls by kind</h3><table>
<tr><th>kind</th>{% for side in sides %}<th class="n">{{ side }}</th>{% endfor %}</tr>
{% for kind, numbers in errors %}
<tr><td>{{ kind }}</td>{% for number in numbers %}<td class="n">{{ number | count }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
{% endif %}
</div>
{% endif %}

<h2 id="funnel">From request to example</h2>
<div class="grid">
<div class="card"><h3>Rows at each step</h3>{{ steps_chart }}
{% if counts.get("backfilled") %}<p class="note">{{ counts.backfilled | count }} of the final rows stand in for rows that another route or
template of the same function, category, length and language could not supply.</p>{% endif %}
{% if counts.get("missing") %}<p class="note">{{ counts.missing | count }} of the {{ counts.wanted | count }} wanted rows
{{ "is" if counts.missing == 1 else "are" }} missing; <code>topup</code> requests {{ "it" if counts.missing == 1 else "them" }}:</p>
<ul>{% for row in short[:12] %}<li>{{ row.missing | count }} &times; {{ row.function }}, {{ row.category }}, {{ row.route }},
{{ row.template }}, {{ row.length }}, {{ row.language }}</li>{% endfor %}
{% if short | length > 12 %}<li>and {{ short[12:] | sum("missing") | count }} in {{ short | length - 12 }} more strata, in summary.json</li>{% endif %}</ul>{% endif %}
{% if summary.rounds | length > 1 %}<table>
<tr><th>round</th><th class="n">requested</th><th class="n">accepted</th><th class="n">kept after dedup</th><th class="n">final</th></tr>
{% for row in summary.rounds %}
<tr><td>{{ row.name }}</td><td class="n">{{ row.requested | count }}</td>
<td class="n">{{ row.accepted | count }}</td><td class="n">{{ row.kept | count }}</td><td class="n">{{ row.final | count }}</td></tr>
{% endfor %}
</table>{% endif %}</div>
{% if rejection_chart %}
<div class="card"><h3>Rejected, by reason</h3>{{ rejection_chart }}
<p class="note">Every rejected row is kept in <code>dataset/rejected.parquet</code>, with the reason. <code>surplus</code> rows are valid
but exceed their stratum's quota.</p></div>
{% endif %}
</div>

{% if dimensions %}
<h2 id="distribution">Distribution: target, requested, accepted, final</h2>
<div class="flow">
<div class="card scroll" tabindex="0" role="group" aria-label="table"><h3>Distance from the target</h3><table>
<tr><th></th><th class="n">requested</th><th class="n">accepted</th><th class="n">final</th><th class="n">by checks</th>
<th class="n">p</th><th class="n">KL</th></tr>
{% for name, figures in distances %}
<tr><td>{{ name }}</td>{% for figure in figures %}<td class="n">{{ figure }}</td>{% endfor %}</tr>
{% endfor %}
</table><p class="note">The first three columns are total variation: the share of rows that would have to move to match the target. Where many rows
are rejected, more are requested, so the requested rows may be far from the target by design. <i>By checks</i> compares accepted with requested
rows: how much rejection alone distorts the distribution. p (chi-square) and KL (bits per row) are for the final set.</p></div>
{% if hardest %}
<div class="card scroll" tabindex="0" role="group" aria-label="table"><h3>Where rows are lost</h3><table>
<tr><th>route</th><th>function</th><th>length</th><th class="n">requested</th><th class="n">accepted</th></tr>
{% for row in hardest %}
<tr><td>{{ row.route }}</td><td>{{ row.function }}</td><td>{{ row.length }}</td><td class="n">{{ row.requested | count }}</td>
<td class="n">{{ "%.1f%%" % (100 * row.acceptance.value) if row.acceptance else "-" }}</td></tr>
{% endfor %}
</table><p class="note">Strata short of their quota come first, then those with the lowest acceptance rate.</p></div>
{% endif %}
{% for item in dimensions %}
<div class="card"><h3>By {{ item.name }}</h3>{{ item.chart }}
{% if not item.single and item.measures.rows %}
<ul><li>Chi-square{% if item.measures.chi_square.statistic is not none %} {{ "%.2f" % item.measures.chi_square.statistic }}
({{ item.measures.chi_square.degrees }} degree
{{- "" if item.measures.chi_square.degrees == 1 else "s" }} of freedom){% endif %}: {{ item.measures.chi_square.meaning }}</li>
<li>Total variation {{ "%.4f" % item.measures.total_variation.value }}: {{ item.measures.total_variation.meaning }}</li>
<li>KL divergence{% if item.measures.kl.value is not none %} {{ "%.4f" % item.measures.kl.value }} bits{% endif %}:
{{ item.measures.kl.meaning }}</li></ul>
{% endif %}
{% if item.losing %}<div class="scroll" tabindex="0" role="group" aria-label="table"><table>
<tr><th>{{ item.name }}</th><th class="n">accepted</th><th class="n">95% interval</th></tr>
{% for row in item.losing %}
<tr><td>{{ row.name }}</td><td class="n">{{ "%.1f%%" % (100 * row.acceptance.value) }}</td>
<td class="n">{{ "%.1f to %.1f%%" % (100 * row.acceptance.low, 100 * row.acceptance.high) }}</td></tr>
{% endfor %}
</table></div>{% if item.more %}<p class="note">and {{ item.more }} more, in summary.json</p>{% endif %}{% endif %}</div>
{% endfor %}
{% if joint and joint.rows %}
<div class="card"><h3>Individual strata against their quotas</h3><ul>
<li>{{ joint.chi_square.meaning }}</li><li>{{ joint.total_variation.meaning }}</li><li>{{ joint.kl.meaning }}</li></ul></div>
{% endif %}
</div>
{% endif %}

{% if words_chart %}
<h2 id="queries">Queries</h2>
<div class="flow">
<div class="card"><h3>Words per query, by function</h3>{{ words_chart }}
<p class="note">Boxes span the quartiles, the line is the median, and whiskers reach to the minimum and maximum.</p>
<div class="scroll" tabindex="0" role="group" aria-label="table"><table><tr><th>function</th><th class="n">rows</th><th class="n">q1</th><th class="n">median</th><th class="n">q3</th>
<th class="n">mean</th></tr>
{% for name, row in summary.words.items() %}
<tr><td>{{ name }}</td><td class="n">{{ row.rows | count }}</td>
<td class="n">{{ "%g" % row.q1 }}</td><td class="n">{{ "%g" % row.median }}</td>
<td class="n">{{ "%g" % row.q3 }}</td><td class="n">{{ "%.1f" % row.mean }}</td></tr>
{% endfor %}</table></div></div>
{% for function, chart, absent in positions %}
<div class="card"><h3>Where {{ function }} queries mention the category</h3>{{ chart }}
<p class="note">By thirds of the query.{% if absent %} {{ absent | count }} queries do not contain the category's own words.{% endif %}</p></div>
{% endfor %}
</div>
{% endif %}

<h2 id="time">Training and time</h2>
<div class="grid">
{% if loss_chart %}<div class="card"><h3>Training loss</h3>{{ loss_chart }}</div>{% endif %}
<div class="card"><h3>Time by stage</h3>{{ stage_chart }}
<div class="scroll" tabindex="0" role="group" aria-label="table"><table><tr><th>stage</th><th class="n">shards</th><th class="n">rows</th>
<th class="n">slowest</th><th class="n">retried</th>
<th class="n">tokens/s</th></tr>
{% for stage in summary.stages %}{% set speed = stage.metrics.get("tokens_per_second") %}
<tr><td>{{ stage.stage }}</td><td class="n">{{ stage.shards if stage.done == stage.shards else stage.done ~ " of " ~ stage.shards }}</td>
<td class="n">{{ stage.rows | count }}</td><td class="n">{{ stage.longest | seconds }}</td><td class="n">{{ stage.retried }}</td>
<td class="n">{{ speed | rate if speed else "" }}</td></tr>
{% endfor %}</table></div>
<p class="note">Times are summed over a stage's shards. Tokens/s: of one task, while its model works; loading it does not count.</p></div>
</div>

{% if listings.data is defined %}
<h2 id="data">Data</h2>
<p class="note">{% if listings.data.total > listings.data.rows | length %}A random sample of {{ listings.data.rows | length | count }} of
{{ listings.data.total | count }} rows: examples and rejected rows. {% else %}All examples, and all rejected rows with the reason. {% endif %}
<i>surplus</i> rows are valid but exceed their stratum's quota.</p>
{{ search("data", "rows", summary.places["data set"]) }}
{% endif %}

<h2 id="files">Files</h2>
<div class="card"><table>
{% for name, place in places.items() %}
<tr><td>{{ name }}</td><td><code>{{ place }}</code></td></tr>
{% endfor %}
</table><p class="note">Paths are relative to the run directory. All figures on this page are in <code>report/summary.json</code>.</p></div>
</main>
{% if listings %}
<script type="application/json" id="rows">{{ listings_json }}</script>
<script>{{ script }}</script>
{% endif %}
</body>
</html>
"""
