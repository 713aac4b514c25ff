"""Atomic writes, and hashes that depend on content only."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routenator import files

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_json_survives_a_file(value: object) -> None:
    import json

    assert json.loads(files.canonical_json(value)) == value


def test_canonical_json_is_unique() -> None:
    assert files.canonical_json({"b": 1, "a": [1, {"d": "é", "c": None}]}) == '{"a":[1,{"c":null,"d":"é"}],"b":1}'
    assert files.digest({"a": 1, "b": 2}) == files.digest({"b": 2, "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": 1.5})


def test_digest_is_the_head_of_the_sha256() -> None:
    whole = hashlib.sha256(b'{"a":1}').hexdigest()
    assert files.digest({"a": 1}) == whole[:12]
    assert files.digest({"a": 1}, 64) == whole


def test_write_replaces_the_file_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "x.txt"
    files.write_atomic(path, "one")
    files.write_atomic(path, b"two\x00")
    assert path.read_bytes() == b"two\x00"
    assert [entry.name for entry in path.parent.iterdir()] == ["x.txt"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    files.write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_atomic(path, "half \ud800")  # a lone surrogate cannot be encoded
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.txt"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_atomic(tmp_path / "x", "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_write_json_does_not_escape_letters(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"name": "Blåbær", "n": [1, 2]})
    assert "Blåbær" in (tmp_path / "x.json").read_text(encoding="utf-8")
    assert files.read_json(tmp_path / "x.json") == {"name": "Blåbær", "n": [1, 2]}


def test_sha256_file_reads_more_than_a_block(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 77)
    (tmp_path / "x").write_bytes(data)
    assert files.sha256_file(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def make_tree(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_trees_hash_covers_names_and_contents(tmp_path: Path) -> None:
    base = files.sha256_tree(make_tree(tmp_path / "a", {"x": "1", "d/y": "2"}))
    assert base == files.sha256_tree(make_tree(tmp_path / "b", {"d/y": "2", "x": "1"}))
    assert base != files.sha256_tree(make_tree(tmp_path / "c", {"x": "1", "d/z": "2"}))
    assert base != files.sha256_tree(make_tree(tmp_path / "d", {"x": "1", "d/y": "3"}))


def test_a_trees_hash_omits_excluded_files_and_caches(tmp_path: Path) -> None:
    base = files.sha256_tree(make_tree(tmp_path / "a", {"x": "1"}))
    more = make_tree(tmp_path / "b", {"x": "1", "__pycache__/x.pyc": "2", "golden.jsonl": "3"})
    assert files.sha256_tree(more, exclude=lambda name: name == "golden.jsonl") == base
    assert files.sha256_tree(more) != base
