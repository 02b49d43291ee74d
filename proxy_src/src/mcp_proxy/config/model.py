"""The settings of a proxy as immutable values, with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network

# RFC 1918, so without loopback: vendor behaviour.
PRIVATE_NETWORKS = tuple(
    IPv4Network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)


@dataclass(frozen=True)
class Address:
    """A TCP address to listen on. An empty ``host`` means all interfaces, port 0 any free port."""

    host: str
    port: int


METHODS = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR"
    b" MKCOL MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH"
    b" SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE".split()
)
"""The methods that the parser of HTTP/1.1 knows; so HTTP/2 has no others."""


_REFUSING = ("maintenance", "paths", "methods", "max_body_bytes", "max_in_flight", "rate")


@dataclass(frozen=True)
class RouteTimeouts:
    """Seconds, as in :class:`Timeouts`: those that can differ between routes."""

    idle: float
    connect: float
    upstream_idle: float
    upstream_gone: float


@dataclass(frozen=True)
class RouteTls:
    """TLS towards the upstream of one route, as far as it differs from the others.

    Contents of files in PEM (latin-1), empty for none: the client certificate with its chain, its
    ``key``, and whom to trust in place of all others. The upstream's certificate has to be one for
    ``server_name``, if given, and not for its host.
    """

    cert: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)
    server_name: str = ""


@dataclass(frozen=True)
class Upstream:
    """An upstream MCP server: ``http`` or ``https``, a lower-case name or IPv4 address, a port.

    ``timeouts`` and ``tls`` are not ``None`` where its route has some of its own. With ``spread``,
    all of its addresses are used in turn. Upstreams that differ in anything never share a
    connection; each request looks one up, so the hash is worked out once.
    """

    scheme: str
    host: str
    port: int
    timeouts: RouteTimeouts | None = None
    spread: bool = False
    tls: RouteTls | None = None
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = tuple(getattr(self, item.name) for item in fields(self) if item.compare)
        object.__setattr__(self, "_hash", hash(values))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


@dataclass(frozen=True)
class Rate:
    """At most so many ``requests`` in so many ``seconds``: as many may come at once."""

    requests: float
    seconds: float


@dataclass(frozen=True)
class RouteOptions:
    """How one route differs from the others. ``None`` and an empty tuple stand for no difference.

    In ``maintenance`` the proxy answers in the upstream's place, and tells clients to try again
    after ``retry_after`` seconds. ``paths`` are the prefixes that a request's path may have, and
    ``methods`` its methods. ``max_in_flight`` counts requests whose answer is not complete. With
    ``spread`` all addresses of the upstream are used in turn.

    ``client_cert``, ``client_key`` and ``ca_file`` are paths. ``tls`` is what counts of them and of
    ``server_name`` once they have been read.
    """

    maintenance: bool = False
    retry_after: float = 60.0
    paths: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    max_body_bytes: int | None = None
    max_in_flight: int | None = None
    rate: Rate | None = None
    rewrite_host: bool | None = None
    timeouts: RouteTimeouts | None = None
    spread: bool = False
    client_cert: str = ""
    client_key: str = ""
    ca_file: str = ""
    server_name: str = ""
    tls: RouteTls | None = field(default=None, repr=False)

    @property
    def refusing(self) -> tuple[str, ...]:
        """The names of the options that can refuse a request, of those that are set."""
        return tuple(name for name in _REFUSING if getattr(self, name) not in (False, None, ()))


_NO_DIFFERENCE = RouteOptions()


@dataclass(frozen=True)
class Tls:
    """Server certificate of the inner TLS; files are looked at every ``poll_interval`` seconds."""

    cert_file: str
    key_file: str
    poll_interval: float = 5.0


@dataclass(frozen=True)
class UpstreamPolicy:
    """Which addresses may be dialled, who certifies https upstreams, and the Host they see.

    ``ca_pem`` is the content of ``ca_file`` (latin-1) once it has been read, and then what counts.
    """

    allowed_ips: tuple[IPv4Network, ...] = PRIVATE_NETWORKS
    disable_ip_validation: bool = False
    ca_file: str = ""
    include_system_cas: bool = False
    rewrite_host: bool = False
    ca_pem: str = field(default="", repr=False)


@dataclass(frozen=True)
class Timeouts:
    """Seconds. ``idle`` counts only while no request is in flight: it never ends an open stream."""

    handshake: float = 10.0
    header: float = 15.0
    idle: float = 300.0
    connect: float = 10.0
    upstream_idle: float = 4.0  # uvicorn and node close theirs after 5
    upstream_gone: float = 60.0
    upstream_age: float = 300.0


@dataclass(frozen=True)
class Limits:
    """Bounds on what one client or all of them together may take."""

    max_connections: int = 4096
    max_header_bytes: int = 65536
    max_streams: int = 128


@dataclass(frozen=True)
class MetricsSources:
    """Paths of files that root writes with others' figures for ``/metrics``; empty for none."""

    firewall_counters_file: str = ""
    connections_file: str = ""


@dataclass(frozen=True)
class Config:
    """A complete, valid configuration. ``admin`` is ``None`` when the admin listener is off.

    ``workers`` is how many processes there shall be. ``routes`` has lower-case keys, and
    ``route_options`` some of them. ``mcp_tools`` are the tools that metrics and log name. ``lines``
    gives the line of each dotted field of the file, for
    problems found later than on reading.
    """

    listen: Address
    tls: Tls
    routes: Mapping[str, Upstream]
    route_options: Mapping[str, RouteOptions] = field(default_factory=dict)
    log_level: str = "info"
    access_log: bool = False
    mcp_tools: tuple[str, ...] = ()
    shutdown_timeout: float = 30.0
    tunnel_domain: str = ""
    upstream: UpstreamPolicy = UpstreamPolicy()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    workers: int = 1
    metrics: MetricsSources = MetricsSources()
    admin: Address | None = Address("127.0.0.1", 8081)
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    def options(self, route: str) -> RouteOptions:
        """How *route*, a key of ``routes``, differs from the others."""
        return self.route_options.get(route, _NO_DIFFERENCE)
