"""The keys of OIDC issuers, fetched by discovery (OpenID Connect Discovery 1.0, RFC 7517)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx2
import jwt

from ..errors import Denied

_TIMEOUT = 30.0
# Loading the world's CAs takes longer than the rest of an exchange, so it is done once.
_TRUST = httpx2.create_ssl_context()


def _direct() -> httpx2.AsyncBaseTransport:
    return httpx2.AsyncHTTPTransport(verify=_TRUST)


@dataclass(frozen=True)
class IssuerKeys:
    """Fetches afresh each time, so that a rotated key is known at once.

    `transport` makes the transport to the issuers, once for each exchange, which closes it.
    """

    transport: Callable[[], httpx2.AsyncBaseTransport] = _direct

    async def find(self, issuer: str, kid: str) -> jwt.PyJWK:
        """Return the issuer's key called `kid`. Raises Denied."""
        try:
            async with httpx2.AsyncClient(transport=self.transport(), timeout=_TIMEOUT) as client:
                place = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
                configuration = (await client.get(place)).raise_for_status().json()
                if configuration["issuer"] != issuer:
                    raise Denied(f"discovery of {issuer} names issuer {configuration['issuer']}")
                keys = (await client.get(configuration["jwks_uri"])).raise_for_status().json()
            return jwt.PyJWKSet.from_dict(keys)[kid]
        except (httpx2.HTTPError, ValueError, jwt.PyJWTError) as error:
            raise Denied(f"keys of {issuer} cannot be had: {error}") from None
        except KeyError as error:
            raise Denied(f"{issuer} has no key {error}") from None
