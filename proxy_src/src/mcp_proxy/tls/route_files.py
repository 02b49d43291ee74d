"""The files of single routes: client certificates, and the CAs of upstreams.

Client certificates are short-lived where they are in use, so their files are looked at again while
the proxy runs. CAs are read at the start and with each reload, as ``upstream.tls.ca_file`` is.
"""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType

from cryptography import x509

from ..config.model import Config, RouteOptions, RouteTls, Tls, UpstreamPolicy
from ..watch import log
from ..watch.metrics import Metrics
from .certificates import Pair, parse_pair, read_file
from .contexts import CertificateError, upstream_context

_MAX_BYTES = 1 << 25
"""What the contents of all files may take in a message to a worker, of its ``MAX_BYTES``."""


def with_contents(
    config: Config, running: Config | None = None
) -> tuple[Config, list[CertificateError]]:
    """*config* with the contents of its routes' files, and what is wrong with them.

    They are thus read once for all workers. A route with an error stays as it is. In place of a
    client certificate of *running* that is valid now, only another one that is valid will do.
    """
    found: dict[str, RouteOptions] = {}
    errors = []
    for route, options in config.route_options.items():
        try:
            tls = _contents(route, options)
            if running is not None and tls is not None:
                _compare(route, running.options(route).tls, tls)
            found[route] = replace(options, tls=tls)
        except CertificateError as error:
            errors.append(error)
            found[route] = options
    config = replace(config, route_options=MappingProxyType(found))
    return config, [*errors, *_too_much(config)]


def invalidities(config: Config) -> list[CertificateError]:
    """The client certificates in *config*, with its contents, that are not valid at this moment."""
    errors = []
    for route, options in config.route_options.items():
        problem = _invalidity(options.tls)
        if problem:
            remedy = "renew the client certificate"
            errors.append(CertificateError(_field(route, "client_cert"), problem, remedy))
    return errors


class Renewals:
    """Finds client certificates that have been renewed, and says once of each that is bad."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._refused: dict[str, str] = {}
        self._told: dict[str, tuple[str, str]] = {}  # certificate, and why it is not valid

    def tell(self, config: Config) -> None:
        """Tell metrics and log which client certificates are in use from now on.

        Each gets a line in the log, and one more when it runs out, or the clock has been set.
        """
        before, self._told = self._told, {}
        expiries = {}
        for route, options in config.route_options.items():
            tls = options.tls
            if tls is None or not tls.cert:
                continue
            pair = _shown(tls)
            expiries[route] = pair.expires.timestamp()
            self._told[route] = told = (tls.cert, pair.invalidity())
            if before.get(route, ("", ""))[0] != tls.cert:
                _tell_loaded(route, options, tls)
            if told[1] and before.get(route) != told:
                _tell_invalid(route, told[1])
        self._metrics.client_certificates(expiries)

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
        options_of_all = {**config.route_options, **found}
        new = replace(config, route_options=MappingProxyType(options_of_all)) if found else config
        too_much = _too_much(new) if found else []
        if too_much:
            self._refuse("", too_much[0])
            new = config
        else:
            self._refused.pop("", None)
        self.tell(new)
        return None if new is config else new

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
    _pair(route, options, new)
    _try(route, options, new)
    _compare(route, old, new)
    return new


def _compare(route: str, old: RouteTls | None, new: RouteTls) -> None:
    """Raise if the client certificate of *new* is not valid now, and that of *old* is."""
    problem = _invalidity(new)
    if problem and old is not None and old.cert and not _invalidity(old):
        remedy = "put a valid certificate there"
        raise CertificateError(_field(route, "client_cert"), problem, remedy)


def _invalidity(tls: RouteTls | None) -> str:
    """Why the client certificate, which was read before, is not valid now; ``""`` if it is."""
    return _shown(tls).invalidity() if tls is not None and tls.cert else ""


def _shown(tls: RouteTls) -> Pair:
    """The client certificate, which was read before, without its key."""
    chain = tls.cert.encode("latin-1")
    return Pair(chain, b"", x509.load_pem_x509_certificates(chain)[0])


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


def _too_much(config: Config) -> list[CertificateError]:
    """The error that the contents of all files together are, if there is not room for them."""
    contents = [
        text
        for options in config.route_options.values()
        if options.tls is not None
        for text in (options.tls.cert, options.tls.key, options.tls.ca)
    ]
    if sum(len(json.dumps(text)) for text in contents) <= _MAX_BYTES:
        return []
    problem = (
        f"client_cert, client_key and ca_file of all routes are more than {_MAX_BYTES >> 20} MiB "
        "together"
    )
    remedy = (
        "leave only certificates and keys in these files, and put CAs that many routes share into "
        "upstream.tls.ca_file"
    )
    return [CertificateError("route_options", problem, remedy)]


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


def _tell_invalid(route: str, problem: str) -> None:
    field = _field(route, "client_cert")
    log.event(log.logger, log.ERROR, "certificate not valid", field=field, problem=problem)


def _tell_loaded(route: str, options: RouteOptions, tls: RouteTls) -> None:
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
