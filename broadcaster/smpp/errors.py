"""What may go wrong in this package; nothing else is ever raised on bytes from the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class SmppError(Exception):
    """Stand for every error of this package."""


class LocalProtocolError(SmppError):
    """We asked for something that is illegal in this state, or gave a field that does not fit its place on the wire."""


class FieldError(SmppError):
    """A PDU body that cannot be parsed although its frame is sound."""


class RemoteProtocolError(SmppError):
    """The peer broke the stream or the rules: flush `Session.outgoing()`, then close the connection.

    `before` holds what was understood ahead of the break in the same bytes (events from `Session.receive`, frames from
    `Framer.feed`), so that no answer is lost with it.
    """

    def __init__(self, reason: str, before: Sequence[Any] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.before = list(before)
