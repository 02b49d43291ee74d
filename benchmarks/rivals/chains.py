"""Our proxy, and haproxy behind the WebSocket unwrapper."""

from __future__ import annotations

import contextlib
import functools
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import BenchError
from benchmarks.processes import Measured, child, free_port
from benchmarks.rivals.certificates import make_certificates
from benchmarks.rivals.interpreter import interpreter, search_path

DOMAIN = "bench.test"
ROUTE = "bench"
HOST = f"{ROUTE}.{DOMAIN}"
#: OpenSSL's own preference; ours, and Go's, is the default of Chain.
_SUITE_OF_HAPROXY = "TLS_AES_256_GCM_SHA384"
_ROOT = Path(__file__).resolve().parents[2]
_PROXY_SOURCE = _ROOT / "proxy_src" / "src"


@dataclass(frozen=True)
class Chain:
    """A running rival: where its WebSocket listener is and which processes it consists of.

    :param suite: the TLS 1.3 suite that it chooses of a client that offers all
    """

    name: str
    port: int
    children: Sequence[Measured]
    suite: str = "TLS_AES_128_GCM_SHA256"


def client_context(ca: str) -> ssl.SSLContext:
    """TLS of a load generator: verifies the server under ``ca`` (PEM), TLS 1.3."""
    context = ssl.create_default_context(cadata=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


@dataclass(frozen=True)
class Site:
    """The shared parts of all rivals in one run: certificates, upstream, a directory for files."""

    directory: Path
    upstream_port: int

    def client_context(self) -> ssl.SSLContext:
        """The load generator's TLS."""
        return client_context((self.directory / "ca.crt").read_text())


@contextlib.contextmanager
def site(directory: Path) -> Iterator[Site]:
    """Certificates in ``directory`` and a running upstream."""
    make_certificates(directory, DOMAIN)
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.rivals.upstream", str(port)]
    with child("upstream", command, directory / "upstream.log", port):
        yield Site(directory, port)


@contextlib.contextmanager
def proxy_chain(where: Site, workers: int = 1, source: Path = _PROXY_SOURCE) -> Iterator[Chain]:
    """Our proxy with its defaults but for ``workers``, one line per request in its log.

    :param source: the directory with its package
    """
    port = free_port()
    config = where.directory / "proxy.yaml"
    config.write_text(
        f"""\
listen_addr: "127.0.0.1:{port}"
admin_addr: ""
log_level: info
workers: {workers}
tunnel_domain: {DOMAIN}
tls:
  cert_file: {where.directory}/tls.crt
  key_file: {where.directory}/tls.key
routes:
  {ROUTE}: http://127.0.0.1:{where.upstream_port}
upstream:
  allowed_ips: [127.0.0.0/8]
"""
    )
    command = [interpreter(), "-m", "mcp_proxy", "serve", "--config", str(config)]
    env = search_path([str(source)])
    with child("proxy", command, where.directory / "proxy.log", port, env) as started:
        yield Chain("proxy", port, [started])


def two_worker_chain(where: Site) -> contextlib.AbstractContextManager[Chain]:
    """Our proxy with two workers."""
    return proxy_chain(where, 2)


def compiled_chain(where: Site) -> contextlib.AbstractContextManager[Chain]:
    """Our proxy, compiled by mypyc.

    :raises BenchError: it cannot be compiled
    """
    return proxy_chain(where, source=_compiled())


@functools.cache
def _compiled() -> Path:
    """The compiled package's directory, which is made unless it is there."""
    tree = _ROOT / ".build" / "compiled"
    command = [str(_ROOT / "tools" / "wheels"), "--tree", str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return tree


@contextlib.contextmanager
def haproxy_chain(where: Site) -> Iterator[Chain]:
    """Debian's haproxy behind the unwrapper, doing what the proxy does.

    Ends TLS, routes by Host, removes nothing and adds X-Forwarded-*, keeps
    upstream connections, writes one line per request.

    :raises BenchError: haproxy is not installed
    """
    binary = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if binary is None:
        raise BenchError("haproxy is not installed: apt-get install haproxy")
    inner, outer = free_port(), free_port()
    config = where.directory / "haproxy.cfg"
    config.write_text(
        f"""\
global
    log stdout format raw local0
    maxconn 8000
    nbthread 1
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode http
    log global
    option httplog
    option forwardfor
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
frontend tunnel
    bind 127.0.0.1:{inner} ssl crt {where.directory}/haproxy.pem alpn h2,http/1.1
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    use_backend {ROUTE} if {{ req.hdr(host),field(1,:) -i {HOST} }}
    default_backend no_route
backend no_route
    http-request return status 502 content-type text/plain string "No route configured for host"
backend {ROUTE}
    http-reuse always
    server upstream 127.0.0.1:{where.upstream_port}
"""
    )
    unwrap = [interpreter(), "-m", "benchmarks.rivals.unwrapper", str(outer), str(inner)]
    with (
        child(
            "haproxy", [binary, "-db", "-f", str(config)], where.directory / "haproxy.log", inner
        ) as haproxy,
        child(
            *("unwrapper", unwrap, where.directory / "unwrapper.log", outer),
            search_path([str(_ROOT)]),
        ) as unwrapper,
    ):
        yield Chain("haproxy chain", outer, [haproxy, unwrapper], _SUITE_OF_HAPROXY)


ChainFactory = Callable[[Site], contextlib.AbstractContextManager[Chain]]
