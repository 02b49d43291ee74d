from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest
from config_files import DOMAIN, MINIMAL, load, minimal, problems
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp_proxy.config import load as config
from mcp_proxy.config.load import ConfigError
from mcp_proxy.config.model import Address, Upstream


def test_a_vendor_file_works_unchanged(files: Path) -> None:
    loaded = load(
        files,
        f"""\
        listen_addr: ":8080"
        log_level: debug
        shutdown_timeout: 1m30s
        tunnel_domain: {DOMAIN}
        tls:
          cert_file: DIR/tls.crt
          key_file: DIR/tls.key
        routes:
          echo: http://10.0.0.5:8000
          wiki.{DOMAIN}: "https://wiki.internal:8443"
        upstream:
          allowed_ips:
            - 10.0.0.0/8
            - 192.168.1.5
          tls:
            ca_file: DIR/ca.crt
            include_system_cas: true
        """,
    )
    assert loaded.listen == Address("", 8080)
    assert (loaded.log_level, loaded.shutdown_timeout) == ("debug", 90.0)
    assert loaded.tunnel_domain == DOMAIN
    assert loaded.routes == {
        "echo": Upstream("http", "10.0.0.5", 8000),
        f"wiki.{DOMAIN}": Upstream("https", "wiki.internal", 8443),
    }
    assert loaded.upstream.allowed_ips == (IPv4Network("10.0.0.0/8"), IPv4Network("192.168.1.5/32"))
    assert loaded.upstream.ca_file == str(files / "ca.crt")
    assert loaded.upstream.include_system_cas
    assert loaded.lines["upstream.tls.ca_file"] == 16


def test_defaults(files: Path) -> None:
    loaded = load(files, MINIMAL)
    assert (loaded.log_level, loaded.shutdown_timeout) == ("info", 30.0)
    assert [str(net) for net in loaded.upstream.allowed_ips] == [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
    ]
    assert not loaded.upstream.disable_ip_validation
    assert not loaded.upstream.rewrite_host
    assert loaded.admin == Address("127.0.0.1", 8081)
    assert loaded.timeouts == config.Timeouts()
    assert loaded.limits == config.Limits()
    assert loaded.metrics == config.MetricsSources("", "")
    assert loaded.access_log is False
    assert loaded.route_options == {}


def test_own_fields(files: Path) -> None:
    loaded = load(
        files,
        MINIMAL
        + """\
admin_addr: ""
access_log: true
upstream: {rewrite_host: yes, disable_ip_validation: true}
timeouts: {handshake: 1s, header: 2s, idle: 3s, connect: 4s, upstream_idle: 5s, upstream_gone: 6s,
  upstream_age: 7s}
limits: {max_connections: 10, max_header_bytes: 2048, max_streams: 7}
metrics: {firewall_counters_file: /run/not/there.json, connections_file: /run/nor/there.json}
route_options: {Echo.: {maintenance: true, retry_after: 90s}}
""",
    )
    assert loaded.admin is None
    assert loaded.access_log is True
    assert loaded.upstream.rewrite_host
    assert loaded.upstream.disable_ip_validation
    assert loaded.timeouts == config.Timeouts(1, 2, 3, 4, 5, 6, 7)
    assert loaded.limits == config.Limits(10, 2048, 7)
    assert loaded.metrics == config.MetricsSources("/run/not/there.json", "/run/nor/there.json")
    assert loaded.route_options == {"echo": config.RouteOptions(True, 90)}


def test_null_and_empty_count_as_not_set(files: Path) -> None:
    empty = """\
log_level: ''
shutdown_timeout:
upstream: {allowed_ips: [], tls: {ca_file: ''}}
limits:
metrics: {firewall_counters_file: '', connections_file: ''}
route_options:
"""
    assert load(files, MINIMAL + empty) == load(files, MINIMAL)


def test_every_problem_is_reported_at_once(files: Path) -> None:
    found = problems(
        files,
        """\
        log_level: loud
        shutdown_timeout: 30
        tls:
          cert_file: DIR/none.crt
        routes:
          echo: 10.0.0.5
        """,
    )
    assert [line.split(":")[0] for line in found] == [
        "1 listen_addr",
        "1 log_level",
        "2 shutdown_timeout",
        "3 tls.key_file",
        "4 tls.cert_file",
        "6 routes.echo",
        "6 routes.echo",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1 listen_addr: required, but not set"),
        ("[]", "1 must be a map of fields, not a list"),
        ("x", "1 must be a map of fields, not a single value"),
        ("a: b\nc", "2 not valid YAML: could not find expected ':'"),
        ("a: [", "1 not valid YAML: expected the node content, but found '<stream end>'; close"),
        ("a: [b,\nc: d\n", "3 not valid YAML"),
        (
            "\na: 'b\nc: d\n",
            "4 not valid YAML: found unexpected end of stream while scanning a "
            "quoted scalar that begins on line 2; close the quote",
        ),
        (
            "a:\n\tb: c",
            "2 not valid YAML: found character '\\t' that cannot start any token; "
            "indent with blanks",
        ),
        ("a: *x", "1 not valid YAML: found undefined alias"),
        ("a: b\n---\nc: d", "2 not valid YAML: but found another document"),
        ("[a]: b", "1 a field name must be a plain word"),
        ("a: b\nc: \x01", "2 not valid YAML: a control character; save"),
        ("[" * 100_000, "1 not valid YAML: nested too deeply"),
        ("#" * 2_000_000, "1 larger than 1 MiB"),
    ],
)
def test_files_that_are_no_configuration(files: Path, text: str, expected: str) -> None:
    assert any(line.startswith(expected) for line in problems(files, text))


def test_text_in_another_encoding(files: Path) -> None:
    (files / "proxy.yaml").write_bytes("a: b\n# sch\xf6n\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r":2: not valid YAML: not text in UTF-8; save the file"):
        config.load(str(files / "proxy.yaml"))


def test_anchors_and_aliases(files: Path) -> None:
    loaded = load(files, minimal(echo="  echo: &server http://h:1\n  wiki: *server"))
    assert loaded.routes["echo"] == loaded.routes["wiki"] == Upstream("http", "h", 1)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(str(tmp_path))
    assert "cannot read the configuration: Is a directory" in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}:1: ")


def test_listen_addresses(files: Path) -> None:
    for text, expected in [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("[::1]:8080", Address("::1", 8080)),
        ("[::]:0", Address("::", 0)),
        ("localhost:1", Address("localhost", 1)),
    ]:
        assert load(files, minimal(listen_addr=f"listen_addr: '{text}'")).listen == expected


def test_names_ignore_case_and_a_trailing_dot(files: Path) -> None:
    upper = minimal(
        tunnel_domain=f"tunnel_domain: {DOMAIN.upper()}.",
        echo=f"  ECHO.{DOMAIN}.: http://Host:1\n  {DOMAIN}: http://_x:1",
    )
    loaded = load(files, upper)
    assert loaded.tunnel_domain == DOMAIN
    assert loaded.routes == {
        f"echo.{DOMAIN}": Upstream("http", "host", 1),
        DOMAIN: Upstream("http", "_x", 1),
    }


yaml_values = st.recursive(
    st.sampled_from(
        ["", "x", "1", "true", "null", "~", "30s", "http://h:1", "'", "&a x", "*a", "!!binary x"]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(
            st.sampled_from(["tls", "echo", "ca_file", "x", "<<"]), inner, max_size=3
        ).map(lambda items: "{" + ", ".join(f"{k}: {v}" for k, v in items.items()) + "}"),
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    field=st.sampled_from(
        ["listen_addr", "tls", "routes", "route_options", "upstream", "limits", "admin_addr"]
    ),
    value=yaml_values,
)
def test_no_shape_of_value_is_an_internal_error(files: Path, field: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:  # one field alone is never complete
        load(files, f"{field}: {value}\n")
    for problem in caught.value.problems:
        assert problem.what
        assert problem.remedy
        assert problem.line >= 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_no_bytes_are_an_internal_error(files: Path, content: bytes) -> None:
    path = files / "proxy.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        config.load(str(path))
