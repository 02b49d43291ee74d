"""Every value that reaches a file, a unit, a rule or a URL, as a hostile person would write it.

The table is one of fields and forms: each pair has to be refused by the name of the variable,
before anything is written. The form that is used is the one that is looked at: nothing is trimmed.

A test has all forms of a field and names those that get through: ansible-test starts a process
for each test, which would cost many times what the forms do.
"""

from __future__ import annotations

import json

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.errors import ApiError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.objects import (
    Certificate,
    RevealedToken,
    Tunnel,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.token_store import (
    TokenRequest,
    ensure_token,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import Reply
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import plan
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import make_token
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import DOMAIN, good

KELVIN = "\u212a"  # its lower case is an ASCII k
FULLWIDTH = "\uff11\uff12"  # digits to str.isdecimal() and int()

# Bad forms of a good value: the text around it, or in its place.
AROUND = {
    "newline after": "{}\n",
    "newline before": "\n{}",
    "newline in it": "{}\nExecStartPost=/bin/sh",
    "carriage return": "{}\r",
    "blank after": "{} ",
    "NUL": "{}\0",
    "escape": "{}\x1b[2J",
    "quote": '{}"',
    "apostrophe": "{}'",
    "template": "{}{{{{ lookup('pipe', 'id') }}}}",
    "shell": "{};$(id)",
    "brackets": "{}[trusted=yes]",
    "line separator": "{}\u2028",
    "direction": "\u202e{}",
    "look-alike": "{}" + KELVIN,
    "digits": "{}" + FULLWIDTH,
    "long": "{}" + "a" * 1_000_000,
}
WRONG_TYPES = {
    "nothing": None,
    "list": ["x"],
    "map": {"x": "y"},
    "truth": True,
    "bytes": b"x",
}

# Variable, a good value, and how a value is given to it.
TEXTS = {
    "mcp_tunnel_instance": "default",
    "mcp_tunnel_mode": "manual",
    "mcp_tunnel_domain": DOMAIN,
    "mcp_tunnel_id": "tnl_0123456789",
    "proxy_listen_port": "8080",
    "proxy_admin_port": "8081",
    "cloudflared_metrics_port": "20241",
    "proxy_shutdown_timeout": "30s",
    "cloudflared_grace_period": "30s",
    "mcp_tunnel_cert_duration": "2160h",
    "mcp_tunnel_cert_renew_before": "720h",
    "mcp_tunnel_batch": "50%",
    "proxy_workers": "2",
    "firewall_rollback_timeout": "60",
    "firewall_host_policy": "none",
    "proxy_log_level": "info",
    "cloudflared_loglevel": "info",
    "cloudflared_protocol": "auto",
    "cloudflared_edge_ip_version": "auto",
    "cloudflared_version": "2026.10.0",
    "cloudflared_package_url": "https://pkg.example:8443/cloudflare",
    "cloudflared_package_key_fingerprint": "CC94B39C77AE7342A68B89628A682D308D4E5E73",
    "cloudflared_binary_sha256": "a" * 64,
    "mcp_tunnel_token": make_token(),
}
# Blanks around these values are stripped where the values are used, too.
STRIPPED = {"mcp_tunnel_token", "cloudflared_package_key_fingerprint"}
BLANKS = {"newline after", "newline before", "carriage return", "blank after", "line separator"}


def problems_of(values):
    """Return the preflight's problems, by the name of the variable."""
    problems = plan.check_values(values)
    told = {problem.subject.partition("[")[0] for problem in problems}
    for problem in problems:
        text = str(problem)
        assert len(text) < 40_000, "a message is no place for a megabyte"
        assert not set(text) & set("\0\x1b\r\u2028\u202e"), "nor for what a terminal obeys"
    return told


def forms(value):
    for name, form in AROUND.items():
        yield name, form.format(value)


def accepted(variable, values, **others):
    """Return the names of the *values* that are not refused by the name of the variable."""
    return [
        name
        for name, value in values
        if variable not in problems_of(good(**{**others, variable: value}))
    ]


@pytest.mark.parametrize(("variable", "value"), TEXTS.items())
def test_the_good_values_of_the_table_are_good(variable, value):
    assert problems_of(good(**{variable: value})) == set()


@pytest.mark.parametrize(("variable", "value"), TEXTS.items())
def test_a_hostile_text_is_refused_by_name(variable, value):
    skipped = BLANKS if variable in STRIPPED else set()
    table = [(name, text) for name, text in forms(value) if name not in skipped]
    assert len(table) == len(AROUND) - len(skipped)
    assert accepted(variable, table) == []


@pytest.mark.parametrize("variable", TEXTS)
def test_a_wrong_type_is_refused_by_name(variable):
    # An empty ID is none, and so is a null one to the rules; its type is a rule of its own.
    assert accepted(variable, WRONG_TYPES.items()) == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("proxy_listen_port", "010000"),
        ("proxy_workers", "010"),
        ("proxy_workers", "9" * 5000),
        ("firewall_rollback_timeout", "9" * 5000),
        ("mcp_tunnel_instance", ".."),
        ("mcp_tunnel_instance", "a/../b"),
        ("mcp_tunnel_instance", "a@b"),
        ("mcp_tunnel_instance", "a" * 33),
        ("mcp_tunnel_domain", "10.0.0.1"),
        ("mcp_tunnel_domain", "_x.example"),
        ("mcp_tunnel_id", "tnl_../../x"),
        ("cloudflared_version", "../2026.10.0"),
        ("cloudflared_version", "2026.10.0/../.."),
        ("cloudflared_package_url", "http://pkg.example"),
        ("cloudflared_package_url", "https://user:password@pkg.example"),
        ("cloudflared_package_url", "https://pkg.example/a,https://evil.example"),
        ("cloudflared_package_url", "https://pkg.example/$releasever"),
        ("cloudflared_package_url", "https://pkg.example https://evil.example"),
        ("cloudflared_package_url", "[trusted=yes] https://pkg.example"),
        ("cloudflared_package_url", "file:///tmp"),
        ("cloudflared_package_url", "https://"),
        ("cloudflared_package_url", "https://pkg.example:0/"),
        ("cloudflared_package_url", "https://pkg.example:99999/"),
        ("cloudflared_download_url", "file:///etc"),
        ("cloudflared_download_url", "https://user:password@mirror.example"),
        ("cloudflared_download_url", "https://mirror.example/a\nb"),
        ("cloudflared_package_key_url", "/etc/passwd"),
        ("cloudflared_package_key_url", "https://user@mirror.example/key"),
        ("cloudflared_package_key_fingerprint", "../../../tmp/x"),
        ("proxy_upstream_ca_file", "relative.crt"),
        ("proxy_upstream_ca_file", "/etc/ssl/x.crt\nmore: yes"),
        ("proxy_upstream_ca_file", "/" + "a" * 1_000_000),
        ("proxy_allowed_ips", ["10.0.0.0/255.0.0.0"]),
        ("proxy_allowed_ips", ["10.0.0.0/8\nIPAddressAllow=any"]),
        ("proxy_allowed_ips", ["\uff11\uff10.0.0.0/8"]),
        ("proxy_allowed_ips", ["a" * 1_000_000]),
        ("mcp_tunnel_edge_networks", ["198.41.192.0/19 } ; }"]),
        ("firewall_resolvers", ["10.0.0.53\nIPAddressAllow=any"]),
        ("firewall_admin_users", ['root"; accept; #']),
        ("firewall_admin_users", ["root\n"]),
        ("firewall_ssh_ports", ["022"]),
        ("firewall_ssh_sources", ["10.0.0.0/8; accept"]),
        ("firewall_outbound", [{"protocol": "tcp", "ports": ["443; accept"], "networks": []}]),
        ("proxy_limits", {"max_streams": "\u0665"}),
        ("proxy_limits", {"max_streams": "9" * 5000}),
        ("proxy_timeouts", {"idle": "3s\n"}),
        ("proxy_timeouts", {"x" * 1_000_000: "3s"}),
        ("cloudflared_checksums", {"x86_64": "a" * 64 + "\n"}),
        ("cloudflared_checksums", {"../x": "a" * 64}),
    ],
)
def test_what_is_hostile_to_one_variable(variable, value):
    assert variable in problems_of(good(**{variable: value}))


@pytest.mark.parametrize("url", ["http://127.0.0.1:3142", "http://localhost/x", "https://[::1]/"])
def test_a_repository_of_this_machine_needs_no_tls(url):
    assert problems_of(good(cloudflared_package_url=url)) == set()


def test_a_binary_file_with_a_nul_in_its_name_is_no_file():
    told = problems_of(good(cloudflared_install_method="file", cloudflared_binary_file="/x\0y"))
    assert "cloudflared_binary_file" in told


ROUTE_FORMS = [
    *(text for _name, text in forms("echo")),
    *(text for _name, text in forms(f"echo.{DOMAIN}")),
    "../echo",
    "*",
    "a" * 64,
    1,
    True,
    None,
]


@pytest.mark.parametrize("name", ROUTE_FORMS, ids=range(len(ROUTE_FORMS)))
def test_a_hostile_name_of_a_route_is_refused(name):
    assert "mcp_tunnel_routes" in problems_of(good(mcp_tunnel_routes={name: "http://10.0.0.1:80"}))


UPSTREAMS = [text for _name, text in forms("http://10.0.0.1:8000")]
UPSTREAMS += [f"http://mc{KELVIN}:80", "http://a\x1bb:80", f"http://10.0.0.1:{FULLWIDTH}"]


@pytest.mark.parametrize("upstream", UPSTREAMS, ids=range(len(UPSTREAMS)))
def test_a_hostile_upstream_is_refused(upstream):
    assert "mcp_tunnel_routes" in problems_of(good(mcp_tunnel_routes={"echo": upstream}))


def test_a_route_and_a_domain_that_are_too_long_together():
    domain = ".".join(["x" * 60] * 4)
    told = problems_of(
        good(mcp_tunnel_domain=domain, mcp_tunnel_routes={"e" * 60: "http://10.0.0.1:80"})
    )
    assert told == {"mcp_tunnel_routes"}


WIF = {
    "mcp_tunnel_mode": "wif",
    "mcp_tunnel_domain": "",
    "mcp_tunnel_federation_rule_id": "fdrl_01AbCdEf",
    "mcp_tunnel_organization_id": "6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c",
    "mcp_tunnel_identity": {"source": "gcp"},
}
CONTROL = ("newline in it", "NUL", "escape", "line separator", "direction", "long")
WIF_TABLE = [
    ("mcp_tunnel_federation_rule_id", "fdrl_01AbCdEf", [n for n in AROUND if n not in BLANKS]),
    ("mcp_tunnel_organization_id", WIF["mcp_tunnel_organization_id"], CONTROL[:3]),
    ("mcp_tunnel_service_account_id", "svac_1", [n for n in AROUND if n not in BLANKS]),
    ("mcp_tunnel_workspace_id", "wrkspc_1", [n for n in AROUND if n not in BLANKS]),
    ("mcp_tunnel_id", "tnl_1", list(AROUND)),
    ("mcp_tunnel_display_name", "production", [*CONTROL, "blank after", "newline after"]),
    ("mcp_tunnel_token_version", "2", [*CONTROL, "blank after", "newline after"]),
    ("mcp_tunnel_token_rotate_reason", "quarterly", CONTROL),
    ("mcp_tunnel_api_url", "https://api.example", [*CONTROL, "look-alike"]),
    ("mcp_tunnel_api_proxy", "http://proxy.example:3128", [*CONTROL, "blank after"]),
    ("mcp_tunnel_api_ca_bundle", "/etc/ssl/x", [*CONTROL, "newline after"]),
]


def test_the_good_values_of_mode_wif_are_good():
    assert problems_of(good(**WIF)) == set()


@pytest.mark.parametrize(("variable", "value", "names"), WIF_TABLE)
def test_a_hostile_value_of_mode_wif_is_refused(variable, value, names):
    table = [(name, AROUND[name].format(value)) for name in names]
    assert accepted(variable, table, **WIF) == []


@pytest.mark.parametrize(
    "identity",
    [
        {"source": "gcp", "audience": "x\ny"},
        {"source": "gcp", "audience": "x" * 1_000_000},
        {"source": "file", "file": "/x\0y"},
        {"source": "command", "command": ["/bin/true", "a\nb"]},
        {"source": "gcp", "x\n" + "y" * 1_000_000: "z"},
        {"source": "gcp\n"},
    ],
    ids=range(6),
)
def test_a_hostile_identity_is_refused(identity):
    assert "mcp_tunnel_identity" in problems_of(good(**{**WIF, "mcp_tunnel_identity": identity}))


# The API's fields, which become paths, names and lines.
TUNNEL = {
    "id": "tnl_1",
    "domain": "abcd.tunnel.example",
    "created_at": "2026-11-01T00:00:00Z",
    "workspace_id": "wrkspc_1",
}
CERTIFICATE = {
    "id": "tcrt_1",
    "tunnel_id": "tnl_1",
    "fingerprint": "ab" * 32,
    "created_at": "2026-11-01T00:00:00.123456789+00:00",
    "expires_at": "2031-11-01T00:00:00Z",
}
API_TABLE = [
    (kind, fields, name)
    for kind, fields in ((Tunnel, TUNNEL), (Certificate, CERTIFICATE))
    for name in fields
]


@pytest.mark.parametrize(("kind", "fields"), [(Tunnel, TUNNEL), (Certificate, CERTIFICATE)])
def test_the_good_objects_of_the_api_are_good(kind, fields):
    assert kind.from_api({**fields, "archived_at": None}).public()["id"] == fields["id"]


@pytest.mark.parametrize(("kind", "fields", "name"), API_TABLE)
def test_a_hostile_field_of_the_api_is_refused_by_name(kind, fields, name):
    for form, text in forms(fields[name]):
        told = f"the API's answer about a .*its {name} is"
        with pytest.raises(TunnelError, match=told) as caught:
            kind.from_api({**fields, name: text})
        assert len(str(caught.value)) < 600, form
        assert str(caught.value).isprintable(), form


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Tunnel, {**TUNNEL, "id": "tnl_../../organizations"}),
        (Tunnel, {**TUNNEL, "id": "tcrt_1"}),
        (Tunnel, {**TUNNEL, "domain": "10.0.0.1"}),
        (Tunnel, {**TUNNEL, "domain": "x" * 64 + ".example"}),
        (Tunnel, {**TUNNEL, "archived_at": "yes"}),
        (Tunnel, {**TUNNEL, "archived_at": "2026-99-99T00:00:00Z"}),
        (Certificate, {**CERTIFICATE, "id": ".."}),
        (Certificate, {**CERTIFICATE, "fingerprint": "ab"}),
    ],
)
def test_other_hostile_objects_of_the_api(kind, fields):
    with pytest.raises(TunnelError, match="the API's answer about a"):
        kind.from_api(fields)


def test_a_name_that_somebody_else_gave_his_tunnel_stops_nobody():
    tunnel = Tunnel.from_api({**TUNNEL, "display_name": "a\n\x1b" + "b" * 1_000_000})
    assert len(tunnel.display_name) == 255
    assert "\x1b" not in str(TunnelError("x", f"is named {tunnel.display_name!r}", "y"))


def test_a_token_is_stored_as_it_was_looked_at():
    assert RevealedToken.from_api({"tunnel_token": " x\n"}).value == "x"


def test_a_token_of_a_megabyte_is_refused(tmp_path):
    with pytest.raises(TunnelError, match="too many for a token"):
        ensure_token(
            TokenRequest(str(tmp_path / "s"), False, token="e" * 1_000_000, domain=DOMAIN), False
        )
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tunnel-domain", "x.example\nevil: yes"),
        ("tunnel-domain", "*.example"),
        ("tunnel-domain", f"{KELVIN}.example"),
        ("tunnel-id", "tnl_1/../x"),
        ("tunnel-id", "tnl_1\nx"),
    ],
)
def test_what_a_state_directory_says_is_looked_at(tmp_path, name, content):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "tunnel-token").write_text(make_token())
    (state / "tunnel-domain").write_text(DOMAIN)
    (state / name).write_text(content)
    with pytest.raises(TunnelError, match=f"{name}: is n") as caught:
        ensure_token(TokenRequest(str(state), False), False)
    assert caught.value.subject == str(state / name)
    assert (state / name).read_text() == content


def test_an_error_of_the_api_is_one_line_that_a_terminal_may_show():
    error = {
        "type": "x\n- mcp_tunnel_mode: all is well",
        "message": "\x1b[2J\r\n" + "y" * 1_000_000,
    }
    body = json.dumps({"error": error, "request_id": "r\n\x9b2J"}).encode()
    text = str(ApiError("tunnel x", Reply(400, {}, body)))
    assert text.isprintable(), repr(text)
    assert len(text) < 2000
