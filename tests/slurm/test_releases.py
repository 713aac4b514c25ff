"""Other versions of Slurm: what is missing is said. ``tests/cluster/test_other_versions.py`` fetches and runs one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from routenator.errors import InputError
from slurm.devcluster import releases
from slurm.devcluster.releases import ReleaseError, find_release


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands in for the PATH, with commands that do nothing."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in releases._TOOLS:
        stand_in(folder, name, "exit 0")
    monkeypatch.setattr(releases, "_PATH", f"{folder}:/bin:/usr/bin")
    monkeypatch.setattr(os, "getuid", lambda: 0)
    return folder


def stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_the_systems_version_needs_nothing_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    assert find_release("system", tmp_path) is None
    with pytest.raises(InputError, match="no such version of Slurm") as refused:
        find_release("24.12", tmp_path)
    assert refused.value.nearest == "24.11"
    assert not any(tmp_path.iterdir())


def test_missing_tools_come_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "_PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"without apt, debootstrap, dpkg\n.*apt-get install .* debootstrap"):
        find_release("24.11", tmp_path / "cache")


def test_only_root_can_fetch_one_but_all_can_use_it(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(InputError, match="not root"):
        find_release("24.11", tmp_path / "cache")


def test_without_a_network_or_a_mirror_the_reason_is_given_and_nothing_is_left(tools: Path, tmp_path: Path) -> None:
    third = "'https://third.invalid/debian/dists/nodistro/main/binary-amd64/Packages' x 0"
    stand_in(tools, "apt-get", f'echo "{third}"')
    with pytest.raises(ReleaseError, match="no Debian mirror is named by apt's sources"):
        find_release("24.11", tmp_path / "cache")
    uris = [third] + [
        f"'http://one.invalid/mirror{kind}/dists/trixie{kind}/main/binary-amd64/Packages.xz' x 0"
        for kind in ("-security", "")
    ]
    stand_in(tools, "apt-get", "".join(f'echo "{line}"; ' for line in uris))
    stand_in(
        tools,
        "debootstrap",
        'for last; do :; done; mkdir -p "$5"; echo "I: Retrieving"; echo "E: Failed getting $last/Release" >&2; exit 1',
    )
    with pytest.raises(
        ReleaseError, match=r"could not be fetched: E: Failed getting http://one\.invalid/mirror/Release"
    ):
        find_release("24.11", tmp_path / "cache")
    assert not any((tmp_path / "cache").iterdir())


def test_commands_that_others_could_have_written_are_refused(tools: Path, tmp_path: Path) -> None:
    folder = tmp_path.resolve() / "slurm-trixie"
    folder.mkdir(mode=0o755)
    (folder / "release.json").write_text(f'{{"folder": "{folder}", "suite": "trixie", "version": "24.11.5-4"}}')
    found = find_release("24.11", tmp_path)
    assert found is not None and found.version == "24.11.5-4" and found.commands == folder / "bin"
    folder.chmod(0o777)
    with pytest.raises(InputError, match="could have been written by somebody else"):
        find_release("24.11", tmp_path)
