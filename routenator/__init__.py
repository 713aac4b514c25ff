"""RouteNator as a library: the method itself. It knows no scheduler, run directory or command line.

Sub-packages: ``domain`` (one product API as files), ``authoring`` (tools to check and derive domains), ``population``
(statistics from real queries), ``sampling`` (quotas, graph walks, requests), ``wording`` (heuristic drafts),
``generation`` (engines and prompts), ``validation`` (checks with typed reasons), ``dataset`` (merge, quotas, export),
``chat`` (the form of prompts and replies), ``training``, ``evaluation``, ``report``, ``drafting`` (a language model
proposes words for a domain), ``handoff`` (ask, serve, export and push a trained model).

The names of ``__all__`` can be imported from here (docs/library.md). Each is loaded when it is first used, so that
``import routenator`` takes no time; ``__init__.pyi`` says the same to type checkers.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "RunConfig": "config",
    "load_config": "compose",
    "Domain": "domain.domain",
    "load_domain": "domain.loader",
    "Sampler": "sampling.sampler",
    "Composer": "wording.composer",
    "Generator": "generation.generator",
    "parse_reply": "chat.replies",
    "open_trained": "handoff.trained",
    "Asker": "handoff.asking",
    "InputError": "errors",
    "RoutenatorError": "errors",
}  # name -> its module
__all__ = ["__version__", *_NAMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
