"""A network in memory, with what happens to real ones: latency, bytes cut anywhere, resets, lost paths, full windows.

One direction of a connection is a queue of pieces, delivered in order. What a killed process had handed to its kernel still arrives;
what a machine without power had does not.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from virtual_loop import Process, VirtualLoop, here

USER_TIMEOUT_S: Final = 30.0
"""How long a kernel tries to get octets through (TCP_USER_TIMEOUT as the pump sets it)."""

_FIN: Final = b""


@dataclass(frozen=True)
class Weather:
    """What the network does to connections; shares are of connections, `until_s` ends all but latency and cutting."""

    latency_ms: tuple[float, float] = (0.2, 5.0)
    jitter_ms: float = 0.0
    cut_share: float = 0.3
    """Of the writes, cut into pieces at any octet."""
    window_octets: int = 65_536
    refuse_share: float = 0.0
    unanswered_share: float = 0.0
    """Of the connection attempts, never answered."""
    reset_share: float = 0.0
    lost_share: float = 0.0
    """Of the connections, whose path is lost without a word."""
    strike_s: tuple[float, float] = (0.5, 20.0)
    """When in the life of a connection it is reset, or its path lost."""
    until_s: float = 0.0


class FakeSocket:
    """What the pumps ask of a socket."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.lingers = True

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        if isinstance(value, bytes):
            self.lingers = False

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self.port


class Listener:
    """One listening address."""

    def __init__(self, network: Network, factory: Callable[[], asyncio.BaseProtocol], port: int) -> None:
        self.network = network
        self.factory = factory
        self.context = contextvars.copy_context()
        self.process = here()
        self.sockets: Sequence[FakeSocket] = (FakeSocket(port),)

    def close(self) -> None:
        self.network.listeners.pop(self.sockets[0].port, None)

    async def wait_closed(self) -> None:
        pass


class Network:
    """All connections of one simulation. `rng` makes every choice; `on_write` is told of each write: its side and the octets,
    `on_connect` of each connection that somebody made."""

    def __init__(self, loop: VirtualLoop, weather: Weather, rng: random.Random) -> None:
        self.loop = loop
        self.weather = weather
        self.rng = rng
        self.listeners: dict[int, Listener] = {}
        self.sides: list[Side] = []
        self.made = 0
        self.dead: set[int] = set()
        """Ports at which nobody answers."""
        self.hits: dict[str, int] = {}
        self.on_write: Callable[[Side, bytes], None] = lambda _side, _data: None
        self.on_connect: Callable[[Side], None] = lambda _side: None
        self.on_end: Callable[[Side], None] = lambda _side: None
        self._next_port = 20_000

    def hit(self, what: str) -> None:
        self.hits[what] = self.hits.get(what, 0) + 1

    @property
    def stormy(self) -> bool:
        return self.loop.time() < self.weather.until_s

    def listen(self, factory: Callable[[], asyncio.BaseProtocol], port: int) -> Listener:
        if not port:
            self._next_port += 1
            port = self._next_port
        self.listeners[port] = Listener(self, factory, port)
        return self.listeners[port]

    async def connect(self, factory: Callable[[], asyncio.BaseProtocol], port: int) -> tuple[Side, asyncio.BaseProtocol]:
        """Connect as asyncio's create_connection does. Raises `ConnectionRefusedError`."""
        rng, weather = self.rng, self.weather
        latency_s = rng.uniform(*weather.latency_ms) / 1000
        if self.stormy and rng.random() < weather.unanswered_share:
            self.hit("unanswered")
            await asyncio.Event().wait()
        await asyncio.sleep(latency_s)
        listener = self.listeners.get(port)
        dead = port in self.dead or listener is None or (listener.process is not None and not listener.process.alive)
        if port in self.dead:
            self.hit("host dead")
        if listener is None or dead or (self.stormy and rng.random() < weather.refuse_share):
            self.hit("refused")
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        ours = Side(self, contextvars.copy_context(), here(), port, latency_s)
        theirs = Side(self, listener.context, listener.process, port, latency_s)
        ours.peer, theirs.peer = theirs, ours
        ours.outgoing = True
        self.sides = [side for side in self.sides if not side.gone] + [ours, theirs]
        theirs.call_later(latency_s / 2, theirs.open, listener.factory)
        if self.stormy and rng.random() < weather.reset_share + weather.lost_share:
            kind = (
                ours.reset_path if rng.random() * (weather.reset_share + weather.lost_share) < weather.reset_share else ours.lose_path
            )
            self.loop.call_later(rng.uniform(*weather.strike_s), kind)
        ours.open(factory)
        self.on_connect(ours)
        return ours, ours.get_protocol()

    def fail(self, port: int) -> None:
        """Let the host at this port answer nobody any more."""
        self.dead.add(port)
        for side in self.sides:
            if side.outgoing and side.port == port:
                side.reset_path()

    def died(self, process: Process, *, power: bool) -> None:
        """Let the other ends learn what a process's death tells them: what the kernel still sends, or nothing."""
        for side in self.sides:
            if side.process is process and not side.gone:
                side.orphan(power=power)


class Side(asyncio.Transport):
    """One end of one connection."""

    peer: Side

    def __init__(self, network: Network, context: contextvars.Context, process: Process | None, port: int, latency_s: float) -> None:
        super().__init__({"socket": FakeSocket(port)})
        self.network = network
        network.made += 1
        self.number = network.made
        self.port = port
        self.context = context
        self.process = process
        self.latency_s = latency_s
        self.outgoing = False
        self.gone = False
        """Closed, or of a dead process."""
        self.dark = False
        """Its path is lost: what it sends arrives nowhere."""
        self._protocol: Any = None
        self._closing = False
        self._reading = True
        self._buffer = bytearray()
        self._paused = False
        self._high = 65_536
        self._in_flight = 0
        self._received: deque[bytes] = deque()
        self._last_due = 0.0
        self._timeout: asyncio.TimerHandle | None = None

    def call_later(self, delay_s: float, function: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        return self.network.loop.call_later(delay_s, function, *args, context=self.context)

    def open(self, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        if self.gone:
            return
        self._protocol = factory()
        self._protocol.connection_made(self)
        self._hand_over()

    # -- what the protocol asks of its transport

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing or self.gone

    def is_reading(self) -> bool:
        return self._reading and not self.is_closing()

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self.call_later(0, self._hand_over)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or 65_536

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_closing():
            return
        if self.process is not None:
            self.process.point("before write")
        self.network.on_write(self, bytes(data))
        self._buffer += data
        self._send()
        if self.process is not None:
            self.process.point("after write")
        if len(self._buffer) > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def close(self) -> None:
        if not self.is_closing():
            self._closing = True
            self._send()

    def abort(self) -> None:
        if self.gone:
            return
        self._buffer.clear()
        if self.get_extra_info("socket").lingers and not self._received:
            self._deliver(_FIN)
        else:
            self._reset_peer()
        self._end(None)

    # -- the way to the other end

    def _send(self) -> None:
        """Hand as much to the wire as the peer's window takes."""
        network, rng = self.network, self.network.rng
        while self._buffer and (room := network.weather.window_octets - self._in_flight) > 0:
            size = min(len(self._buffer), room)
            if size > 1 and rng.random() < network.weather.cut_share:
                size = rng.randrange(1, size)
            piece = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._in_flight += size
            self._deliver(piece)
        if self._closing and not self._buffer and not self.gone:
            self._deliver(_FIN)
            self._end(None)
        elif self._paused and len(self._buffer) <= self._high // 4:
            self._paused = False
            self.call_later(0, self._protocol.resume_writing)

    def _deliver(self, piece: bytes) -> None:
        loop, weather = self.network.loop, self.network.weather
        if self.dark:
            if self._timeout is None and not self.gone:
                self._timeout = self.call_later(USER_TIMEOUT_S, self._lost, TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
            return
        delay_s = self.latency_s + self.network.rng.random() * weather.jitter_ms / 1000
        # Never the same instant twice: timers of one instant go off in any order.
        self._last_due = max(self._last_due + 1e-6, loop.time() + delay_s)
        loop.call_at(self._last_due, self.peer._arrive, piece, context=self.peer.context)
        if self.peer.process is not None and not self.peer.process.alive:
            # Nobody's socket: the kernel there answers with a reset.
            loop.call_at(self._last_due + self.latency_s, self._reset_arrives, context=self.context)

    def _arrive(self, piece: bytes) -> None:
        if self.dark:
            return
        if self.gone:
            if piece:
                self._reset_peer()
            return
        self._received.append(piece)
        self._hand_over()

    def _hand_over(self) -> None:
        """Give the protocol what has arrived, while it reads."""
        while self._received and self.is_reading() and self._protocol is not None:
            piece = self._received.popleft()
            if piece == _FIN:
                self._received.clear()
                self._closing = True
                self._send()
                return
            self.peer.acknowledged(len(piece))
            try:
                self._protocol.data_received(piece)
            except Exception as error:  # noqa: BLE001  as asyncio does: the connection is given up
                self.network.loop.call_exception_handler({"message": "protocol.data_received() failed", "exception": error})
                self._end(error)

    def acknowledged(self, octets: int) -> None:
        """Learn that the peer has read so much."""
        self._in_flight -= octets
        if self._buffer and not self.gone:
            self.call_later(self.latency_s, self._send)

    # -- ends

    def _reset_peer(self) -> None:
        loop = self.network.loop
        if not self.dark:
            due = max(self._last_due, loop.time() + self.latency_s)
            loop.call_at(due, self.peer._reset_arrives, context=self.peer.context)

    def _reset_arrives(self) -> None:
        if not self.dark:
            self._lost(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    def _lost(self, error: OSError) -> None:
        if not self.gone:
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        self.gone = True
        self.network.on_end(self)
        self._received.clear()
        if self._timeout is not None:
            self._timeout.cancel()
        if self._protocol is not None:
            self.call_later(0, self._protocol.connection_lost, error)

    def orphan(self, *, power: bool) -> None:
        """Lose the process: its kernel says goodbye, unless the power has gone with it."""
        self.gone = True
        if power:
            self.dark = self.peer.dark = True
            self.network.hit("power")
        elif self._received:
            self._reset_peer()
        else:
            self._deliver(_FIN)

    def reset_path(self) -> None:
        """Let something on the way reset the connection at both ends."""
        if not self.gone:
            self.network.hit("reset")
            for side in (self, self.peer):
                side.call_later(0, side._reset_arrives)

    def lose_path(self) -> None:
        """Let the path vanish: octets go nowhere, and nobody is told."""
        if not self.gone:
            self.network.hit("lost")
            self.dark = self.peer.dark = True
