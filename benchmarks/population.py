"""Measures how well language, functions and statistics are inferred from queries alone, on the project's domains.

    python benchmarks/population.py --rows 3000

Language: golden queries and heuristic drafts are in the language that they say, so whatever the check rejects there is
a false rejection; sentences in nine other languages, with and without English values in them, should be rejected as
English. Function words and the detector alone are asked about English only, which says nothing of `voice`. Functions:
the labeller's guesses for golden queries. Statistics: ``domain fit`` of the domain's own drafts compared with the
domain's own shares, exact and with noise.

    python benchmarks/population.py --fits 500

fits each domain's drafts and golden queries that many times at each of three epsilons, and counts the results that
the domain accepts. The noise of a fit is seeded by its number, so one that failed can be repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from routenator.compose import probe_config
from routenator.config import ChecksConfig
from routenator.domain.calls import Call
from routenator.domain.domain import Domain
from routenator.domain.golden import load_golden
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.files import write_json
from routenator.language import SURE, detect
from routenator.population.fit import UNWRITABLE, fit, fit_counted
from routenator.population.histograms import Noise
from routenator.population.queries import Observation, Observer
from routenator.sampling.sampler import Sampler
from routenator.validation.checks import Candidate, Context, language
from routenator.validation.words import FUNCTION_WORDS
from routenator.wording.composer import Composer
from routenator.wording.labeller import Labeller

DOMAINS = Path(__file__).resolve().parent.parent / "configs" / "domains"
WAYS = ("function words", "detector", "check")
EPSILONS = (None, 0.5, 1.0, 3.0)
FITTED = (0.2, 0.5, 1.0)  # epsilons of --fits
FOREIGN = {
    "de": """zeig mir ein plakat für den flohmarkt|wie wird das wetter morgen in berlin|spiel etwas von den beatles
        |ich brauche einen flyer für die geburtstagsfeier|reserviere einen tisch für vier personen
        |füge dieses lied zu meiner playliste hinzu|gib diesem roman drei von fünf sternen|suche den film am wochenende
        |logo mit rotem drachen|einladung zur hochzeit im garten""",
    "es": """muéstrame un cartel de mercado de pulgas|qué tiempo hará mañana en madrid|pon algo de los beatles
        |necesito un folleto para la fiesta|reserva una mesa para cuatro personas|añade esta canción a mi lista
        |dale tres estrellas a esta novela|busca la película del fin de semana|logotipo con cometa roja
        |invitación de boda en el jardín""",
    "fr": """montre moi une affiche de marché aux puces|quel temps fera-t-il demain à paris
        |joue quelque chose des beatles
        |je veux un dépliant pour la fête|réserve une table pour quatre personnes|ajoute cette chanson à ma liste
        |donne trois étoiles à ce roman|cherche le film de ce week-end|logo avec un cerf-volant rouge
        |invitation de mariage dans le jardin""",
    "it": """mostrami un poster del mercatino|che tempo farà domani a roma|metti qualcosa dei beatles
        |voglio un volantino per la festa
        |prenota un tavolo per quattro persone|aggiungi questa canzone alla mia lista|dai tre stelle a questo romanzo
        |cerca il film del fine settimana|logo con aquilone rosso|invito di nozze in giardino""",
    "pt": """mostra um cartaz da feira|como vai estar o tempo amanhã em lisboa|toca alguma coisa dos beatles
        |preciso de um folheto para a festa|reserva uma mesa para quatro pessoas|adiciona esta música à minha lista
        |dá três estrelas a este romance|procura o filme do fim de semana|logotipo com papagaio vermelho
        |convite de casamento no jardim""",
    "nl": """laat me een poster van de rommelmarkt zien|wat voor weer wordt het morgen in utrecht
        |speel iets van de beatles
        |ik heb een folder nodig voor het feest|reserveer een tafel voor vier personen""",
    "sv": "visa mig en affisch för loppmarknaden|hur blir vädret i morgon i stockholm|spela något av beatles",
    "pl": "pokaż mi plakat targu staroci|jaka będzie jutro pogoda w krakowie|zagraj coś beatlesów",
    "tr": "bana bit pazarı için bir afiş göster|yarın istanbulda hava nasıl olacak",
}
MIXED = """ich möchte bitte ein poster mit {}|zeig mir {} für die party|quiero un poster de {} por favor
    |necesito {} para mañana
    |je voudrais une affiche avec {}|cherche moi {} s'il vous plaît|vorrei un volantino con {}|mostrami {} per favore
    |preciso de um cartaz com {}|mostra {} por favor|füge {} zu meiner playlist hinzu|joue {} sur spotify
    |laat mij {} zien alstublieft|visa mig {} tack"""
VALUES = ("red beach", "vintage summer sale", "a dog riding a skateboard", "Slow Sunday Soup")


def sentences(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("|")]


def candidate(query: str, slots: dict[str, str], draft: str = "", written: str = "en") -> Candidate:
    return Candidate(
        query=query,
        calls=[Call("", {})],
        slots=[slots],
        category="",
        bounds=(1, 99),
        language=written,
        template="",
        draft=draft,
    )


def function_words(one: Candidate) -> bool:
    """The check without the detector: whether more words outside the slots are of a language other than English.

    At least two must be.
    """
    glue = [word for word in one.glue if word != "\0"]
    own = FUNCTION_WORDS["en"]
    hits = sum(word in own for word in glue)
    theirs = (
        len({w for w in glue if w in others and w not in own})
        for code, others in FUNCTION_WORDS.items()
        if code != "en"
    )
    return any(found >= 2 and found > hits for found in theirs)


def detector(one: Candidate) -> bool:
    found, score = detect(one.query)
    return found != "en" and score >= SURE


def drafts(domain: Domain, rows: int) -> list[dict[str, Any]]:
    """Accepted rows of one call of the domain by its own statistics, with their heuristic drafts."""
    config = probe_config(domain.path, rows)
    flat = config.generate.model_copy(update={"oversample": dict.fromkeys(config.generate.oversample, 1.0)})
    single = config.dataset.model_copy(update={"calls": {1: 1.0}})
    config = config.model_copy(update={"generate": flat, "dataset": single})
    sampler = Sampler(domain, config)
    return Composer(domain, config, sampler.strata).details(sampler.requests(0, sampler.size)).to_pylist()


def language_rows(domains: dict[str, Domain], made: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    sets: dict[str, list[Candidate]] = {}
    for name, domain in domains.items():
        golden = load_golden(domain.path / "golden.jsonl", domain.functions)
        sets[f"{name}: golden queries"] = [
            candidate(
                e.query,
                {k: str(v) for call in e.calls for k, v in call.arguments.items()},
                written=e.language or "en",
            )
            for e in golden
        ]
        sets[f"{name}: drafts"] = [
            candidate(row["draft"], json.loads(row["slots"])[0], row["draft"], row["language"]) for row in made[name]
        ]
    sets["other languages"] = [candidate(query, {}) for text in FOREIGN.values() for query in sentences(text)]
    sets["other languages, English values"] = [
        candidate(text.format(value), {"x": value}) for text in sentences(MIXED) for value in VALUES
    ]
    context = Context(next(iter(domains.values())), ChecksConfig(), {})

    def whole(one: Candidate) -> bool:
        return language(one, context) is not None

    ways: tuple[Callable[[Candidate], bool], ...] = (function_words, detector, whole)
    detect("load the model")
    rows = []
    for name, queries in sets.items():
        row: dict[str, Any] = {"set": name, "queries": len(queries)}
        for way, refuses in zip(WAYS, ways, strict=True):
            started = time.perf_counter()
            row[way] = sum(refuses(query) for query in queries)
            row[f"{way}, microseconds"] = 1e6 * (time.perf_counter() - started) / len(queries)
        rows.append(row)
    return rows


def function_rows(domains: dict[str, Domain]) -> list[dict[str, Any]]:
    rows = []
    for name, domain in domains.items():
        # A guess is always a function, so queries of no call and of several have no right one.
        golden = [e for e in load_golden(domain.path / "golden.jsonl", domain.functions) if len(e.calls) == 1]
        guesses = Labeller(domain).guess([example.query for example in golden])
        sure = [(guess, example.labels[0]) for guess, example in zip(guesses, golden, strict=True) if guess is not None]
        right = sum(guess == true for guess, true in sure)
        rows.append(
            {
                "domain": name,
                "functions": len(domain.functions),
                "queries": len(golden),
                "sure": len(sure),
                "right": right,
            }
        )
    return rows


def distance(one: dict[str, float], other: dict[Any, float]) -> float:
    """Total variation distance between two tables of weights."""
    total, whole = sum(one.values()), sum(other.values())
    return 0.5 * sum(abs(one.get(name, 0.0) / total - other.get(name, 0.0) / whole) for name in {**one, **other})


def write_drafts(file: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a file of drafts with their calls, as ``domain fit`` reads it."""
    lines = [{"query": row["draft"], "call": json.loads(row["calls"])[0]} for row in rows]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def fit_rows(domains: dict[str, Domain], made: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, domain in domains.items():
            file = write_drafts(Path(folder) / f"{name}.jsonl", made[name])
            fit(domain, file, epsilon=1.0)  # loads OpenDP
            for epsilon in EPSILONS:
                started = time.perf_counter()
                found, own = fit(domain, file, epsilon=epsilon).statistics, domain.statistics
                seconds = time.perf_counter() - started
                tables = {name: getattr(own, name) for name in ("categories", "lengths")}
                rows.append(
                    {
                        "domain": name,
                        "epsilon": "exact" if epsilon is None else epsilon,
                        "queries": len(made[name]),
                        "per second": len(made[name]) / seconds,
                        "functions": distance(found["functions"], own.functions),
                        **{
                            key: max((distance(found[key][f], table[f]) for f in table), default=0.0)
                            for key, table in tables.items()
                        },
                        "slots": max(
                            (abs(found["slots"][f][s] - v) for f, t in own.slots.items() for s, v in t.items()),
                            default=0.0,
                        ),
                    }
                )
    return rows


def seeded_noise(seed: int) -> Noise:
    """Noise with the distribution of OpenDP's, which cannot be seeded: the difference of two geometric draws."""
    draw = np.random.default_rng(seed)

    def noise(counts: Sequence[int], scale: float) -> list[int]:
        odds = -math.expm1(-1.0 / scale)
        drawn = draw.geometric(odds, len(counts)) - draw.geometric(odds, len(counts))
        return [count + int(added) for count, added in zip(counts, drawn, strict=True)]

    return noise


def failed_seeds(
    domain: Domain, seen: Counter[Observation], epsilon: float, seeds: Iterable[int], min_count: int = 10
) -> list[int]:
    """Seeds whose noise yields a fit that the domain rejects or cannot write."""
    failed = []
    for seed in seeds:
        try:
            found = fit_counted(domain, seen, min_count=min_count, epsilon=epsilon, noise=seeded_noise(seed))
        except InputError:
            failed.append(seed)
            continue
        if any(line.startswith(UNWRITABLE) for line in found.warnings):
            failed.append(seed)
    return failed


def noisy_rows(domains: dict[str, Domain], made: dict[str, list[dict[str, Any]]], fits: int) -> list[dict[str, Any]]:
    """Number of noisy fits that pass, for each domain, sample and epsilon."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, domain in domains.items():
            samples = {
                "drafts": write_drafts(Path(folder) / f"{name}.jsonl", made[name]),
                "golden queries": domain.path / "golden.jsonl",
            }
            for sample, file in samples.items():
                seen = Observer(domain, Labeller(domain)).count(file)
                for epsilon in FITTED:
                    failed = failed_seeds(domain, seen, epsilon, range(fits))
                    rows.append(
                        {
                            "domain": name,
                            "sample": sample,
                            "epsilon": epsilon,
                            "queries": seen.total(),
                            "passed": fits - len(failed),
                            "of": fits,
                            "seeds that failed": ", ".join(map(str, failed)) or "none",
                        }
                    )
    return rows


def table(title: str, rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
    """Rows as text; ``columns`` is column -> format."""
    lines = [list(columns), *([format(row[name], style) for name, style in columns.items()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}")
    for first, *rest in lines:
        print(
            f"  {first.ljust(widths[0])}",
            *(text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)),
            sep="  ",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3000, help="drafts of each domain")
    parser.add_argument(
        "--domain", action="append", help="a folder below configs/domains; may be given again; default: all"
    )
    parser.add_argument("--fits", type=int, help="only fit with noise, so often; exit code 1 if a result is refused")
    parser.add_argument("--json", type=Path, help="write the result here too")
    options = parser.parse_args()
    names = options.domain or sorted(path.parent.name for path in DOMAINS.glob("*/statistics.yaml"))
    domains = {name: load_domain(DOMAINS / name) for name in names}
    made = {name: drafts(domain, options.rows) for name, domain in domains.items()}
    if options.fits is not None:
        passed = noisy_rows(domains, made, options.fits)
        columns = {"domain": "", "sample": "", "epsilon": "", "queries": ",", "passed": "", "of": ""}
        table("Fits with noise that the domain takes", passed, {**columns, "seeds that failed": ""})
        if options.json:
            write_json(options.json, {"fits": passed})
        sys.exit(any(row["passed"] < row["of"] for row in passed))
    result = {
        "language": language_rows(domains, made),
        "functions": function_rows(domains),
        "fit": fit_rows(domains, made),
    }
    counts = dict.fromkeys(("queries", *WAYS), ",")
    times = {f"{way}, microseconds": ".0f" for way in WAYS}
    table("Refused by the language check", result["language"], {"set": "", **counts, **times})
    table(
        "Functions guessed of golden queries",
        result["functions"],
        {"domain": "", "functions": "", "queries": "", "sure": "", "right": ""},
    )
    shares = dict.fromkeys(("functions", "categories", "lengths", "slots"), ".3f")
    title = "Greatest distance of fitted from own shares (total variation; of slots: difference)"
    table(title, result["fit"], {"domain": "", "epsilon": "", "queries": ",", "per second": ",.0f", **shares})
    if options.json:
        write_json(options.json, result)


if __name__ == "__main__":
    main()
