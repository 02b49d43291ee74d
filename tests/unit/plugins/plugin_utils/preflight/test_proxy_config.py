"""The proxy's file as the preflight writes it; its problems become problems of variables."""

from __future__ import annotations

import importlib
import shutil
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.mcp_tunnels.stack.plugins.filter.with_domain import with_domain
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import plan, proxy_config
from ansible_collections.mcp_tunnels.stack.proxy_src.src.mcp_proxy.config.model import RouteOptions
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import DOMAIN, good

COLLECTION = Path(__file__).resolve().parents[5]
WIF = {
    "mcp_tunnel_mode": "wif",
    "mcp_tunnel_domain": "",
    "mcp_tunnel_federation_rule_id": "fdrl_01AbCdEf",
    "mcp_tunnel_organization_id": "6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c",
    "mcp_tunnel_identity": {"source": "gcp"},
}


def made(**changes):
    """Return the plan of a host."""
    return plan.make_plan(good(**changes), ["a"], "a")


def document(**changes):
    """Return the proxy's file of a host, as YAML reads it."""
    return yaml.safe_load(made(**changes)["proxy_config"])


def told(**changes):
    return [str(problem) for problem in plan.check_values(good(**changes))]


def test_the_whole_file_of_a_host():
    changes = {
        "mcp_tunnel_instance": "second",
        "mcp_tunnel_routes": {"wiki": "https://wiki.corp:8443", "echo": "http://10.0.0.1:80"},
        "proxy_listen_port": "9080",
        "proxy_log_level": "debug",
        "proxy_access_log": True,
        "proxy_workers": "2",
        "proxy_shutdown_timeout": "1m30s",
        "proxy_allowed_ips": ["10.0.0.0/8"],
        "proxy_rewrite_host": True,
        "proxy_upstream_ca": "a certificate",
        "proxy_timeouts": {"idle": "10m"},
        "proxy_limits": {"max_streams": 7},
        "proxy_settings": {"tls.poll_interval": "1m"},
    }
    config = "/etc/mcp-tunnel/second"
    assert document(**changes) == {
        "listen_addr": "127.0.0.1:9080",
        "admin_addr": "127.0.0.1:8081",
        "log_level": "debug",
        "access_log": True,
        "workers": "2",
        "shutdown_timeout": "1m30s",
        "tunnel_domain": DOMAIN,
        "tls": {
            "cert_file": f"{config}/tls/tls.crt",
            "key_file": f"{config}/tls/tls.key",
            "poll_interval": "1m",
        },
        "routes": {"wiki": "https://wiki.corp:8443", "echo": "http://10.0.0.1:80"},
        "upstream": {
            "allowed_ips": ["10.0.0.0/8"],
            "disable_ip_validation": False,
            "rewrite_host": True,
            "tls": {"ca_file": f"{config}/upstream-ca.crt", "include_system_cas": False},
        },
        "timeouts": {"idle": "10m"},
        "limits": {"max_streams": 7},
        "metrics": {
            "firewall_counters_file": "/run/mcp-tunnel/firewall-counters.json",
            "connections_file": "/run/mcp-tunnel/connections-second.json",
        },
    }


def test_the_order_of_an_inventory_does_not_change_the_file():
    routes = {"wiki": "http://w:1", "echo": "http://e:1"}
    turned = dict(reversed(routes.items()))
    assert made(mcp_tunnel_routes=routes) == made(mcp_tunnel_routes=turned)


def test_a_file_that_is_on_the_hosts_already():
    ca_file = document(proxy_upstream_ca_file="/etc/ssl/corp.pem")["upstream"]["tls"]["ca_file"]
    assert ca_file == "/etc/ssl/corp.pem"


def test_the_certificates_themselves_are_not_in_the_file():
    assert "BEGIN" not in made(proxy_upstream_ca="-----BEGIN CERTIFICATE-----")["proxy_config"]


def test_names_as_the_proxy_takes_them():
    routes = {"Echo.": "http://Tools.Corp:080", f"WIKI.{DOMAIN}.": "http://w:1"}
    planned = made(mcp_tunnel_domain=f"{DOMAIN.upper()}.", mcp_tunnel_routes=routes)
    assert planned["domain"] == DOMAIN
    assert planned["routes"] == {"echo": "http://tools.corp:80", f"wiki.{DOMAIN}": "http://w:1"}


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("100us", 1), ("1m30.5s", 91), ("0s", 0), ("", 30)]
)
def test_systemd_gets_whole_seconds(text, seconds):
    assert made(proxy_shutdown_timeout=text)["proxy_shutdown_seconds"] == seconds


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"proxy_limits": {"max_stream": 5}},
            "proxy_limits['max_stream']: unknown field. Did you mean "
            "`proxy_limits['max_streams']`? Otherwise leave it out.",
        ),
        (
            {"proxy_timeouts": {"idle": "0s"}},
            "proxy_timeouts['idle']: must be longer than 0s. The default is 300s.",
        ),
        (
            {"mcp_tunnel_routes": {f"a..{DOMAIN}": "http://x:1"}},
            f"mcp_tunnel_routes['a..{DOMAIN}']: not a hostname. Use a subdomain",
        ),
        (
            {"mcp_tunnel_routes": {"limits": "http://limits:0"}},
            "mcp_tunnel_routes['limits']: invalid upstream (must be scheme://host:port): "
            "'http://limits:0'.",
        ),
        (
            {"proxy_allowed_ips": ["10.0.0.0/8", "x"]},
            "proxy_allowed_ips[1]: not an IPv4 address or network: 'x'. Write e.g. 10.1.2.3",
        ),
        (
            {"proxy_upstream_ca_file": ["/x"]},
            "proxy_upstream_ca_file: must be an absolute path, is a list of 1",
        ),
        (
            {"mcp_tunnel_routes": {"echo": "http://x:1", f"echo.{DOMAIN}": "http://y:1"}},
            f"mcp_tunnel_routes['echo.{DOMAIN}']: means the same hostname as 'echo'",
        ),
        (
            {**WIF, "mcp_tunnel_routes": {f"echo.{DOMAIN}": "http://x:1"}},
            f"mcp_tunnel_routes['echo.{DOMAIN}']: is a full name, and the tunnel's domain is not",
        ),
        (
            {"mcp_tunnel_domain": "localhost"},
            "mcp_tunnel_domain: not a domain name: 'localhost'. Write e.g. abcd1234",
        ),
        (
            {"mcp_tunnel_routes": {"echo": "x" * 5000}},
            "mcp_tunnel_routes['echo']: has a text of 5000 characters. Give one of at most 4096",
        ),
        (
            {"proxy_settings": {"tls.poll_interval": "x" * 5000}},
            "proxy_settings['tls.poll_interval']: has a text of 5000 characters. Give one of at",
        ),
        (
            {"proxy_settings": {"tls.poll_interval": "0s"}},
            "proxy_settings['tls.poll_interval']: must be longer than 0s. The default is 5s.",
        ),
        (
            {"proxy_settings": {"tls.pol_interval": "1s"}},
            "proxy_settings['tls.pol_interval']: unknown field. Did you mean `tls.poll_interval`?",
        ),
        (
            {"proxy_settings": {"upstream.rewrite_hots": True}},
            "proxy_settings['upstream.rewrite_hots']: unknown field. Did you mean "
            "`proxy_rewrite_host`? Otherwise leave it out.",
        ),
        (
            {"proxy_settings": {"upstream.rewrite_host": True}},
            "proxy_settings['upstream.rewrite_host']: has a variable of its own. "
            "Set proxy_rewrite_host.",
        ),
        (
            {"proxy_settings": {"limits.max_streams": 7}},
            "proxy_settings['limits.max_streams']: has a variable of its own. Set proxy_limits.",
        ),
        (
            {"proxy_settings": {"tls.cert_file": "/x"}},
            "proxy_settings['tls.cert_file']: is set already. Leave it out.",
        ),
        (
            {"proxy_settings": {"tls": {"poll_interval": "1s"}}},
            "proxy_settings['tls']: is set already. Name its fields one by one, like `tls.NAME`.",
        ),
        (
            {"proxy_settings": {"TLS/poll": "1s"}},
            "proxy_settings['TLS/poll']: is no field's name. Write it like `tls.poll_interval`.",
        ),
        ({"proxy_settings": {".".join(["a"] * 5000): 1}}, "proxy_settings['a.a.a."),
        (
            {"proxy_settings": {"zzz": 1}},
            "proxy_settings['zzz']: unknown field. Known here: proxy_access_log, proxy_admin_port, "
            "proxy_limits, proxy_listen_port,",
        ),
        (
            {"mcp_tunnel_route_options": {"echo": {"timeout": {}}}},
            "mcp_tunnel_route_options['echo.timeout']: unknown field. Did you mean "
            "`mcp_tunnel_route_options['echo.timeouts']`? Otherwise leave it out.",
        ),
        (
            {"mcp_tunnel_route_options": {"echo": {"timeouts": 3}}},
            "mcp_tunnel_route_options['echo.timeouts']: must be a map of fields, not a single "
            "value. Write `mcp_tunnel_route_options['echo.timeouts']:` and below it, indented,",
        ),
        (
            {"mcp_tunnel_route_options": {"echo": {"timeouts": {"header": "3s"}}}},
            "mcp_tunnel_route_options['echo.timeouts.header']: runs before the route is known. "
            "Set proxy_timeouts['header'], for all routes.",
        ),
        (
            {
                "mcp_tunnel_routes": {"limits": "http://x:1", "log_level": "http://y:1"},
                "mcp_tunnel_route_options": {"echo": {}},
            },
            "mcp_tunnel_route_options['echo']: no such route. Use one of 'limits', 'log_level'.",
        ),
        *(
            (
                {"mcp_tunnel_routes": {"echo": f"https://{host}:1"}},
                f"mcp_tunnel_routes['echo']: https://{host}:1 is https, but nothing says whom to "
                "trust. Set proxy_upstream_ca (PEM) or proxy_upstream_ca_file (path on the host), "
                "or proxy_upstream_include_system_cas: true.",
            )
            for host in ("timeouts", "log_level", "eu-limits.corp")
        ),
        ({"proxy_settings": "a=b"}, "proxy_settings: must be a map, is a text of 3 characters."),
    ],
)
def test_a_problem_is_one_of_the_variable(changes, expected):
    (text,) = told(**changes)
    assert text.startswith(expected)


def test_the_options_of_a_route_are_listed_by_their_own_names():
    (text,) = told(mcp_tunnel_route_options={"echo": {"zzz": 1}})
    known = text.partition("Known here: ")[2].rstrip(".").split(", ")
    assert set(known) == {item.name for item in fields(RouteOptions)} - {"tls"}


@pytest.mark.parametrize(
    "upstream",
    ["http://user:pa55@x:1", "http:/user:pa55@x:1", "user:pa55@x:1", "http://x/user:pa55@y:1"],
)
def test_a_password_in_an_upstream_is_not_shown(upstream):
    (text,) = told(mcp_tunnel_routes={"echo": upstream})
    assert "invalid upstream" in text
    assert "pa55" not in text


def test_a_domain_that_the_api_says_later():
    planned = made(**WIF)
    assert told(**WIF) == []
    assert planned["domain"] == ""
    assert "tunnel_domain" not in yaml.safe_load(planned["proxy_config"])
    later = with_domain(planned, DOMAIN)
    assert later["domain"] == DOMAIN
    assert later["proxy_config"] == made()["proxy_config"], "the same file, to the byte"
    further = {"proxy_settings": {"tls.poll_interval": "1m"}}
    later = with_domain(made(**WIF, **further), DOMAIN)
    assert later["proxy_config"] == made(**further)["proxy_config"], "the same file, to the byte"
    assert with_domain(planned, "") == planned
    assert with_domain(later, "other.example") == later


def test_a_domain_of_the_api_that_the_proxy_refuses():
    with pytest.raises(AnsibleFilterError, match="mcp_tunnel_domain: not a domain name"):
        with_domain(made(**WIF), "localhost")


@pytest.fixture
def newer_proxy(tmp_path, monkeypatch):
    """The proxy's code with new fields, as a later version may have them."""
    source = COLLECTION / "proxy_src/src/mcp_proxy"
    shutil.copytree(source, tmp_path / "newer_proxy")
    for old, new in (
        ("    max_streams: int = 128\n", "    max_streams: int = 128\n    max_fresh: int = 7\n"),
        ("    idle: float = 300.0\n", "    idle: float = 300.0\n    fresh: float = 7.0\n"),
        (
            '    "max_streams": (1, 1000),\n',
            '    "max_streams": (1, 1000),\n    "max_fresh": (1, 9),\n',
        ),
        (
            "    poll_interval: float = 5.0\n",
            "    poll_interval: float = 5.0\n    is_fresh: bool = False\n",
        ),
        (
            'section.seconds("poll_interval", Tls.poll_interval))\n',
            'section.seconds("poll_interval", Tls.poll_interval), section.flag("is_fresh"))\n',
        ),
    ):
        holders = [p for p in (tmp_path / "newer_proxy").rglob("*.py") if old in p.read_text()]
        assert len(holders) == 1, old
        holders[0].write_text(holders[0].read_text().replace(old, new))
    monkeypatch.syspath_prepend(tmp_path)
    relative = proxy_config.proxy.__name__.partition(".mcp_proxy.")[2]
    monkeypatch.setattr(proxy_config, "proxy", importlib.import_module(f"newer_proxy.{relative}"))
    yield
    for name in [name for name in sys.modules if name.startswith("newer_proxy")]:
        del sys.modules[name]


def test_a_new_field_of_the_proxy_needs_no_change_of_the_preflight(newer_proxy):
    changes = {"proxy_limits": {"max_fresh": 3}, "proxy_timeouts": {"fresh": "3s"}}
    assert told(**changes) == []
    assert document(**changes)["limits"] == {"max_fresh": 3}
    assert document(**changes)["timeouts"] == {"fresh": "3s"}
    changes = {"proxy_settings": {"tls.is_fresh": True}}
    assert told(**changes) == []
    assert document(**changes)["tls"]["is_fresh"] is True
    (text,) = told(proxy_settings={"tls.is_fresh": "maybe"})
    assert text.startswith("proxy_settings['tls.is_fresh']: must be true or false, not 'maybe'")
    (text,) = told(proxy_limits={"max_fresh": 99})
    assert text.startswith(
        "proxy_limits['max_fresh']: must be a whole number from 1 to 9, not '99'"
    )


def test_a_field_that_the_proxy_does_not_have():
    assert told(proxy_limits={"max_fresh": 3}) != []
    assert told(proxy_settings={"tls.is_fresh": True}) != []


def test_every_field_has_one_way_to_it():
    """A field of the file has a variable, or is the collection's, or is left to proxy_settings."""
    flat = {f"{section}.{name}" for section in ("tls", "metrics") for name in document()[section]}
    for field in {*proxy_config.FIELDS, *flat}:
        assert len(told(proxy_settings={field: "x"})) == 1, field
