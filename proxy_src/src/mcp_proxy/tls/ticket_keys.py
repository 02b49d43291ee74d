"""One key for the TLS session tickets of all workers, so that each resumes what another began.

A client that returns presents a ticket: its session, encrypted with a key that only the server
has (RFC 5077, RFC 8446 §4.6.1). OpenSSL makes such a key for each context, so with several workers
most tickets would be shown to one that cannot read them, and cost a full handshake.

:mod:`ssl` has no way to set the key; OpenSSL has ``SSL_CTX_set_tlsext_ticket_keys(3)``, a macro for
a plain call of ``SSL_CTX_ctrl`` (see :mod:`openssl`). There is one key, without the previous one:
that would need OpenSSL to call back, and so memory that is both writable and executable. A ticket
made with an earlier key is not an error; it leads to a full handshake.

A new certificate comes with a new key: a client that resumes does not see the certificate, and
would go on with the one that was replaced.
"""

from __future__ import annotations

import ctypes
import os
import ssl

from . import openssl

KEY_BYTES = 80
"""A name of 16 bytes, 32 for HMAC, 32 for AES: the same in OpenSSL 1.1.1 and 3."""

ROTATION_SECONDS = 12 * 3600.0
"""How long one key is in use: anyone who gets hold of it can read the tickets made with it."""

_GET, _SET = 58, 59  # SSL_CTRL_GET_TLSEXT_TICKET_KEYS, SSL_CTRL_SET_TLSEXT_TICKET_KEYS


def new_key() -> bytes:
    """A key for :func:`use`."""
    return os.urandom(KEY_BYTES)


def use(context: ssl.SSLContext, key: bytes) -> bool:
    """Encrypt the tickets of new sessions of *context* with *key*, and accept only those.

    Returns whether that works here; if not, *context* goes on with a key of its own.
    """
    here = openssl.found(context)
    if here is None or here.control(_GET, 0, None) != KEY_BYTES:
        return False
    if here.control(_SET, KEY_BYTES, key) != 1:
        return False
    found = ctypes.create_string_buffer(KEY_BYTES)
    return here.control(_GET, KEY_BYTES, found) == 1 and found.raw == key
