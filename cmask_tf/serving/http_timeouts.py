"""HTTP connections that send a request's head too slowly are closed; bodies have the request's time limit."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
LINGER_SECONDS = 2.0


class TimedProtocol(H11Protocol):
    """uvicorn's protocol with a time limit from the first moment of a request's head to its end."""

    head_seconds = HEAD_SECONDS
    linger_seconds = LINGER_SECONDS
    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            # Part of a head is there, and more bytes of it do not buy more time.
            self._expect_head()
        else:
            self._stop()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            # Answered before the body came: the client may finish and read the answer, not trickle on.
            self.loop.call_later(self.linger_seconds, self._close_unread)

    def _close_unread(self) -> None:
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _stop(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None
