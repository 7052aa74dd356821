"""How a simulated carrier hands over what it owes its client."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from broadcaster.link.fate import Owed
from broadcaster.smpp import DeliverSm, DeliverTemplate, Session


def owed_of(contexts: list[Any]) -> list[Owed]:
    """Return what was owed among the contexts of unanswered requests."""
    return [context for context in contexts if isinstance(context, Owed)]


def send(session: Session, owed: Owed, now: float) -> None:
    """Send what is owed; the session has room for it."""
    body = owed.body
    if type(body) is not DeliverSm:
        session.request(body, owed, now)
        return
    source, destination = body.source.encode("latin-1"), body.destination.encode("latin-1")
    template = _template(body.source_ton, body.source_npi, body.dest_ton, body.dest_npi, body.esm_class, body.data_coding)
    session.deliver(template, source, destination, body.short_message, owed, now, body.tlvs)


@lru_cache(maxsize=64)
def _template(source_ton: int, source_npi: int, dest_ton: int, dest_npi: int, esm_class: int, data_coding: int) -> DeliverTemplate:
    return DeliverTemplate(DeliverSm("", "", b"", source_ton, source_npi, dest_ton, dest_npi, esm_class, data_coding=data_coding))
