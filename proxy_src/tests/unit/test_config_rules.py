from __future__ import annotations

from pathlib import Path

import pytest
from config_files import DOMAIN, load, minimal, problems


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"x": "listen_adr: 1"}, "8 listen_adr: unknown field; did you mean `listen_addr`?"),
        (
            {"x": "zzz: 1"},
            "8 zzz: unknown field; known here: access_log, admin_addr,",
        ),
        ({"x": "tls: {}"}, "8 tls: given twice, first on line 3; keep one of them"),
        (
            {"echo": "  echo: http://h:1\n  echo: http://h:2"},
            "8 routes.echo: given twice, first on line 7",
        ),
        ({"x": "upstream: {allow_ips: []}"}, "did you mean `upstream.allowed_ips`?"),
        (
            {"x": "upstream: {ca_file: x}"},
            "8 upstream.ca_file: unknown field; known here: allowed_ips,",
        ),
        ({"x": "upstream: {tls: []}"}, "8 upstream.tls: must be a map of fields, not a list"),
        ({"listen_addr": "listen_addr: [a]"}, "1 listen_addr: must be text, not a list"),
        ({"listen_addr": "listen_addr: ''"}, "1 listen_addr: required, but not set"),
        ({"listen_addr": "listen_addr: 8080"}, "1 listen_addr: must be host:port, not '8080'"),
        ({"listen_addr": "listen_addr: ':99999'"}, "1 listen_addr: must be host:port"),
        ({"listen_addr": "listen_addr: '::1:80'"}, "1 listen_addr: must be host:port"),
        ({"listen_addr": "listen_addr: '[x]:80'"}, "1 listen_addr: must be host:port"),
        (
            {"listen_addr": "listen_addr: ':8081'"},
            "1 admin_addr: port 8081 is the port of listen_addr",
        ),
        (
            {"x": "admin_addr: 10.0.0.1:9000"},
            "8 admin_addr: 10.0.0.1:9000 is not a loopback address",
        ),
        ({"x": "admin_addr: ':9000'"}, "8 admin_addr: :9000 is not a loopback address"),
        (
            {"x": "log_level: warning"},
            "8 log_level: unknown level 'warning'; use one of debug, info,",
        ),
        ({"x": "shutdown_timeout: 1d"}, "8 shutdown_timeout: must be a duration, not '1d'"),
        (
            {"x": "timeouts: {idle: 0s}"},
            "8 timeouts.idle: must be longer than 0s; the default is 300s",
        ),
        ({"x": "tls_poll: 1"}, "8 tls_poll: unknown field"),
        ({"cert_file": "  cert_file:"}, "4 tls.cert_file: required, but not set; give the path"),
        ({"key_file": "  key_file: DIR"}, "5 tls.key_file: cannot read DIR: Is a directory; check"),
        (
            {"key_file": "  key_file: DIR/no"},
            "5 tls.key_file: cannot read DIR/no: No such file or directory",
        ),
        (
            {"key_file": '  key_file: "a\\0b"'},
            "5 tls.key_file: cannot read a\0b: embedded null byte",
        ),
        (
            {"tunnel_domain": "tunnel_domain: https://x"},
            "2 tunnel_domain: not a domain name: 'https://x'",
        ),
        (
            {"tunnel_domain": ""},
            "7 routes.echo: a bare name needs tunnel_domain; set tunnel_domain, or",
        ),
        (
            {"echo": "  a.b: http://h:1"},
            f"7 routes.a.b: outside tunnel_domain {DOMAIN}; use a bare name",
        ),
        (
            {"echo": "  a: http://h:1\n  A: http://h:1"},
            "8 routes.A: the same hostname as another route",
        ),
        ({"echo": "  '*': http://h:1"}, "7 routes.*: not a hostname; use a subdomain"),
        ({"echo": "  'a:80': http://h:1"}, "7 routes.a:80: not a hostname"),
        ({"echo": "  http://a: http://h:1"}, "7 routes.http://a: not a hostname"),
        (
            {"echo": "  - echo"},
            "6 routes: must be a map of fields, not a list; write `routes:` and below it",
        ),
        (
            {"echo": "", "routes": "routes: http://h:1"},
            "6 routes: must be a map of fields, not a single value",
        ),
        ({"echo": "", "routes": "routes: {}"}, "6 routes: required, but empty"),
        ({"echo": "", "routes": ""}, "1 routes: required, but empty"),
        (
            {"x": "upstream: {tls: {ca_file: DIR/no}}"},
            "8 upstream.tls.ca_file: cannot read DIR/no: No such file",
        ),
        (
            {"x": "upstream: {allowed_ips: 10.0.0.0/8}"},
            "8 upstream.allowed_ips: must be a list of values",
        ),
        (
            {"x": "upstream: {allowed_ips: [10.0.0.0/40]}"},
            "8 upstream.allowed_ips[0]: not an IPv4 address or",
        ),
        (
            {"x": "upstream:\n  allowed_ips:\n  - 10.0.0.0/8\n  - fd00::/8"},
            "11 upstream.allowed_ips[1]: not an IPv4 address or network: 'fd00::/8'; write e.g.",
        ),
        (
            {"echo": "  <<: {echo: http://h:1}"},
            "7 routes.<<: merge keys are not supported; write the fields out here",
        ),
        (
            {"x": "upstream: {allowed_ips: [10.0.0.0/8], disable_ip_validation: true}"},
            "8 upstream.disable_ip_validation: cannot be combined with upstream.allowed_ips",
        ),
        (
            {"x": "upstream: {rewrite_host: 'true'}"},
            "8 upstream.rewrite_host: must be true or false, not 'true'",
        ),
        (
            {"x": "limits: {max_streams: 0}"},
            "8 limits.max_streams: must be a whole number from 1 to 1000, not",
        ),
        ({"x": "limits: {max_streams: 1.5}"}, "8 limits.max_streams: must be a whole number"),
        ({"x": "limits: {max_streams: '9'}"}, "8 limits.max_streams: must be a whole number"),
        (
            {"x": "metrics: {firewall_counters_file: counters.json}"},
            "8 metrics.firewall_counters_file: must be an absolute path",
        ),
        (
            {"x": "metrics: {connections_file: connections.json}"},
            "8 metrics.connections_file: must be an absolute path, not 'connections.json'; write",
        ),
    ],
)
def test_each_rule_names_field_line_and_remedy(
    files: Path, changes: dict[str, str], expected: str
) -> None:
    found = problems(files, minimal(**changes))
    assert any(expected.replace("DIR", str(files)) in line for line in found), found


@pytest.mark.parametrize(
    "upstream",
    [
        "http://10.0.0.5",
        "'http://10.0.0.5:'",
        "http://10.0.0.5:0",
        "http://10.0.0.5:65536",
        "http://10.0.0.5:80/",
        "http://10.0.0.5:80/mcp",
        "http://10.0.0.5:80?x",
        "http://10.0.0.5:80#x",
        "http://:80",
        "http://u:p@10.0.0.5:80",
        "http://[::1]:80",
        "http://300.0.0.1:80",
        "http://10.1:80",
        "http://2130706433:80",
        "http://a b:80",
        "http://-a:80",
        "10.0.0.5:80",
        "//10.0.0.5:80",
        "ftp://10.0.0.5:80",
        "HTTP://10.0.0.5:80",
        "http//10.0.0.5:80",
        '"http://10.0.0.5:80\\n"',
        "",
    ],
)
def test_upstreams_that_are_not_exactly_scheme_host_port(files: Path, upstream: str) -> None:
    (found,) = problems(files, minimal(echo=f"  echo: {upstream}"))
    assert found.startswith("7 routes.echo: invalid upstream (must be scheme://host:port): ")
    assert "u:p" not in found


def test_an_https_upstream_needs_a_trust_anchor(files: Path) -> None:
    https = minimal(echo="  echo: https://h:443")
    (found,) = problems(files, https)
    assert found.startswith("7 routes.echo: https://h:443 is https, but nothing says whom to trust")
    assert "upstream.tls.include_system_cas" in found
    for anchor in ("ca_file: DIR/ca.crt", "include_system_cas: true"):
        assert load(files, https + f"upstream: {{tls: {{{anchor}}}}}\n").routes["echo"].port == 443


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (3, 3), (256, 256), (384, 256)])
def test_workers_are_the_processors_that_the_service_may_use(
    files: Path, monkeypatch: pytest.MonkeyPatch, cores: int, expected: int
) -> None:
    """Of at most as many as the field takes; the role that writes the field counts so, too."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(cores)))
    assert load(files, minimal()).workers == expected
