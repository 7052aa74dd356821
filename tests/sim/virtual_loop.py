"""An event loop on a clock of its own: nothing waits, time jumps to whatever is due next, and processes on it can be killed.

Everything that runs belongs to a `Process`, found in the context it was started in. A dead process runs nothing any more: what it
had scheduled is passed over, as if the power had gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import datetime as dt
import math
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, TypeVar
from unittest import mock

T = TypeVar("T")

TURN_NS: Final = 5_000
"""What one turn of the loop takes: no two turns happen at the same instant, and a busy loop shows as time that passes."""
MOST_TURNS: Final = 3_000_000
EXECUTOR_S: Final = 0.002
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Crash(BaseException):
    """The process that runs dies here. No code of the program may catch it."""


class NeverQuietError(Exception):
    """Nothing will ever happen again, or it never ends."""


class Process:
    """What dies together: the tasks, timers, connections and store of one program."""

    def __init__(self, name: str, *, our_machine: bool = True) -> None:
        self.name = name
        self.our_machine = our_machine
        """Whether it reads the clock that may be set wrong."""
        self.alive = True
        self.stopped: list[asyncio.Handle] | None = None
        """What it would have run since it was stopped; None while it runs."""
        self.stopped_until_s = 0.0
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self.signals: dict[int, Callable[[], object]] = {}
        self.on_point: Callable[[str], bool] = lambda _kind: False
        """Told of each point at which a crash matters; True when the process dies there."""
        self.on_death: list[Callable[[], None]] = []

    def point(self, kind: str) -> None:
        """Pass a point at which a crash matters. Raises `Crash` when the process dies there, or is dead already."""
        if self.alive and self.on_point(kind):
            self.die()
        if not self.alive:
            raise Crash(kind)

    def die(self) -> None:
        """Stop at once: nothing of it runs any more."""
        if self.alive:
            self.alive = False
            for told in self.on_death:
                told()

    def stop(self, until_s: float) -> None:
        """Run nothing until somebody lets it go on, at `until_s`."""
        self.stopped = []
        self.stopped_until_s = until_s

    def go_on(self, loop: VirtualLoop) -> None:
        """Run again after it was stopped: first what was due meanwhile, in its order, but for what is cancelled by then."""
        held, self.stopped = self.stopped or [], None
        loop._ready.extend(handle for handle in held if not handle.cancelled())

    def bury(self) -> None:
        """Drop what the dead process held, so that nothing of it speaks up when it is collected."""
        for task in list(self.tasks):
            if not task.done():
                task._log_destroy_pending = False
                with contextlib.suppress(BaseException):
                    task.get_coro().close()
            else:
                with contextlib.suppress(BaseException):
                    task.exception()


_OWNER: contextvars.ContextVar[Process | None] = contextvars.ContextVar("_OWNER", default=None)


def here() -> Process | None:
    """Return the process that runs now."""
    return _OWNER.get()


class _Jump:
    """Stands in for the selector: instead of waiting it moves the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.turn(timeout)
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """`wall` is the instant at which the clock begins; `wall_skew_ns` sets our machine's wrong by so much.

    Only with `may_stop` can processes be stopped and go on: what runs must then be found again.
    """

    def __init__(self, wall: dt.datetime, *, may_stop: bool = False) -> None:
        super().__init__()
        self._may_stop = may_stop
        self._selector = _Jump(self)
        self._clock_resolution = 2e-9
        self.now_ns = 1_000_000_000
        self.wall_skew_ns = 0
        self._wall_start_ns = (wall - _EPOCH) // dt.timedelta(microseconds=1) * 1000 - self.now_ns
        self._turns = 0
        self.network: Any = None
        self.faults: list[str] = []
        """What no callback caught."""

    # -- time

    def time(self) -> float:
        return self.now_ns / 1e9

    def true_ns(self) -> int:
        return self._wall_start_ns + self.now_ns

    def wall_ns(self) -> int:
        owner = _OWNER.get()
        return self.true_ns() + (self.wall_skew_ns if owner is None or owner.our_machine else 0)

    def wall(self) -> dt.datetime:
        return _EPOCH + dt.timedelta(microseconds=self.wall_ns() // 1000)

    def turn(self, timeout: float | None) -> None:
        """Let one turn of the loop pass, and the time until the next timer. Raises `NeverQuietError`."""
        self._turns += 1
        if self._turns > MOST_TURNS:
            raise NeverQuietError(f"still busy after {MOST_TURNS} turns, {self.time():.0f} s")
        if timeout is None:
            raise NeverQuietError(f"everything waits and nothing is due at {self.time():.3f} s")
        self.now_ns += TURN_NS + max(0, math.ceil(timeout * 1e9))

    # -- who runs

    def start(self, process: Process, function: Callable[..., T], *args: Any) -> T:
        """Call a function as `process`."""
        return self.context_of(process).run(function, *args)

    @staticmethod
    def context_of(process: Process | None) -> contextvars.Context:
        context = contextvars.copy_context()
        context.run(_OWNER.set, process)
        return context

    def call_soon(self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None) -> asyncio.Handle:
        owner = _OWNER.get() if context is None else context.get(_OWNER)
        found: list[asyncio.Handle] = []
        handle = super().call_soon(self.run_for, owner, callback, args, found, context=context)
        if self._may_stop:
            found.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        owner = _OWNER.get() if context is None else context.get(_OWNER)
        found: list[asyncio.Handle] = []
        handle = super().call_at(when, self.run_for, owner, callback, args, found, context=context)
        if self._may_stop:
            found.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_for(
        self, owner: Process | None, callback: Callable[..., object], args: tuple[Any, ...], found: list[asyncio.Handle]
    ) -> None:
        """Run one callback of a process, if it still lives; of a stopped one, once it goes on."""
        if owner is not None:
            if not owner.alive:
                return
            if owner.stopped is not None:
                owner.stopped += found
                return
        with contextlib.suppress(Crash):
            callback(*args)

    def create_task(self, coro: Any, **more: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = super().create_task(coro, **more)
        if (owner := _OWNER.get()) is not None:
            owner.tasks.add(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody caught: it is a fault of the program."""
        error = context.get("exception")
        owner = _OWNER.get()
        if isinstance(error, Crash) or (owner is not None and not owner.alive):
            return
        self.faults.append(f"{owner.name if owner else '-'}: {context.get('message')}: {error!r}")

    def run_in_executor(self, _executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Call a function in the middle of what would be its time on another thread."""
        future: asyncio.Future[T] = self.create_future()

        def run() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001  handed to whoever waits
                self.call_later(EXECUTOR_S / 2, _settle, future, None, error)
            else:
                self.call_later(EXECUTOR_S / 2, _settle, future, result, None)

        self.call_later(EXECUTOR_S / 2, run)
        return future

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        if (owner := _OWNER.get()) is not None:
            owner.signals[sig] = partial(callback, *args)

    def remove_signal_handler(self, sig: int) -> bool:
        owner = _OWNER.get()
        return owner is not None and owner.signals.pop(sig, None) is not None

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
        return await self.network.connect(protocol_factory, port)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
        return self.network.listen(protocol_factory, port or 0)

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


class VirtualClock:
    """The service's clock, read from the loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> dt.datetime:
        return self._loop.wall()

    def monotonic(self) -> float:
        return self._loop.time()

    def monotonic_ns(self) -> int:
        return self._loop.now_ns


@contextlib.contextmanager
def virtual_time(loop: VirtualLoop) -> Iterator[None]:
    """Let the `time` module tell the loop's time, for what is not handed a clock: the audit log, the carriers' ledgers."""
    told: dict[str, Callable[..., object]] = {
        "time": lambda: loop.wall_ns() / 1e9,
        "time_ns": loop.wall_ns,
        "monotonic": loop.time,
        "monotonic_ns": lambda: loop.now_ns,
        "clock_gettime": lambda clock: loop.wall_ns() / 1e9 if clock == time.CLOCK_REALTIME else loop.time(),
        "clock_gettime_ns": lambda clock: loop.wall_ns() if clock == time.CLOCK_REALTIME else loop.now_ns,
    }
    with contextlib.ExitStack() as stack:
        for name, function in told.items():
            stack.enter_context(mock.patch.object(time, name, function))
        yield
