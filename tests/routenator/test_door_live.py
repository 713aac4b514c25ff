"""domain init from what has to run: MCP servers by stdio and http, and Python files; and what goes wrong with them."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from routenator.authoring.door.pythonfile import read_python
from routenator.authoring.door.read import read_source
from routenator.authoring.door.server import read_command, shown
from routenator.errors import InputError
from tests.routenator.door_documents import OPENAPI

pytestmark = pytest.mark.slow

SERVER = '''
import sys
from mcp.server.mcpserver import MCPServer

server = MCPServer("Shelf")


@server.tool()
def list_books(shelf: str, limit: int = 5) -> list[str]:
    """List the books of a shelf."""
    return []


@server.tool()
def delete_book(book_id: int) -> bool:
    """Delete a book."""
    return True


if len(sys.argv) > 1:
    import uvicorn

    uvicorn.run(server.streamable_http_app(), fd=int(sys.argv[1]), log_level="error")
else:
    server.run("stdio")
'''
MODULE = '''
"""A shelf."""

from typing import Literal

from pydantic import BaseModel

print("noise")


class Book(BaseModel):
    title: str


def list_books(shelf: Literal["kitchen", "attic"], limit: int | None = None) -> list[str]:
    """List the books of a shelf.

    Args:
        shelf: where they stand.
        limit: how many,
            at most.

    Returns:
        Titles.
    """
    return []


def add_book(book: Book, copies: int = 1) -> None:
    """Add a book.

    :param copies: how many
    """


def _hidden(x: int) -> None: ...
'''


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("server") / "server.py"
    file.write_text(SERVER)
    return file


def test_a_server_is_asked_by_stdio(server: Path) -> None:
    api = read_source(f"mcp:{sys.executable} {server}")
    assert api.title == "Shelf"
    assert [tool.name for tool in api.tools] == ["list_books", "delete_book"]
    assert api.tools[0].parameters["required"] == ["shelf"]


@pytest.fixture
def address(server: Path, tmp_path: Path) -> Iterator[str]:
    """A server on a port that the system chose before it started."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        number = listener.fileno()
        process = subprocess.Popen([sys.executable, str(server), str(number)], pass_fds=[number])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        finally:
            process.kill()
            process.wait()


def test_a_server_on_this_machine_is_asked_without_the_proxy(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters set ``http_proxy``, which leads nowhere for a loopback address; later ones do not go there."""
    monkeypatch.setattr(urllib.request, "_opener", None)  # as in a process that has asked for nothing yet
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.delenv("NO_PROXY", raising=False)
    for source in (address, address.replace("127.0.0.1", "localhost")):
        assert [tool.name for tool in read_source(source).tools] == ["list_books", "delete_book"]
    assert os.environ["no_proxy"] == "example.org"
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name)
    with pytest.raises(urllib.error.HTTPError):  # the server's own answer to a request of this kind
        urllib.request.urlopen(address, timeout=60)


def test_a_server_is_asked_by_http(address: str) -> None:
    assert [tool.name for tool in read_source(address).tools] == ["list_books", "delete_book"]


def test_a_document_is_read_at_an_address(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text(OPENAPI)
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        port = process.stdout.readline().partition("port ")[2].split()[0]
        assert read_source(f"http://127.0.0.1:{port}/api.yaml").form == "OpenAPI 3.0.3"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("command", "message", "found"),
    [
        ("no-such-program-anywhere", "this is not an MCP server", "No such file"),
        ("sh -c 'echo boo >&2; exit 3'", "this is not an MCP server", "boo"),
        ("yes", "this is not an MCP server", "not MCP messages"),
        ("sleep 600", "the server does not answer", "nothing within"),
        ("", "no command", ""),
        ("sh -c 'open", "not a command", ""),
    ],
)
def test_a_server_that_cannot_be_asked_is_refused(command: str, message: str, found: str) -> None:
    """One that is not there, dies, talks nonsense, or does not answer."""
    seconds = 2 if command.startswith("sleep") else 60
    with pytest.raises(InputError) as caught:
        read_command(f"mcp:{command}", seconds=seconds)
    assert caught.value.message == message and found in str(caught.value.found)


def test_a_python_file_is_imported_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "shelf.py"
    file.write_text(MODULE)
    api = read_source(str(file))
    assert [tool.name for tool in api.tools] == ["list_books", "add_book"]
    books, add = (tool.parameters["properties"] for tool in api.tools)
    assert books["shelf"] == {"enum": ["kitchen", "attic"], "type": "string", "description": "where they stand."}
    assert books["limit"]["description"] == "how many, at most."
    assert add["book"]["properties"]["title"] == {"type": "string"} and add["copies"]["description"] == "how many"
    assert api.tools[0].description == "List the books of a shelf."
    assert "imported, in a process of its own" in api.notes[0]
    assert "shelf" not in sys.modules


def test_models_are_tools_where_there_are_no_functions(tmp_path: Path) -> None:
    file = tmp_path / "models.py"
    file.write_text(
        'from pydantic import BaseModel\n\nclass Add(BaseModel):\n    """Add two numbers."""\n    a: int\n    b: int\n'
    )
    (tool,) = read_python(file).tools
    assert (
        tool.name == "Add"
        and tool.description == "Add two numbers."
        and set(tool.parameters["properties"]) == {"a", "b"}
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "this file defines no tools"),
        ("def f(:\n", "this file cannot be imported"),
        ("raise SystemExit(3)\n", "this file cannot be imported"),
        ("import os\nos._exit(0)\n", "this file cannot be imported"),
        ("while True: pass\n", "importing this file takes too long"),
    ],
)
def test_a_python_file_that_is_no_list_of_tools_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_python(file, seconds=5 if "while" in text else 120)


def test_credentials_in_a_source_are_never_written_down() -> None:
    assert shown("https://ana:secret@example.com/openapi.json?token=abc") == "https://example.com/openapi.json"
    assert shown("mcp:/usr/bin/server --token abc") == "mcp:server"
