"""One key for the TLS session tickets of all workers, so that each resumes what another began.

A client that returns presents a ticket: its session, encrypted with a key that only the server
has (RFC 5077, RFC 8446 §4.6.1). OpenSSL makes such a key for each context, so with several workers
most tickets would be shown to one that cannot read them, and cost a full handshake.

:mod:`ssl` has no way to set the key; OpenSSL has ``SSL_CTX_set_tlsext_ticket_keys(3)``, a macro for
a plain call of ``SSL_CTX_ctrl``, which :mod:`ctypes` can make: no callback, so no memory that is
both writable and executable. For the same reason there is one key, without the previous one:
that would need OpenSSL to call back. A ticket made with an earlier key is not an error; it leads to
a full handshake.

The ``SSL_CTX *`` is the first field of CPython's ``SSLContext`` object. That is no promise, so it
is only used in the versions in which it was looked up and tested, and tried out before it counts.

A new certificate comes with a new key: a client that resumes does not see the certificate, and
would go on with the one that was replaced.
"""

from __future__ import annotations

import ctypes
import os
import ssl
import sys
from functools import cache

KEY_BYTES = 80
"""A name of 16 bytes, 32 for HMAC, 32 for AES: the same in OpenSSL 1.1.1 and 3."""

ROTATION_SECONDS = 12 * 3600.0
"""How long one key is in use: anyone who gets hold of it can read the tickets made with it."""

_GET, _SET = 58, 59  # SSL_CTRL_GET_TLSEXT_TICKET_KEYS, SSL_CTRL_SET_TLSEXT_TICKET_KEYS
_KNOWN = ((3, 9), (3, 13))


def new_key() -> bytes:
    """A key for :func:`use`."""
    return os.urandom(KEY_BYTES)


def use(context: ssl.SSLContext, key: bytes) -> bool:
    """Encrypt the tickets of new sessions of *context* with *key*, and accept only those.

    Returns whether that works here; if not, *context* goes on with a key of its own.
    """
    library = _library()
    if library is None:
        return False
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    # Python knows this value as well, so a wrong pointer is most likely found here.
    if library.SSL_CTX_get_options(pointer) & 0xFFFFFFFF != context.options & 0xFFFFFFFF:
        return False
    if library.SSL_CTX_ctrl(pointer, _GET, 0, None) != KEY_BYTES:
        return False
    if library.SSL_CTX_ctrl(pointer, _SET, KEY_BYTES, key) != 1:
        return False
    found = ctypes.create_string_buffer(KEY_BYTES)
    return library.SSL_CTX_ctrl(pointer, _GET, KEY_BYTES, found) == 1 and found.raw == key


@cache
def _library() -> ctypes.CDLL | None:
    """The OpenSSL that :mod:`ssl` itself is linked with, and no other one of this machine."""
    import _ssl

    path = getattr(_ssl, "__file__", None)
    known = sys.implementation.name == "cpython" and _KNOWN[0] <= sys.version_info[:2] <= _KNOWN[1]
    if not known or not path or ssl.OPENSSL_VERSION_INFO < (1, 1, 1):
        return None
    try:
        library = ctypes.CDLL(path)
        control, options = library.SSL_CTX_ctrl, library.SSL_CTX_get_options
    except (OSError, AttributeError):
        return None
    control.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
    control.restype = ctypes.c_long
    options.argtypes = (ctypes.c_void_p,)
    options.restype = ctypes.c_uint64
    return library
