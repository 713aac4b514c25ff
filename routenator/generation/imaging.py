"""Makes torchvision importable for image models in vLLM.

On CPU machines it is installed separately, in VENV/vision (requirements/install.sh).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from routenator.errors import InputError


def has_torchvision() -> bool:
    """True if ``find_torchvision`` would find it."""
    return importlib.util.find_spec("torchvision") is not None or _folder().is_dir()


def check_torchvision() -> None:
    """Raise an error if torchvision is missing.

    Raises:
        InputError: it is not installed.
    """
    if not has_torchvision():
        raise InputError(
            "an image model in vLLM needs torchvision",
            key="model.vision.engine",
            found="not installed here",
            expected="`make install` (CPU), or `pip install torchvision` in the version that fits torch",
        )


def find_torchvision() -> None:
    """Make torchvision importable in this process and its children.

    Call it before transformers is imported, which looks for torchvision only once.

    Raises:
        InputError: it is not installed.
    """
    check_torchvision()
    if importlib.util.find_spec("torchvision") is None:
        folder = str(_folder())
        sys.path.append(folder)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", ""), folder]))
        importlib.invalidate_caches()


def _folder() -> Path:
    return Path(sys.prefix) / "vision"
