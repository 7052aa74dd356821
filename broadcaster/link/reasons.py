"""Why no connection to a carrier came about, in words."""

from __future__ import annotations

import socket
import ssl

from broadcaster.lang import Said
from broadcaster.link.tls import why_refused
from broadcaster.model import CarrierCard


def why_unreachable(error: OSError, card: CarrierCard) -> Said:
    """Say why the carrier of `card` could not be reached."""
    host = card.endpoint.host
    if isinstance(error, socket.gaierror):
        return Said(vi=f"không tìm thấy máy chủ {host} (DNS)", en=f"host {host} is not found (DNS)")
    if isinstance(error, ssl.SSLError):
        return why_refused(error, host)
    if card.tls and isinstance(error, ConnectionResetError | ConnectionAbortedError):
        return Said(
            vi=f"{card.endpoint} ngắt kết nối trong khi lập TLS; có thể máy chủ không hỗ trợ TLS 1.2 trở lên",
            en=f"{card.endpoint} broke off during the TLS handshake; perhaps it does not speak TLS 1.2 or newer",
        )
    if isinstance(error, ConnectionRefusedError):
        return Said(vi=f"{card.endpoint} từ chối kết nối", en=f"{card.endpoint} refused the connection")
    detail = error.strerror or str(error) or type(error).__name__
    return Said(vi=f"không kết nối được {card.endpoint}: {detail}", en=f"cannot connect to {card.endpoint}: {detail}")


def why_no_authority(error: OSError, card: CarrierCard) -> Said:
    """Say why the card's CA file cannot be used."""
    detail = error.strerror or type(error).__name__
    return Said(vi=f"không dùng được tệp CA {card.tls_ca}: {detail}", en=f"the CA file {card.tls_ca} cannot be used: {detail}")
