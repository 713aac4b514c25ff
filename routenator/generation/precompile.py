"""Compiles the loops by running them once: ``python -m routenator.generation.precompile < CONFIG.json``.

``routenator.compiled.make_ready`` starts it as a separate process, so that planning a run does not import numba.
"""

from __future__ import annotations

import sys

from routenator.config import RunConfig
from routenator.domain.loader import load_domain
from routenator.generation.heuristic import candidates
from routenator.sampling.sampler import Sampler
from routenator.validation.checks import Context
from routenator.wording.composer import Composer


def compile_loops(config: RunConfig) -> None:
    """Write the words of one request and check them, which compiles all loops."""
    domain = load_domain(config.domain)
    sampler = Sampler(domain, config)
    details = Composer(domain, config, sampler.strata).details(sampler.requests(0, 1))
    candidates(details, Context(domain, config.checks, {}))


if __name__ == "__main__":
    compile_loops(RunConfig.model_validate_json(sys.stdin.read()))
