"""A request of ours, enquire_link or cancel_sm say, whose answer somebody awaits."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

Question: TypeAlias = asyncio.Future[int | None]
"""The context under which such a request waits in a session: its answer's command status, None when none comes."""


def answered(context: object, status: int | None) -> bool:
    """Tell whoever waits; False when the context is not such a request's."""
    if not isinstance(context, asyncio.Future):
        return False
    if not context.done():
        context.set_result(status)
    return True
