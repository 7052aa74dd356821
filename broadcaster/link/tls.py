"""TLS towards a carrier: which certificates are trusted, and why a connection was refused, in words (docs/delivery.md F42)."""

from __future__ import annotations

import ssl
from typing import Final

from broadcaster.lang import Said
from broadcaster.model import CarrierCard

_HAS_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_SELF_SIGNED: Final = frozenset({18, 19})
_UNKNOWN_ISSUER: Final = frozenset({2, 20, 21})
_WRONG_NAME: Final = frozenset({62, 64})
_VERSION_REASONS: Final = frozenset(
    {"TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION", "NO_PROTOCOLS_AVAILABLE"}
)
_HANDSHAKE_FAILED: Final = "SSLV3_ALERT_HANDSHAKE_FAILURE"
"""In the middle of a connection it is the answer to our refusal of another handshake."""
_CLEAR_REASONS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"})


def client_context(card: CarrierCard) -> ssl.SSLContext | None:
    """Return the context for this card (TLS 1.2 or newer, host name checked, only the card's CA if it has one), None without TLS.

    A server that wants another handshake in the middle is refused.

    Raises OSError (of which ssl.SSLError is one) when the CA file cannot be used.
    """
    if not card.tls:
        return None
    context = ssl.create_default_context(cafile=card.tls_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def why_refused(error: ssl.SSLError, host: str) -> Said:
    """Say why no TLS came about with `host`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _why_not_trusted(error)
        return Said(
            vi=f"chứng chỉ TLS của {host} không được chấp nhận: {why.vi}",
            en=f"the TLS certificate of {host} is not accepted: {why.en}",
        )
    why = Said(vi=str(error.reason), en=str(error.reason))
    if error.reason in _VERSION_REASONS:
        why = Said(vi="máy chủ không hỗ trợ TLS 1.2 trở lên", en="the server does not speak TLS 1.2 or newer")
    elif error.reason in _CLEAR_REASONS:
        why = Said(vi="máy chủ trả lời không phải bằng TLS", en="what the server answers is not TLS")
    return Said(vi=f"không lập được TLS với {host}: {why.vi}", en=f"no TLS with {host}: {why.en}")


def why_lost(error: ssl.SSLError) -> Said:
    """Say why a TLS connection that was in use ended."""
    if error.reason == _HANDSHAKE_FAILED:
        return Said(vi="máy chủ đòi thương lượng lại TLS, bị từ chối", en="the server asked for a TLS renegotiation and was refused")
    return Said(vi=f"lỗi TLS: {error.reason}", en=f"TLS error: {error.reason}")


def _why_not_trusted(error: ssl.SSLCertVerificationError) -> Said:
    code = error.verify_code
    if code == _HAS_EXPIRED:
        return Said(vi="đã hết hạn", en="it has expired")
    if code == _NOT_YET_VALID:
        return Said(vi="chưa đến ngày hiệu lực", en="it is not valid yet")
    if code in _SELF_SIGNED:
        return Said(vi="tự ký, hoặc do CA không được tin cậy", en="it is self-signed, or of a CA that is not trusted")
    if code in _UNKNOWN_ISSUER:
        return Said(vi="do một CA không được tin cậy cấp", en="it was issued by a CA that is not trusted")
    if code in _WRONG_NAME:
        return Said(vi="cấp cho máy chủ khác", en="it is for another host")
    return Said(vi=error.verify_message, en=error.verify_message)
