"""Counts real queries, in a process of its own: it imports a lot that an experiment does not need.

Started by ``python -m slurm.experiments.observe DOMAIN FILE``; prints the counts as JSON, and no query.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from routenator.domain.domain import Domain
from routenator.domain.loader import load_domain
from routenator.errors import RoutenatorError
from routenator.population.queries import Observer
from routenator.wording.labeller import Labeller
from slurm.experiments.queries import PLACE, UNKNOWN, Counts, bucket_of


def observe(domain: Domain, file: Path) -> Counts:
    """Count the queries of a file that have one call.

    Raises:
        InputError / InputErrors: as ``Observer.count``.
    """
    found = Counts({"function": Counter(), "content type": Counter(), "length": Counter()}, {})
    for one, times in Observer(domain, Labeller(domain)).count(file).items():
        if one.function is None or one.guessed:
            continue
        found.rows["function"][one.function] += times
        found.rows["content type"][f"{one.function}/{one.category or UNKNOWN}"] += times
        found.rows["length"][f"{one.function}/{bucket_of(domain, one.words)}"] += times
        found.words.setdefault(one.function, Counter())[one.words] += times
        if one.third is not None:
            found.rows.setdefault(PLACE + one.function, Counter())[one.third] += times
    return found


if __name__ == "__main__":
    try:
        found = observe(load_domain(sys.argv[1]), Path(sys.argv[2]))
        print(json.dumps({"rows": found.rows, "words": found.words}))
    except RoutenatorError as error:
        sys.exit(str(error))
