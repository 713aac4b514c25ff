"""Converts a full model to GGUF for llama.cpp and Ollama, by llama.cpp's own converter.

The converter does not come as a package. The source package of llama-cpp-python holds it: pip fetches that once, by
hash, and what is needed of it is kept in the cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from routenator.errors import InputError, StageError
from routenator.extras import require
from routenator.files import write_atomic
from routenator.locks import hold
from routenator.training.adapter import AdapterCard

CONVERTER = "convert_hf_to_gguf.py"
VERSION = "0.3.36"  # of llama-cpp-python
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
FILE = "model.gguf"
_PARTS = (CONVERTER, "conversion", "gguf-py", "LICENSE")
_LINES = 12  # of the converter's output in an error


def find_converter(cache: Path, given: Path | None = None) -> Path:
    """Return the converter, fetched into the cache if needed.

    Args:
        cache: folder of prepared weights.
        given: a checkout of llama.cpp to use instead.

    Raises:
        InputError: there is none in ``given``.
        StageError: it could not be fetched.
    """
    if given is not None:
        if not (given / CONVERTER).is_file():
            raise InputError(
                "no checkout of llama.cpp",
                file=given,
                key="--llama-cpp",
                found=f"no {CONVERTER}",
                expected="its folder",
            )
        return given / CONVERTER
    folder = cache.expanduser().resolve() / f"llama.cpp-{VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with hold(folder.with_name(f".{folder.name}.lock"), wait=True):
            if not folder.is_dir():
                _fetch(folder)
    return folder / CONVERTER


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".llama.cpp-") as name:
        temporary = Path(name)
        wanted = temporary / "requirements.txt"
        wanted.write_text(f"llama-cpp-python=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
        command = [*(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python")]
        command += ["--require-hashes", "--disable-pip-version-check", "-q", "-d", name, "-r", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        archives = list(temporary.glob("llama_cpp_python-*.tar.gz"))
        if done.returncode or len(archives) != 1:
            raise StageError(
                "cannot fetch llama.cpp's converter; where pip has no access, name a checkout of llama.cpp by "
                f"--llama-cpp:\n{_end_of(done.stdout + done.stderr)}"
            )
        inside = f"llama_cpp_python-{VERSION}/vendor/llama.cpp/"
        with tarfile.open(archives[0]) as archive:
            members = [
                member
                for member in archive.getmembers()
                if member.name.removeprefix(inside).split("/")[0] in _PARTS and member.name.startswith(inside)
            ]
            archive.extractall(temporary / "all", members, filter="data")
        (temporary / "all" / inside).rename(folder)


def write_gguf(merged: Path, folder: Path, converter: Path, card: AdapterCard) -> None:
    """Write ``model.gguf`` at 16 bits and an Ollama ``Modelfile``.

    Args:
        merged: a full model's folder.
        folder: an existing folder.
        converter: llama.cpp's.
        card: of the adapter that was merged.

    Raises:
        StageError: the converter does not know such a model.
    """
    require("generate", "converting to GGUF", ("torch", "transformers", "gguf"))
    command = [sys.executable, str(converter), str(merged), "--outtype", "auto", "--outfile", str(folder / FILE)]
    # A name of the folder's would go into the file.
    command += ["--model-name", Path(card.domain).name]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "NO_LOCAL_GGUF")},
    )
    if done.returncode or not (folder / FILE).is_file():
        raise StageError(f"llama.cpp's converter refused the model:\n{_end_of(done.stdout + done.stderr)}")
    write_atomic(folder / "Modelfile", modelfile(card))


def modelfile(card: AdapterCard) -> str:
    """Return an Ollama Modelfile.

    Ollama has templates of its own kind. That of a compact prompt is one line; another one is found by Ollama itself if
    it knows the chat template in the GGUF file.
    """
    lines = [f"FROM ./{FILE}", "PARAMETER temperature 0", "PARAMETER num_predict 256"]
    if card.prompt == "compact":
        lines.append('TEMPLATE """{{ .Prompt }}\n"""')
    return "\n".join(lines) + "\n"


def _end_of(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-_LINES:])
