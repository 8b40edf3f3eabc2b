"""TLS towards instances."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from micro.errors import ConfigurationError

if TYPE_CHECKING:
    from micro.spec.upstream import TlsSpec


def client_context(spec: TlsSpec) -> ssl.SSLContext:
    """What connections to `https:` instances trust and show: the system's authorities and no certificate, or `spec`'s.

    Certificates and names are always checked. Raises `ConfigurationError` for a file that can't be used.
    """
    try:
        context = ssl.create_default_context(cafile=spec.ca)
        if spec.certificate is not None:
            context.load_cert_chain(spec.certificate)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"certificates can't be read: {error}", key="upstream.tls") from error
    context.set_alpn_protocols(["http/1.1"])
    return context
