"""Reads the tools of a running MCP server, by the ``mcp`` SDK, and documents at an http address."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import shlex
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit, urlunsplit

from routenator.authoring.door.forms import EXPECTED, parse_document, read_list
from routenator.authoring.door.openapi import is_openapi, read_openapi
from routenator.authoring.door.tools import Api
from routenator.errors import InputError
from routenator.extras import require

MCP = "mcp:"
_SECONDS = 60.0  # for a server to start and to answer
_MOST_PAGES = 200
_MOST_BYTES = 64 * 1024**2
_MOST_NOISE = 20  # lines that are not messages; a server may print a greeting before it listens
_TAIL = 500  # characters of what a server wrote before it failed


def shown(source: str) -> str:
    """A source as it may be written down: of a command the program alone, of an address no user and no query."""
    if source.startswith(MCP):
        return MCP + " ".join(Path(word).name for word in _command(source)[:1])
    if "://" in source:
        parts = urlsplit(source)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return source


def written(source: str) -> str:
    """A source as the domain's files name it: a file by its name alone, since a domain is passed around."""
    name = shown(source)
    return name if name.startswith(MCP) or "://" in name else Path(name).name


def _command(source: str) -> list[str]:
    text = source.removeprefix(MCP)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError("not a command", key="SOURCE", found=text, expected=f"mcp:COMMAND ({error})") from None
    if not words:
        raise InputError(
            "no command", key="SOURCE", found=source, expected="mcp:COMMAND, such as 'mcp:uvx mcp-server-git'"
        )
    return words


def read_command(source: str, seconds: float = _SECONDS) -> Api:
    """Start a server, ask it for its tools by stdio, and stop it.

    Args:
        source: ``mcp:COMMAND``.
        seconds: for the start and all answers together.

    Raises:
        InputError: it cannot be started, dies, does not answer in time, or answers something else.
    """
    require("door", "an MCP server")
    words = _command(source)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        return _ask(_stdio(words, errors), shown(source), errors, seconds)


def _stdio(words: list[str], errors: TextIO) -> Any:
    from mcp.client.stdio import StdioServerParameters, stdio_client

    # The user's own environment, as in a shell: servers find their keys in it.
    return stdio_client(StdioServerParameters(command=words[0], args=words[1:], env=dict(os.environ)), errlog=errors)


def read_address(source: str, seconds: float = _SECONDS) -> Api:
    """Read a document at an http address, or else the tools of an MCP server there.

    Raises:
        InputError: nothing there answers as one of them.
    """
    require("door", "an http address")
    with _no_proxy_to_this_machine(source):
        return _read_address(source, seconds)


def _read_address(source: str, seconds: float) -> Api:
    name = shown(source)
    text, failure = _download(source, seconds)
    if text is not None:
        try:
            document = parse_document(text, name)
        except InputError:
            document = None
        if is_openapi(document):
            return read_openapi(document, name)
        if isinstance(document, list | dict) and not _is_refusal(document):
            return read_list(document, name)
    return _ask(source, name, None, seconds, failure)


@contextlib.contextmanager
def _no_proxy_to_this_machine(source: str) -> Iterator[None]:
    """Reach a loopback address directly: clusters set ``http_proxy``, often without excepting it.

    Both urllib and the SDK's client follow ``no_proxy``.
    """
    host = urlsplit(source).hostname or ""
    before = os.environ.get("no_proxy")
    if _is_loopback(host):
        os.environ["no_proxy"] = ",".join(filter(None, [before or os.environ.get("NO_PROXY"), host]))
    try:
        yield
    finally:
        os.environ.pop("no_proxy", None)
        if before is not None:
            os.environ["no_proxy"] = before


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_refusal(document: Any) -> bool:
    """Whether JSON is an error message of a server that wants another kind of request."""
    return isinstance(document, dict) and ("error" in document or "detail" in document)


def _download(source: str, seconds: float) -> tuple[str | None, str]:
    """The text at an address, or None and what went wrong."""
    request = urllib.request.Request(source, headers={"Accept": "application/json, application/yaml, text/*;q=0.5"})
    # `urlopen` would keep the proxies of its first call for the whole process.
    opener = urllib.request.build_opener()
    try:
        with opener.open(request, timeout=seconds) as answer:
            if answer.headers.get_content_type() == "text/event-stream":
                return None, "a stream of events"
            raw = answer.read(_MOST_BYTES + 1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        return None, str(getattr(error, "reason", error))
    if len(raw) > _MOST_BYTES:
        raise InputError("too large a document", file=shown(source), found=f"more than {_MOST_BYTES:,} bytes")
    try:
        return raw.decode("utf-8-sig"), "a page that does not describe an API"
    except UnicodeDecodeError:
        return None, "bytes that are not text"


def _ask(server: Any, name: str, errors: TextIO | None, seconds: float, failure: str = "") -> Api:
    """Ask a server for its tools.

    Args:
        server: what ``mcp.Client`` takes.
        errors: what it writes to stderr.
        failure: why an ordinary request failed, for the message.
    """
    try:
        title, tools = asyncio.run(_listed(server, seconds))
    except TimeoutError:
        raise _refused("the server does not answer", name, errors, f"nothing within {seconds:g} seconds") from None
    except (Exception, asyncio.CancelledError) as error:
        found = _said(error)
        raise _refused("this is not an MCP server", name, errors, f"{failure}; {found}" if failure else found) from None
    if not tools:
        raise InputError(
            "the server has no tools", file=name, found="an empty tools/list", expected="at least one tool"
        )
    api = read_list(tools, name)
    api.title = title
    api.form = "a running MCP server"
    return api


async def _listed(server: Any, seconds: float) -> tuple[str, list[dict[str, Any]]]:
    from mcp import Client

    # The SDK logs every line that it cannot read.
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    asking, noise = asyncio.current_task(), []

    async def heard(message: Any) -> None:
        if isinstance(message, Exception):
            noise.append(message)
            if len(noise) == _MOST_NOISE and asking is not None:
                asking.cancel("it sends lines that are not MCP messages")

    async with (
        asyncio.timeout(seconds),
        Client(server, read_timeout_seconds=seconds, message_handler=heard) as client,
    ):
        tools: list[dict[str, Any]] = []
        cursor = None
        for _ in range(_MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            tools += [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                break
        info = getattr(client, "server_info", None)
        return str(getattr(info, "title", None) or getattr(info, "name", None) or ""), tools


def _said(error: BaseException) -> str:
    """What an error says; of a group its first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _refused(message: str, name: str, errors: TextIO | None, found: str) -> InputError:
    if errors is not None:
        errors.seek(0)
        tail = " ".join(errors.read()[-_TAIL:].split())
        found = f"{found}; it wrote: {tail}" if tail else found
    return InputError(message, file=name, found=found, expected=f"an MCP server, or {EXPECTED}")
