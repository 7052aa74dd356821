"""Who may send what when (SMPP 3.4, table 2-1), as data; `Session` only looks things up here.

Responses are not in the tables: they are legal whenever their request waits. replace_sm and submit_multi are not spoken.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeAlias

from broadcaster.smpp.bodies import Command


class Role(Enum):
    """The two ends of a link."""

    ESME = "esme"
    SMSC = "smsc"


class SessionState(Enum):
    """Where a session stands, from the opened connection to its end."""

    OPEN = "open"
    BOUND_TX = "bound_tx"
    BOUND_RX = "bound_rx"
    BOUND_TRX = "bound_trx"
    UNBINDING = "unbinding"
    CLOSED = "closed"


Table: TypeAlias = Mapping[Role, Mapping[SessionState, frozenset[Command]]]

_BINDS: Final = frozenset({Command.BIND_TRANSMITTER, Command.BIND_RECEIVER, Command.BIND_TRANSCEIVER})
_LINK: Final = frozenset({Command.ENQUIRE_LINK, Command.UNBIND})
_TO_SMSC: Final = frozenset({Command.SUBMIT_SM, Command.DATA_SM, Command.QUERY_SM, Command.CANCEL_SM})
_TO_ESME: Final = frozenset({Command.DELIVER_SM, Command.DATA_SM, Command.ALERT_NOTIFICATION})
_NOTHING: Final[frozenset[Command]] = frozenset()

BOUND: Final = frozenset({SessionState.BOUND_TX, SessionState.BOUND_RX, SessionState.BOUND_TRX})

BOUND_BY: Final[Mapping[int, SessionState]] = {
    Command.BIND_TRANSMITTER: SessionState.BOUND_TX,
    Command.BIND_RECEIVER: SessionState.BOUND_RX,
    Command.BIND_TRANSCEIVER: SessionState.BOUND_TRX,
}
"""The state that each accepted bind leads to."""

SENDS: Final[Table] = {
    Role.ESME: {
        SessionState.OPEN: _BINDS,
        SessionState.BOUND_TX: _TO_SMSC | _LINK,
        SessionState.BOUND_RX: _LINK,
        SessionState.BOUND_TRX: _TO_SMSC | _LINK,
        SessionState.UNBINDING: _NOTHING,
        SessionState.CLOSED: _NOTHING,
    },
    Role.SMSC: {
        SessionState.OPEN: frozenset({Command.OUTBIND}),
        SessionState.BOUND_TX: _LINK,
        SessionState.BOUND_RX: _TO_ESME | _LINK,
        SessionState.BOUND_TRX: _TO_ESME | _LINK,
        SessionState.UNBINDING: _NOTHING,
        SessionState.CLOSED: _NOTHING,
    },
}
"""The requests that each role may send in each state."""

RECEIVES: Final[Table] = {
    Role.ESME: {
        # Some SMSCs send ahead of their bind_resp (F31).
        SessionState.OPEN: _TO_ESME | _LINK | {Command.OUTBIND},
        SessionState.BOUND_TX: _LINK,
        SessionState.BOUND_RX: _TO_ESME | _LINK,
        SessionState.BOUND_TRX: _TO_ESME | _LINK,
        # Until our unbind is answered the peer goes on as before (F36).
        SessionState.UNBINDING: _TO_ESME | _LINK,
        SessionState.CLOSED: _NOTHING,
    },
    Role.SMSC: {
        SessionState.OPEN: _BINDS | _LINK,
        SessionState.BOUND_TX: _TO_SMSC | _LINK,
        SessionState.BOUND_RX: _LINK,
        SessionState.BOUND_TRX: _TO_SMSC | _LINK,
        SessionState.UNBINDING: _TO_SMSC | _LINK,
        SessionState.CLOSED: _NOTHING,
    },
}
"""The requests that each role serves in each state."""

UNANSWERED: Final = frozenset({Command.ALERT_NOTIFICATION, Command.OUTBIND})
"""Requests that have no response."""

SPOKEN: Final[Mapping[Role, frozenset[Command]]] = {
    role: frozenset().union(*states.values()) | UNANSWERED for role, states in RECEIVES.items()
}
"""The requests that each role serves in some state."""
