"""OpenSSL's own functions, for settings of a context that :mod:`ssl` has no way to make.

They are plain calls, which :mod:`ctypes` can make: no callback, so no memory that is both writable
and executable.

The ``SSL_CTX *`` is the first field of CPython's ``SSLContext`` object. That is no promise, so it
is only used in the versions in which it was looked up and tested, and only after a proof that needs
no trust in the address: the object has grown in the midst of 3.13, and distributors have patches.
"""

from __future__ import annotations

import ctypes
import os
import ssl
import sys
from collections.abc import Sequence
from functools import cache

KNOWN = ((3, 9), (3, 14))
"""The first and the last version of Python whose ``SSLContext`` is known."""

_FIELD = object.__basicsize__
"""Where an ``SSLContext`` has its ``SSL_CTX *``, in bytes: right after every object's header."""

_SEEN = 1024
"""So many bytes of an ``SSL_CTX`` are looked at.

Its options are at byte 296 in OpenSSL 1.1.1, at 312 in 3.0 to 3.6.
"""


class OpenSslContext:
    """The ``SSL_CTX`` of a context. The functions are named as in OpenSSL's manual."""

    def __init__(self, library: ctypes.CDLL, pointer: ctypes.c_void_p) -> None:
        self._library = library
        self._pointer = pointer

    def control(self, command: int, number: int, data: object) -> int:
        """``SSL_CTX_ctrl``."""
        return int(self._library.SSL_CTX_ctrl(self._pointer, command, number, data))

    def set_suites(self, names: Sequence[str]) -> None:
        """``SSL_CTX_set_ciphersuites``: the suites of TLS 1.3, the preferred one first."""
        self._library.SSL_CTX_set_ciphersuites(self._pointer, ":".join(names).encode("ascii"))


def found(context: ssl.SSLContext) -> OpenSslContext | None:
    """The ``SSL_CTX`` of *context*, or ``None`` where it is not known how to find it."""
    openssl = library()
    if openssl is None or not _has_options():
        return None
    pointer = ctypes.c_void_p(_address(context))
    # Python knows this value as well.
    if openssl.SSL_CTX_get_options(pointer) & 0xFFFFFFFF != context.options & 0xFFFFFFFF:
        return None
    return OpenSslContext(openssl, pointer)


def _address(context: ssl.SSLContext) -> int:
    return ctypes.c_size_t.from_address(id(context) + _FIELD).value


@cache
def _has_options() -> bool:
    """Whether that field of this Python's contexts points to the options that OpenSSL has for them.

    An option that is switched in a context is then switched there, and nothing else is.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    before = _copy(_address(context))
    context.options ^= ssl.OP_NO_TICKET
    changed = before ^ _copy(_address(context))
    return changed in {ssl.OP_NO_TICKET << at for at in range(0, 8 * _SEEN, 32)}


def _copy(address: int) -> int:
    """The bytes at *address* as one number, 0 if there are none.

    The kernel copies them: it answers EFAULT where reading them here would end the process.
    """
    write = ctypes.CDLL(None).write
    write.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
    write.restype = ctypes.c_ssize_t
    reader, writer = os.pipe()
    try:
        written = write(writer, address, _SEEN)
        return int.from_bytes(os.read(reader, _SEEN), "little") if written > 0 else 0
    finally:
        os.close(reader)
        os.close(writer)


def prefer_suite(context: ssl.SSLContext, name: str) -> bool:
    """Put the suite *name* of TLS 1.3 before the others of *context*, which keeps exactly those.

    Returns whether that works here, and whether *context* has it at all.
    """
    here = found(context)
    suites = _suites(context)
    if here is None or name not in suites:
        return False
    wanted = [name, *(each for each in suites if each != name)]
    here.set_suites(wanted)
    return _suites(context) == wanted


def _suites(context: ssl.SSLContext) -> list[str]:
    return [each["name"] for each in context.get_ciphers() if each["protocol"] == "TLSv1.3"]


@cache
def library() -> ctypes.CDLL | None:
    """The OpenSSL that :mod:`ssl` itself is linked with, and no other one of this machine."""
    import _ssl

    path = getattr(_ssl, "__file__", None)
    known = sys.implementation.name == "cpython" and KNOWN[0] <= sys.version_info[:2] <= KNOWN[1]
    if not known or not path or ssl.OPENSSL_VERSION_INFO < (1, 1, 1):
        return None
    try:
        openssl = ctypes.CDLL(path)
        control, options = openssl.SSL_CTX_ctrl, openssl.SSL_CTX_get_options
        suites = openssl.SSL_CTX_set_ciphersuites
    except (OSError, AttributeError):
        return None
    control.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
    control.restype = ctypes.c_long
    options.argtypes = (ctypes.c_void_p,)
    options.restype = ctypes.c_uint64
    suites.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    suites.restype = ctypes.c_int
    return openssl
