from __future__ import annotations

from pathlib import Path

import pytest
from config_files import DOMAIN, load, minimal, problems
from mcp_proxy.config import load as config


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"x": "listen_adr: 1"}, "8 listen_adr: unknown field; did you mean `listen_addr`?"),
        (
            {"x": "zzz: 1"},
            "8 zzz: unknown field; known here: access_log, admin_addr,",
        ),
        (
            {"x": "route_options: {ecko: {}}"},
            "8 route_options.ecko: no such route; use one of 'echo'",
        ),
        (
            {"x": "route_options: {echo: {}, ECHO: {}}"},
            "8 route_options.ECHO: the same route as another entry; keep one of them",
        ),
        (
            {"x": "route_options: {echo: {maintainance: true}}"},
            "unknown field; did you mean `route_options.echo.maintenance`?",
        ),
        (
            {"x": "route_options: {echo: {maintenance: 'yes'}}"},
            "8 route_options.echo.maintenance: must be true or false, not 'yes'",
        ),
        (
            {"x": "route_options: {echo: {retry_after: 30}}"},
            "8 route_options.echo.retry_after: must be a duration, not '30'",
        ),
        (
            {"x": "route_options: {echo: {retry_after: 0s}}"},
            "8 route_options.echo.retry_after: must be longer than 0s",
        ),
        ({"x": "route_options: [echo]"}, "8 route_options: must be a map of fields, not a list"),
        (
            {"x": "route_options: {echo: true}"},
            "8 route_options.echo: must be a map of fields, not a single value",
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
        ({"listen_addr": "listen_addr: ':0080'"}, "1 listen_addr: must be host:port"),
        ({"listen_addr": "listen_addr: ':\uff18\uff10'"}, "1 listen_addr: must be host:port"),
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
            {"tunnel_domain": "tunnel_domain: localhost"},
            "2 tunnel_domain: not a domain name: 'localhost'; write e.g.",
        ),
        (
            {"tunnel_domain": "tunnel_domain: 10.0.0.1"},
            "2 tunnel_domain: not a domain name: '10.0.0.1'",
        ),
        (
            {"tunnel_domain": "tunnel_domain: a_b.example"},
            "2 tunnel_domain: not a domain name: 'a_b.example'",
        ),
        (
            {"tunnel_domain": "tunnel_domain: a.example.."},
            "2 tunnel_domain: not a domain name: 'a.example..'",
        ),
        (
            {
                "tunnel_domain": "tunnel_domain: " + ".".join(["x" * 60] * 4),
                "echo": "  " + "e" * 60 + ": http://h:1",
            },
            "longer than 253 characters with tunnel_domain; use a shorter name",
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
        ({"echo": "  echo..: http://h:1"}, "7 routes.echo..: not a hostname"),
        ({"echo": "  mc\u212a: http://h:1"}, "7 routes.mc\u212a: not a hostname"),
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
            {"x": "upstream: {allowed_ips: [10.0.0.0/255.0.0.0]}"},
            "8 upstream.allowed_ips[0]: not an IPv4 address or network: '10.0.0.0/255.0.0.0'",
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
        ({"x": "limits: {max_streams: '09'}"}, "8 limits.max_streams: must be a whole number"),
        ({"x": "limits: {max_streams: 010}"}, "8 limits.max_streams: must be a whole number"),
        (
            {"x": f"limits: {{max_streams: {'9' * 5000}}}"},
            "8 limits.max_streams: must be a whole number from 1 to 1000, not a text of 5000",
        ),
        ({"x": "workers: 257"}, "8 workers: must be a whole number from 0 to 256, not '257'"),
        ({"x": "mcp_tools: search"}, "8 mcp_tools: must be a list of values; write `mcp_tools:`"),
        ({"x": "mcp_tools: [a, b c]"}, "8 mcp_tools[1]: not a tool's name: 'b c'; use the name"),
        ({"x": "mcp_tools: ['']"}, "8 mcp_tools[0]: not a tool's name: ''"),
        ({"x": "mcp_tools: [h\u00e4user]"}, "8 mcp_tools[0]: not a tool's name"),
        ({"x": f"mcp_tools: [{'a' * 129}]"}, "8 mcp_tools[0]: not a tool's name"),
        ({"x": "mcp_tools: [a, b, a]"}, "8 mcp_tools[2]: 'a' is named before; keep one of them"),
        ({"x": "mcp_tools: [other]"}, "8 mcp_tools[0]: cannot be told from the others; remove it"),
        (
            {"x": f"mcp_tools: {list(range(101))}"},
            "8 mcp_tools: 101 tools, and 100 at most; name those whose figures you look at",
        ),
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
        "u:p@10.0.0.5:80",
        "http:/u:p@10.0.0.5:80",
        "http://mc\u212a:80",
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


def test_a_domain_that_is_wrong_is_one_problem(files: Path) -> None:
    (found,) = problems(files, minimal(tunnel_domain="tunnel_domain: localhost"))
    assert found.startswith("2 tunnel_domain: not a domain name")


def test_whole_numbers_may_stand_in_quotes(files: Path) -> None:
    loaded = load(files, minimal(x="limits: {max_streams: '9'}\nworkers: '2'"))
    assert (loaded.limits.max_streams, loaded.workers) == (9, 2)


def test_elsewhere_than_on_the_host_no_file_is_opened(tmp_path: Path) -> None:
    text = minimal(x="upstream: {tls: {ca_file: DIR/ca.crt}}").replace("DIR", str(tmp_path))
    meant, found = config.examine(text.encode(), on_host=False)
    assert (meant.routes["echo"].port, found) == (8000, ())
    _meant, found = config.examine(text.encode())
    assert {problem.field for problem in found} == {
        "tls.cert_file",
        "tls.key_file",
        "upstream.tls.ca_file",
    }


def test_an_https_upstream_needs_a_trust_anchor(files: Path) -> None:
    https = minimal(echo="  echo: https://h:443")
    (found,) = problems(files, https)
    assert found.startswith("7 routes.echo: https://h:443 is https, but nothing says whom to trust")
    assert "upstream.tls.include_system_cas" in found
    for anchor in ("ca_file: DIR/ca.crt", "include_system_cas: true"):
        assert load(files, https + f"upstream: {{tls: {{{anchor}}}}}\n").routes["echo"].port == 443


def test_the_upstream_of_a_route_may_have_its_own_trust_anchor(files: Path) -> None:
    https = minimal(echo="  Echo: https://h:443", x="route_options: {echo.: {ca_file: DIR/ca.crt}}")
    assert load(files, https).route_options["echo"].ca_file == f"{files}/ca.crt"
    both = https.replace("  Echo: https://h:443", "  Echo: https://h:443\n  wiki: https://w:443")
    (found,) = problems(files, both)
    assert found.startswith("8 routes.wiki: https://w:443 is https, but nothing says whom to trust")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("client_cert: DIR/tls.crt", ["client_cert: is of no use without client_key; set client_"]),
        ("client_key: DIR/tls.key", ["client_key: is of no use without client_cert; set client_c"]),
        ("ca_file: ca.crt", ["ca_file: must be an absolute path, not 'ca.crt'; write e.g. /etc"]),
        ("ca_file: DIR/none", ["ca_file: cannot read DIR/none: No such file or directory; check"]),
        ("ca_file: [DIR/ca.crt]", ["ca_file: must be text, not a list; write `ca_file: value`"]),
        ("server_name: a b", ["server_name: no name of a server: 'a b'; the host is neither"]),
        ("server_name: 10.0.0", ["server_name: no name of a server: '10.0.0'; write an IPv4"]),
        ("server_name: yes", ["server_name: must be text, not 'yes'; write it in quotes"]),
        ("server_name: 5", ["server_name: must be text, not '5'; write it in quotes"]),
        ("tls: {}", ["tls: unknown field; known here: ca_file, client_cert, client_key"]),
    ],
)
def test_tls_options_of_a_route(files: Path, options: str, expected: list[str]) -> None:
    text = minimal(
        echo="  echo: https://h:443",
        trust="upstream: {tls: {ca_file: DIR/ca.crt}}",
        options=f"route_options: {{echo: {{{options}}}}}",
    )
    for found, what in zip(problems(files, text), expected, strict=True):
        assert found.startswith(f"9 route_options.echo.{what.replace('DIR', str(files))}"), found


@pytest.mark.parametrize("name", ["client_cert", "client_key", "ca_file", "server_name"])
def test_tls_options_are_for_https(files: Path, name: str) -> None:
    options = f"route_options: {{echo: {{{name}: DIR/ca.crt}}}}"
    found = problems(files, minimal(options=options))
    what = f"8 route_options.echo.{name}: is for https, but the upstream is http://10.0.0.5:8000"
    assert f"{what}; make the upstream https, or leave it out" in found


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (3, 3), (256, 256), (384, 256)])
def test_workers_are_the_processors_that_the_service_may_use(
    files: Path, monkeypatch: pytest.MonkeyPatch, cores: int, expected: int
) -> None:
    """But no more than the field takes; the role counts the same way for the unit's limits."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(cores)))
    assert load(files, minimal()).workers == expected
    assert load(files, minimal(x="workers: 0")).workers == expected
