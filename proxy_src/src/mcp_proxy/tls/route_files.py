"""The files of single routes: client certificates, and the CAs of upstreams.

Client certificates are short-lived where they are in use, so their files are looked at again while
the proxy runs. CAs are read at the start and with each reload, as ``upstream.tls.ca_file`` is.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from ..config.model import Config, RouteOptions, RouteTls, Tls, UpstreamPolicy
from ..watch import log
from .certificates import Pair, parse_pair, read_file
from .contexts import CertificateError, upstream_context


def with_contents(config: Config) -> tuple[Config, list[CertificateError]]:
    """*config* with the contents of its routes' files, and what is wrong with them.

    They are thus read once for all workers. A route with an error stays as it is.
    """
    found: dict[str, RouteOptions] = {}
    errors = []
    for route, options in config.route_options.items():
        try:
            found[route] = replace(options, tls=_contents(route, options))
        except CertificateError as error:
            errors.append(error)
            found[route] = options
    return replace(config, route_options=MappingProxyType(found)), errors


def invalidities(config: Config) -> list[CertificateError]:
    """The client certificates in *config*, with its contents, that are not valid at this moment."""
    errors = []
    for route, options in config.route_options.items():
        if options.tls is not None and options.tls.cert:
            problem = _pair(route, options, options.tls).invalidity()
            if problem:
                remedy = "renew the client certificate"
                errors.append(CertificateError(_field(route, "client_cert"), problem, remedy))
    return errors


def tell(config: Config) -> None:
    """Log which client certificates are in use, and which of them no upstream accepts."""
    for route, options in config.route_options.items():
        if options.tls is not None and options.tls.cert:
            _tell(route, options, options.tls)
    for error in invalidities(config):
        log.event(
            log.logger, log.ERROR, "certificate not valid", field=error.field, problem=error.what
        )


class Renewals:
    """Finds client certificates that have been renewed, and says once of each that is bad."""

    def __init__(self) -> None:
        self._refused: dict[str, str] = {}

    def look(self, config: Config) -> Config | None:
        """*config* with the contents that have changed since it was read; ``None`` if none has."""
        found = {}
        for route, options in config.route_options.items():
            if not options.client_cert:
                continue
            try:
                renewed = _renewed(route, options)
            except CertificateError as error:
                self._refuse(route, error)
                continue
            self._refused.pop(route, None)
            if renewed != options.tls:
                found[route] = replace(options, tls=renewed)
                _tell(route, options, renewed)
        if not found:
            return None
        options_of_all = {**config.route_options, **found}
        return replace(config, route_options=MappingProxyType(options_of_all))

    def _refuse(self, route: str, error: CertificateError) -> None:
        if self._refused.get(route) == str(error):
            return
        self._refused[route] = str(error)
        log.event(
            log.logger,
            log.ERROR,
            "new client certificate refused, the old one stays in use",
            field=error.field,
            problem=error.what,
            remedy=error.remedy,
        )


def _renewed(route: str, options: RouteOptions) -> RouteTls:
    """The TLS of *route* with its client certificate as it is on disk. Raises an error."""
    old = options.tls or RouteTls()
    cert, key = _read_pair(route, options)
    new = replace(old, cert=cert, key=key)
    if new == old:
        return old
    pair = _pair(route, options, new)
    _try(route, options, new)
    problem = pair.invalidity()
    if problem and not (old.cert and _pair(route, options, old).invalidity()):
        remedy = "put a valid certificate there"
        raise CertificateError(_field(route, "client_cert"), problem, remedy)
    return new


def _contents(route: str, options: RouteOptions) -> RouteTls | None:
    if not (options.client_cert or options.ca_file or options.server_name):
        return None
    cert, key = _read_pair(route, options) if options.client_cert else ("", "")
    ca = _read(route, "ca_file", options.ca_file) if options.ca_file else ""
    tls = RouteTls(cert, key, ca, options.server_name)
    if cert:
        _pair(route, options, tls)
    _try(route, options, tls)
    return tls


def _read_pair(route: str, options: RouteOptions) -> tuple[str, str]:
    return (
        _read(route, "client_cert", options.client_cert),
        _read(route, "client_key", options.client_key),
    )


def _read(route: str, option: str, path: str) -> str:
    return read_file(_field(route, option), path).decode("latin-1")


def _pair(route: str, options: RouteOptions, tls: RouteTls) -> Pair:
    return parse_pair(
        Tls(options.client_cert, options.client_key),
        tls.cert.encode("latin-1"),
        tls.key.encode("latin-1"),
        (_field(route, "client_cert"), _field(route, "client_key")),
        "client",
    )


def _try(route: str, options: RouteOptions, tls: RouteTls) -> None:
    """Raise what OpenSSL has against the files of *route*."""
    try:
        upstream_context(UpstreamPolicy(), tls)
    except CertificateError as error:
        path = getattr(options, error.field)
        raise CertificateError(
            _field(route, error.field), f"{path}: {error.what}", error.remedy
        ) from None


def _tell(route: str, options: RouteOptions, tls: RouteTls) -> None:
    pair = _pair(route, options, tls)
    log.event(
        log.logger,
        log.INFO,
        "client certificate loaded",
        route=route,
        file=options.client_cert,
        expires=pair.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        serial=f"{pair.leaf.serial_number:x}",
    )


def _field(route: str, option: str) -> str:
    return f"route_options.{route}.{option}"
