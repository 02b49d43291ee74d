# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads an identity token (JWT) as far as that is possible without its issuer's keys."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

DEFAULT_AUDIENCE = "https://api.anthropic.com"
# Vendor rules: size of an assertion, tolerance of clocks, longest lifetime unless the issuer's
# configuration says otherwise (bytes; seconds).
LARGEST_JWT = 16 * 1024
_LEEWAY = 30
_LONGEST_LIFETIME = 3600
_ALGORITHMS = {f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)}
# The range that datetime can show: the years 1 to 9999, in seconds since 1970.
_FIRST_MOMENT = -62135596800
_LAST_MOMENT = 253402300799


@dataclass(frozen=True)
class Jwt:
    """Header and claims. The token itself and its signature are not kept."""

    header: dict[str, Any]
    claims: dict[str, Any]


def check_jwt(text: str, subject: str) -> str:
    """Returns an identity token without white space around it.

    :param subject: where it comes from, for messages, which never quote it.
    :raises TunnelError: if it is empty, too long, or not a JWT.
    """
    token = text.strip()
    if not token:
        raise TunnelError(
            subject, "is empty", "Check what writes it: it has to hold one identity token (JWT)"
        )
    if len(token.encode()) > LARGEST_JWT:
        raise TunnelError(
            subject,
            f"is {len(token.encode())} bytes long, more than {LARGEST_JWT} (16 KiB)",
            "Give an identity token (JWT), not a key, a certificate or a bundle",
        )
    decode_jwt(token, subject)
    return token


def decode_jwt(token: str, subject: str) -> Jwt:
    """Reads header and claims (RFC 7519 section 3) without checking the signature.

    :raises TunnelError: if the text is not a JWT.
    """
    parts = token.split(".")
    if len(parts) == 3 and all(parts[:2]) and not parts[2]:
        raise TunnelError(
            subject,
            "is not signed (its third part is empty)",
            "Give an identity token that your platform's OIDC issuer has signed",
        )
    try:
        if len(parts) != 3 or not all(parts):
            raise ValueError
        header, claims = (json.loads(_decode(part)) for part in parts[:2])
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise ValueError
        _decode(parts[2])
    except (ValueError, binascii.Error):
        # "from None": the cause quotes its input.
        raise TunnelError(
            subject,
            "is not a JWT (three parts of base64url, joined by dots; the first two JSON objects)",
            "Give an identity token of your platform's OIDC issuer",
        ) from None
    return Jwt(header, claims)


def _decode(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def jwt_findings(jwt: Jwt, now: datetime) -> list[str]:
    """The objections that the token exchange would have, as far as they show from here.

    :param now: aware; the server's clock where it is known.
    """
    found = []
    algorithm = str(jwt.header.get("alg", "none"))
    if algorithm.lower() == "none":
        found.append("it is not signed (alg none)")
    elif algorithm.startswith("HS"):
        found.append(f"its algorithm {_shown(algorithm)} is symmetric and has to be asymmetric")
    elif algorithm not in _ALGORITHMS:
        found.append(f"its algorithm {_shown(algorithm)} is not one of RSA or ECDSA")
    if not jwt.header.get("kid"):
        found.append("its header has no kid, so the issuer's key cannot be found")
    for name in ("iss", "sub", "aud"):
        if not jwt.claims.get(name):
            found.append(f"it has no {name}")
    return found + _audience(jwt.claims.get("aud")) + _times(jwt.claims, now.timestamp())


def _audience(claim: Any) -> list[str]:
    audiences = claim if isinstance(claim, list) else [claim]
    if not claim or DEFAULT_AUDIENCE in audiences:
        return []
    return [f"its aud is {_shown(claim)}, and a rule's default is {DEFAULT_AUDIENCE}"]


def _times(claims: dict[str, Any], now: float) -> list[str]:
    found = []
    times: dict[str, float] = {}
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            found.append(f"its {name} is not a number of seconds")
        # False for NaN, which Python's JSON reads, as it does Infinity.
        elif _FIRST_MOMENT <= value <= _LAST_MOMENT:
            times[name] = float(value)
        else:
            found.append(f"its {name} is out of range, before the year 1 or after 9999")
    if "exp" not in times:
        found.append("it has no usable exp")
    elif times["exp"] + _LEEWAY < now:
        found.append(f"it expired {_span(now - times['exp'])} ago, at {_moment(times['exp'])}")
    for name, what in (("nbf", "begins to be valid"), ("iat", "was issued")):
        if name in times and times[name] - _LEEWAY > now:
            span, moment = _span(times[name] - now), _moment(times[name])
            found.append(f"it {what} {span} in the future, at {moment} ({name})")
    if "exp" in times:
        begin = times.get("iat", times.get("nbf"))
        if begin is not None and times["exp"] - begin > _LONGEST_LIFETIME:
            found.append(
                f"its lifetime of {_span(times['exp'] - begin)} exceeds "
                f"{_span(_LONGEST_LIFETIME)}, the default maximum of an issuer"
            )
    return found


def is_single_use(jwt: Jwt) -> bool:
    """Whether it is accepted only once (RFC 7519 section 4.1.7, RFC 7523 section 3)."""
    return jwt.claims.get("jti") is not None


def jwt_facts(jwt: Jwt) -> str:
    """The claims that a federation rule checks, for comparison with the rule."""
    names = ("iss", "sub", "aud")
    return ", ".join(f"{name} {_shown(jwt.claims.get(name, 'missing'))}" for name in names)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= 200 else printable[:200] + "..."


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _span(seconds: float) -> str:
    """Like ``40 s``, ``12 min``, ``2 h``, ``1 h 30 min`` or ``3 d``."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
