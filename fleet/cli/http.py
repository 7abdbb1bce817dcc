"""The little of HTTP that a scrape needs: GET and HEAD of a few paths, each connection for one request.

Whoever connects can cost little: a limit of connections, one of bytes, and a clock on the whole of each.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

MAX_CONNECTIONS: Final = 32
"""Security limit: connections at a time; a further one is closed at once."""

MAX_HEAD: Final = 16 * 1024
"""Security limit: bytes of a request."""

REQUEST_TIMEOUT: Final = 10.0
"""Seconds that a whole request may take to come, so that nobody holds a connection by sending slowly."""

ANSWER_TIMEOUT: Final = 30.0
"""Seconds that an answer may take to be read."""

_REQUEST_WORDS: Final = 3


@dataclass(frozen=True, slots=True)
class Page:
    """What a path has.

    Attributes:
        body: the bytes.
        kind: their content type.
        status: of the answer.
    """

    body: bytes
    kind: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


Pages = Mapping[str, Callable[[], Awaitable[Page]]]


class Server:
    """Answers on a socket while its block lasts.

    Args:
        listener: bound already; closed in the end.
        pages: by path, what makes the page.
    """

    def __init__(self, listener: socket.socket, pages: Pages) -> None:
        self._listener = listener
        self._pages = pages
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, sock=self._listener, limit=MAX_HEAD)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request and its answer. Whatever the peer does, its connection is over at the end."""
        try:
            writer.transport.set_write_buffer_limits(high=0)  # so that `drain` waits until everything was taken
            with suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
                async with asyncio.timeout(REQUEST_TIMEOUT):
                    method, page = await self._read(reader)
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    writer.write(_answer(page, head=method == "HEAD"))
                    await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> tuple[str, Page]:
        """The method of a request, and the page that answers it.

        Raises:
            IncompleteReadError: the peer hung up before.
        """
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return "", _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != _REQUEST_WORDS or not words[2].startswith("HTTP/1."):
            return "", _refusal(HTTPStatus.BAD_REQUEST)
        method, path = words[0], words[1].partition("?")[0]
        if method not in ("GET", "HEAD"):
            return method, _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        page = self._pages.get(path)
        return method, _refusal(HTTPStatus.NOT_FOUND) if page is None else await page()


def _refusal(status: HTTPStatus) -> Page:
    return Page(f"{status.value} {status.phrase}\n".encode(), status=status)


def _answer(page: Page, *, head: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.kind}",
        f"Content-Length: {len(page.body)}",
        "Connection: close",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
    ]
    if page.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    if page.status is HTTPStatus.SERVICE_UNAVAILABLE:
        lines.append("Retry-After: 5")
    text = "\r\n".join(lines) + "\r\n\r\n"
    return text.encode("ascii") + (b"" if head else page.body)
