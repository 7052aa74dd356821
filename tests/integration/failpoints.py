"""Run the program and kill it, as `kill -9` would, when it reaches a named point for the n-th time.

    python tests/integration/failpoints.py POINT NTH WORD...

A point is ``before:`` or ``after:`` and a name of `PLACES`; the words are the program's own. The product knows nothing of this: the
functions are wrapped from outside.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from broadcaster.__main__ import main

PLACES = {
    "epoch": "broadcaster.service.app:next_epoch",
    "recover": "broadcaster.store.messages:recover",
    "enlist-open": "broadcaster.flow.enlist:_open_lanes",
    "enlist-slice": "broadcaster.flow.enlist:_enlist",
    "enlist-mark": "broadcaster.flow.enlist:_mark_enlisted",
    "campaign": "broadcaster.service.local:change_campaign",
    "audit": "broadcaster.store.audit:Auditor.record",
    "note": "broadcaster.service.guard:write_mark",
    "links": "broadcaster.service.watch:put_links",
    "group": "broadcaster.store.writer:Writer._commit",
    "commit": "sqlalchemy.engine:Connection._commit_impl",
    "learned": "broadcaster.store.writer:_resolve",
    "gate": "broadcaster.flow.lease:Gate.take",
    "lease": "broadcaster.flow.send:Sender._take",
    "leased": "broadcaster.flow.send:Sender._accept",
    "write": "broadcaster.flow.send:Sender._write",
    "flush": "broadcaster.link.pump:Pump._put",
    "read": "broadcaster.link.pump:Pump.data_received",
    "answers": "broadcaster.flow.send:Sender.on_answer",
    "outcomes": "broadcaster.store.messages:record_outcomes",
    "deferred": "broadcaster.store.messages:defer",
    "closed": "broadcaster.store.messages:close_leases",
    "receipts": "broadcaster.store.receipts:record_receipts",
    "replies": "broadcaster.flow.refuse:record_replies",
    "refusals": "broadcaster.flow.refuse:record_refusals",
    "inbound": "broadcaster.flow.settle:Inbox.on_inbound",
    "acknowledge": "broadcaster.link.client:Client.acknowledge_all",
    "fold": "broadcaster.store.messages:fold_some",
}
"""Where the process may die: name → module and attribute, as its callers find it."""


def arm(point: str, nth: int) -> None:
    """Wrap the function at the point, to die before or after its n-th call."""
    when, name = point.split(":")
    module, _, path = PLACES[name].partition(":")
    *owners, attribute = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    setattr(owner, attribute, _deadly(getattr(owner, attribute), when, nth))


def _deadly(wrapped: Callable[..., Any], when: str, nth: int) -> Callable[..., Any]:
    calls = 0

    @functools.wraps(wrapped)
    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        last = calls == nth
        if last and when == "before":
            _die()
        result = wrapped(*args, **kwargs)
        if last:
            _die()
        return result

    return counted


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    sys.argv[1:3] = []
    main()
