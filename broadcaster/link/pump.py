"""Move bytes between one TCP connection and one `Session` of either role: the only place that meets asyncio's transports."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from broadcaster.lang import Said
from broadcaster.link.tls import why_lost
from broadcaster.smpp import Body, Event, LinkDead, RemoteProtocolError, Session, SessionState

WRITE_BUFFER_OCTETS: Final = 256 * 1024
CLOSE_TIMEOUT_S: Final = 1.0
USER_TIMEOUT_MS: Final = 30_000


class Pump(asyncio.Protocol):
    """Carry one session over one connection, from its opening to its end.

    `on_events` gets what each read or timer brought; `on_end` comes exactly once, with the contexts of all unanswered requests and
    the reason. Both run on the loop's thread.
    """

    def __init__(
        self,
        session: Session,
        clock: Callable[[], float],
        on_events: Callable[[Pump, list[Event]], None],
        on_end: Callable[[Pump, list[Any], Said], None],
        on_open: Callable[[Pump], None] = lambda _pump: None,
    ) -> None:
        self.session = session
        self.writable = True
        """False while the peer takes our bytes more slowly than we write them."""
        self.open = False
        """True from the connection's opening until either side ends it."""
        self._clock = clock
        self._on_events = on_events
        self._on_end = on_end
        self._on_open = on_open
        self._transport: asyncio.Transport | None = None
        self._reason: Said | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin (called by asyncio)."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream connection has no other kind
        self._transport = transport
        self.open = True
        transport.set_write_buffer_limits(high=WRITE_BUFFER_OCTETS)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        self.session.tick(self._clock())
        self._on_open(self)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the wire (called by asyncio)."""
        broken: Said | None = None
        try:
            events = self.session.receive(data, self._clock())
        except RemoteProtocolError as error:
            events = error.before
            broken = Said(vi=f"đầu bên kia sai giao thức: {error.reason}", en=f"the peer broke the protocol: {error.reason}")
        self._pass_on(events, broken)

    def connection_lost(self, exc: Exception | None) -> None:
        """End (called by asyncio)."""
        self.open = False
        for handle in (self._timer, self._closing):
            if handle is not None:
                handle.cancel()
        reason = self._reason
        if reason is None:
            reason = Said(vi="đầu bên kia ngắt kết nối", en="the peer closed the connection")
            if isinstance(exc, ssl.SSLError):
                reason = why_lost(exc)
            elif isinstance(exc, OSError):
                reason = Said(vi=f"mất kết nối: {exc.strerror}", en=f"connection lost: {exc.strerror}")
            elif exc is not None:
                reason = Said(vi=f"lỗi bên trong: {type(exc).__name__}", en=f"internal error: {type(exc).__name__}")
        self._on_end(self, self.session.close(), reason)

    def pause_writing(self) -> None:
        """Note that the write buffer is full (called by asyncio)."""
        self.writable = False

    def resume_writing(self) -> None:
        """Note that the write buffer has room again (called by asyncio)."""
        self.writable = True

    def flush(self) -> None:
        """Write what the session holds, in one piece."""
        if self._transport is None or not self.open:
            return
        data = self.session.outgoing()
        if data:
            self._put(data)
        self._arm()

    def write(self, data: bytes) -> None:
        """Write bytes that the session did not make, behind those it did: for a peer that breaks the rules on purpose."""
        self.flush()
        if self.open:
            self._put(data)

    def respond(self, sequence: int, body: Body, status: int = 0) -> None:
        """Answer a request of the peer; once the session has ended there is nobody to answer, and nothing is done."""
        if self.open and self.session.state is not SessionState.CLOSED:
            self.session.respond(sequence, body, status)

    def acknowledge(self, sequences: list[int], status: int = 0) -> None:
        """Answer deliver_sm of the peer, many at once; once the session has ended there is nobody to answer, and nothing is done."""
        if self.open and self.session.state is not SessionState.CLOSED:
            self.session.acknowledge(sequences, status)

    def close(self, reason: Said) -> None:
        """Write what is left, then close; a peer that does not read is cut off after a second."""
        if self._transport is None or not self.open:
            return
        self._reason = self._reason or reason
        self.flush()
        self.open = False
        self._closing = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, self._transport.abort)
        self._transport.close()

    def abort(self, reason: Said) -> None:
        """Cut the connection off at once; what was not written yet is lost."""
        self._reason = self._reason or reason
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def _put(self, data: bytes) -> None:
        """Hand bytes to the transport; whoever spoils them on the way overrides this."""
        assert self._transport is not None  # noqa: S101 - an open pump has one
        self._transport.write(data)

    def _pass_on(self, events: list[Event], broken: Said | None = None) -> None:
        if events:
            self._on_events(self, events)
            last = events[-1]
            if isinstance(last, LinkDead):
                broken = Said(vi=f"đầu bên kia im lặng: {last.reason}", en=f"the peer is silent: {last.reason}")
        if broken is not None or self.session.state is SessionState.CLOSED:
            self.close(broken or Said(vi="phiên đã kết thúc", en="the session has ended"))
        else:
            self.flush()

    def _arm(self) -> None:
        """Keep one timer at or before the session's next deadline; it is moved only to be earlier, as deadlines mostly move away."""
        due = self.session.next_deadline()
        if due is None or not self.open:
            return
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._clock()), self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._clock()
        due = self.session.next_deadline()
        if due is not None and due <= now:
            self._pass_on(self.session.tick(now))
        else:
            self._arm()
