"""What all tests share."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from routenator.config import RunConfig
from routenator.domain.domain import Domain
from routenator.domain.loader import load_domain

# Ray reads these once, when it is imported, and vLLM imports Ray: in a run of the suite an engine's test may come
# before Ray's own.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "tests" / "domains" / "tiny"


@pytest.fixture(scope="session")
def tiny() -> Domain:
    """A small domain: `search` with a closed category, `book` with optional slots."""
    return load_domain(TINY)


def make_config(**changes: object) -> RunConfig:
    """A valid config on the tiny domain; ``changes`` replace whole sections."""
    base: dict[str, object] = {
        "name": "test",
        "domain": str(TINY),
        "seed": 11,
        "dataset": {"size": 200},
        "model": {
            "generator": {"model": "package:smollm2-135m-instruct"},
            "trainee": "package:smollm2-135m-instruct",
            "embedder": "package:all-minilm-l6-v2",
        },
    }
    return RunConfig.model_validate({**base, **changes})
