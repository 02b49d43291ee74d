from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import plan, settings
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import make_token
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good

SHA256 = "a" * 64


def told(**changes):
    return [str(problem) for problem in plan.check_values(good(**changes))]


def test_certificates_of_upstreams_may_be_several(tmp_path):
    first, second = (openssl.make_ca(tmp_path / name)[0] for name in ("a", "b"))
    assert told(proxy_upstream_ca=f"# a comment\n{first}\n{second}") == []
    assert len(told(proxy_upstream_ca=first + second[:90] + second[99:])) == 1


def test_a_token_file_below_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text(make_token())
    assert told(mcp_tunnel_token_file="~/token") == []


def test_what_an_operator_must_set_is_enough():
    assert told() == []


@pytest.mark.parametrize(
    "changes",
    [
        {
            "mcp_tunnel_routes": {
                "a": "http://10.0.0.1:80",
                "b.abcd1234.tunnel.example": "http://x:1",
            }
        },
        {
            "mcp_tunnel_routes": {"a": "https://10.0.0.1:443"},
            "proxy_upstream_include_system_cas": True,
        },
        {"mcp_tunnel_routes": {"a": "https://x:443"}, "proxy_upstream_ca_file": "/etc/ssl/x.crt"},
        {"mcp_tunnel_routes": {"a": "http://8.8.8.8:80"}, "proxy_allowed_ips": ["8.8.8.0/24"]},
        {"mcp_tunnel_routes": {"a": "http://8.8.8.8:80"}, "proxy_disable_ip_validation": True},
        {"mcp_tunnel_token": make_token()},
        {"mcp_tunnel_encryption_at_rest": "host"},
        {"mcp_tunnel_encryption_at_rest": "auto", "mcp_tunnel_state_host": "localhost"},
        {"mcp_tunnel_id": "tnl_0123456789"},
        {"proxy_listen_port": "9000"},
        {"mcp_tunnel_batch": 2},
        {"mcp_tunnel_batch": "50%", "mcp_tunnel_min_available": "100%"},
        {"proxy_timeouts": {"idle": "1m30s"}, "proxy_limits": {"max_streams": 5}},
        {"cloudflared_version": "2026.11.1", "cloudflared_checksums": {"x86_64": SHA256}},
        {"cloudflared_install_method": "package", "cloudflared_version": "2026.11.1"},
        {
            "cloudflared_install_method": "package",
            "cloudflared_version": "2026.10.2",
            "cloudflared_known_bad": "refuse",
        },
        {"cloudflared_version": "2026.9.3", "cloudflared_known_bad": "accept"},
        {"mcp_tunnel_cert_duration": "30d", "mcp_tunnel_cert_renew_before": "240h"},
    ],
)
def test_good_values(changes):
    assert told(**changes) == []


@pytest.mark.parametrize(
    ("changes", "subject", "what"),
    [
        ({"mcp_tunnel_mode": "auto"}, "mcp_tunnel_mode", "is 'auto'"),
        ({"mcp_tunnel_drain_reason": "two\nlines"}, "mcp_tunnel_drain_reason", "has a line break"),
        ({"mcp_tunnel_drain_reason": "x" * 256}, "mcp_tunnel_drain_reason", "is longer than 255"),
        ({"mcp_tunnel_reboot_timeout": 0}, "mcp_tunnel_reboot_timeout", "is 0"),
        ({"mcp_tunnel_reboot_timeout": "5m"}, "mcp_tunnel_reboot_timeout", "is '5m'"),
        ({"mcp_tunnel_reboot_when": "never"}, "mcp_tunnel_reboot_when", "never"),
        ({"mcp_tunnel_textfile_dir": "a/b"}, "mcp_tunnel_textfile_dir", "an absolute path"),
        ({"mcp_tunnel_drain": "r2"}, "mcp_tunnel_drain", "list"),
        ({"mcp_tunnel_instance": "a/b"}, "mcp_tunnel_instance", "not the name of an instance"),
        ({"mcp_tunnel_instance": "-x"}, "mcp_tunnel_instance", "not the name of an instance"),
        ({"mcp_tunnel_domain": ""}, "mcp_tunnel_domain", "is an empty text"),
        ({"mcp_tunnel_domain": ["x.y"]}, "mcp_tunnel_domain", "is a list of 1"),
        ({"mcp_tunnel_domain": "https://x.y"}, "mcp_tunnel_domain", "not a domain name"),
        ({"mcp_tunnel_id": "nonsense"}, "mcp_tunnel_id", "neither a tunnel ID"),
        ({"mcp_tunnel_routes": ["http://10.0.0.1:80"]}, "mcp_tunnel_routes", "is a list of 1"),
        ({"mcp_tunnel_routes": {}}, "mcp_tunnel_routes", "is a map of 0"),
        ({"mcp_tunnel_routes": None}, "mcp_tunnel_routes", "is nothing"),
        ({"mcp_tunnel_routes": {"a": "http://10.0.0.1"}}, "mcp_tunnel_routes['a']", "invalid"),
        ({"mcp_tunnel_routes": {"a": "http://10.0.0.1:80/"}}, "mcp_tunnel_routes['a']", "invalid"),
        ({"mcp_tunnel_routes": {"a": "ftp://10.0.0.1:80"}}, "mcp_tunnel_routes['a']", "invalid"),
        (
            {"mcp_tunnel_routes": {"a": "http://10.0.0.1:0"}},
            "mcp_tunnel_routes['a']",
            "A port lies",
        ),
        (
            {"mcp_tunnel_routes": {"a": "http://10.0.0.1:70000"}},
            "mcp_tunnel_routes['a']",
            "A port lies between 1 and 65535",
        ),
        ({"mcp_tunnel_routes": {"a": "http://10.0.0.300:80"}}, "mcp_tunnel_routes['a']", "IPv4"),
        ({"mcp_tunnel_routes": {"a": "http://[::1]:80"}}, "mcp_tunnel_routes['a']", "invalid"),
        ({"mcp_tunnel_routes": {"a": 8000}}, "mcp_tunnel_routes['a']", "invalid upstream"),
        (
            {"mcp_tunnel_routes": {"a": "https://x:1"}},
            "mcp_tunnel_routes['a']",
            "Set proxy_upstream_ca (PEM) or proxy_upstream_ca_file (path on the host), or "
            "proxy_upstream_include_system_cas: true.",
        ),
        (
            {"mcp_tunnel_routes": {"a.example.org": "http://x:1"}},
            "mcp_tunnel_routes['a.example.org']",
            "outside mcp_tunnel_domain abcd1234.tunnel.example",
        ),
        ({"mcp_tunnel_routes": {"a": "http://8.8.8.8:80"}}, "mcp_tunnel_routes['a']", "never dial"),
        (
            {"mcp_tunnel_routes": {"a": "http://x:1", "A": "http://x:2"}},
            "mcp_tunnel_routes['a']",
            "the same hostname as another route",
        ),
        ({"proxy_allowed_ips": "10.0.0.0/8"}, "proxy_allowed_ips", "must be a list"),
        ({"proxy_allowed_ips": ["fd00::/8"]}, "proxy_allowed_ips[0]", "not an IPv4"),
        (
            {"proxy_allowed_ips": ["10.0.0.0/8"], "proxy_disable_ip_validation": True},
            "proxy_disable_ip_validation",
            "cannot be combined with proxy_allowed_ips",
        ),
        ({"proxy_upstream_ca": "x"}, "proxy_upstream_ca", "must hold PEM certificates"),
        (
            {"proxy_upstream_ca": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"},
            "proxy_upstream_ca",
            "cannot be read as PEM certificates",
        ),
        ({"mcp_tunnel_batch": 0}, "mcp_tunnel_batch", "is 0"),
        ({"mcp_tunnel_batch": "half"}, "mcp_tunnel_batch", "is 'half'"),
        ({"mcp_tunnel_batch": "0%"}, "mcp_tunnel_batch", "is '0%'"),
        ({"mcp_tunnel_batch": "101%"}, "mcp_tunnel_batch", "is '101%'"),
        ({"mcp_tunnel_min_available": "200%"}, "mcp_tunnel_min_available", "is '200%'"),
        ({"mcp_tunnel_batch": [1, 2]}, "mcp_tunnel_batch", "is a list of 2"),
        ({"mcp_tunnel_batch": True}, "mcp_tunnel_batch", "is a truth value"),
        ({"mcp_tunnel_token_file": "secrets/token"}, "mcp_tunnel_token_file", "not an absolute"),
        ({"proxy_listen_port": 80}, "proxy_listen_port", "must be a port"),
        ({"proxy_listen_port": True}, "proxy_listen_port", "must be a port"),
        ({"proxy_admin_port": 8080}, "proxy_admin_port", "as is proxy_listen_port"),
        ({"cloudflared_metrics_port": 70000}, "cloudflared_metrics_port", "must be a port"),
        ({"proxy_shutdown_timeout": "30"}, "proxy_shutdown_timeout", "be a duration"),
        ({"cloudflared_grace_period": ""}, "cloudflared_grace_period", "not a duration"),
        ({"cloudflared_grace_period": "3m1s"}, "cloudflared_grace_period", "longer than"),
        ({"cloudflared_grace_period": "0.1h"}, "cloudflared_grace_period", "longer than"),
        ({"proxy_timeouts": {"idle": 3}}, "proxy_timeouts['idle']", "be a duration"),
        (
            {"proxy_timeouts": {"idel": "3s"}},
            "proxy_timeouts['idel']",
            "unknown field. Did you mean `proxy_timeouts['idle']`?",
        ),
        ({"proxy_timeouts": ["3s"]}, "proxy_timeouts", "must be a map"),
        ({"proxy_workers": -1}, "proxy_workers", "whole number from 0 to 256, not"),
        ({"proxy_memory_max": "64K"}, "proxy_memory_max", "'64K' is not an amount"),
        ({"proxy_memory_max": "99M"}, "proxy_memory_max", "from 100M on"),
        ({"proxy_memory_max": "100%"}, "proxy_memory_max", "not an amount"),
        ({"proxy_memory_max": "1G\nUser=root"}, "proxy_memory_max", "not an amount"),
        ({"proxy_memory_max": 2048}, "proxy_memory_max", "2048 is not an amount"),
        ({"cloudflared_memory_max": ""}, "cloudflared_memory_max", "not an amount"),
        ({"proxy_workers": 257}, "proxy_workers", "whole number from 0 to 256, not"),
        ({"proxy_limits": {"max_streams": 0}}, "proxy_limits['max_streams']", "whole number"),
        ({"mcp_tunnel_cert_duration": "forever"}, "mcp_tunnel_cert_duration", "not a duration"),
        ({"mcp_tunnel_cert_duration": "700h"}, "mcp_tunnel_cert_renew_before", "not shorter"),
        ({"mcp_tunnel_token": "nonsense"}, "mcp_tunnel_token", "not base64"),
        ({"mcp_tunnel_token": {"a": 1}}, "mcp_tunnel_token", "is a map of 1"),
        ({"mcp_tunnel_token_file": "/nowhere"}, "mcp_tunnel_token_file", "No such file"),
        (
            {"mcp_tunnel_token": make_token(), "mcp_tunnel_token_file": "/x"},
            "mcp_tunnel_token",
            "cannot be combined",
        ),
        ({"cloudflared_install_method": "file"}, "cloudflared_binary_file", "is needed"),
        (
            {"cloudflared_install_method": "file", "cloudflared_binary_file": "/nowhere"},
            "cloudflared_binary_file",
            "not a file on the controller",
        ),
        ({"cloudflared_binary_sha256": "abc"}, "cloudflared_binary_sha256", "3 characters"),
        ({"cloudflared_version": "latest"}, "cloudflared_version", "not a version"),
        ({"cloudflared_version": "2026.11.1"}, "cloudflared_version", "no pinned SHA-256"),
        (
            {"cloudflared_version": "2026.9.3", "cloudflared_known_bad": "refuse"},
            "cloudflared_version",
            "2026.9.3 trusts intermediate certificate authorities of eMudhra",
        ),
        (
            {
                "cloudflared_install_method": "package",
                "cloudflared_version": "2026.10.1",
                "cloudflared_known_bad": "refuse",
            },
            "cloudflared_version",
            "2026.10.1 trusts",
        ),
        ({"cloudflared_checksums": {"armhf": SHA256}}, "cloudflared_checksums['armhf']", "text"),
        ({"cloudflared_checksums": [SHA256]}, "cloudflared_checksums", "must be a map"),
        (
            {"mcp_tunnel_encryption_at_rest": "host", "mcp_tunnel_state_host": "localhost"},
            "mcp_tunnel_encryption_at_rest",
            "the state host is the controller",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_shape_and_a_remedy(changes, subject, what):
    problems = plan.check_values(good(**changes))
    assert [problem.subject for problem in problems] == [subject], told(**changes)
    assert what in str(problems[0])
    assert problems[0].remedy


def test_all_problems_come_at_once():
    subjects = {
        problem.subject
        for problem in plan.check_values(
            good(
                mcp_tunnel_routes=[],
                proxy_listen_port=1,
                mcp_tunnel_token="x",
                mcp_tunnel_domain="",
            )
        )
    }
    assert subjects == {
        "mcp_tunnel_routes",
        "proxy_listen_port",
        "mcp_tunnel_token",
        "mcp_tunnel_domain",
    }


def test_no_secret_in_a_message(tmp_path):
    secret = "c2VjcmV0IHRoYXQgbm9ib2R5IG1heSBzZWU="
    path = tmp_path / "token"
    path.write_text(secret)
    texts = [
        *told(mcp_tunnel_token=secret),
        *told(mcp_tunnel_token_file=str(path)),
        *told(mcp_tunnel_routes={"a": f"http://user:{secret}@x:1"}),
        *told(proxy_upstream_ca=f"-----BEGIN PRIVATE KEY-----\n{secret}"),
    ]
    assert len(texts) >= 4
    assert not [text for text in texts if secret in text]


def machine(**hosts):
    return [
        str(problem)
        for problem in settings.check_machine(
            {name: good(**changes) for name, changes in hosts.items()}
        )
    ]


SECOND = {
    "mcp_tunnel_instance": "second",
    "proxy_listen_port": 9080,
    "proxy_admin_port": 9081,
    "cloudflared_metrics_port": 9241,
}


def test_two_instances_with_their_own_ports_share_a_machine():
    assert machine(a={}, b=SECOND) == []


def test_a_port_that_two_instances_want():
    (problem,) = machine(a={}, b={**SECOND, "proxy_admin_port": 8080})
    assert problem.startswith("port 8080: used twice on one machine")
    assert "a (proxy_listen_port)" in problem
    assert "b (proxy_admin_port)" in problem


def test_one_instance_twice_on_a_machine():
    problems = machine(a={}, b={**SECOND, "mcp_tunnel_instance": "default"})
    assert ["'default' is deployed twice" in problem for problem in problems] == [True]


def test_instances_on_a_machine_share_cloudflared():
    (problem,) = machine(a={}, b={**SECOND, "cloudflared_version": "2026.9.3"})
    assert problem.startswith("cloudflared_version: differs between a and b")


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("backup_recipients", ["age1x"], "[0]: is no public key of age"),
        ("backup_recipients", [f"AGE-SECRET-KEY-1{'Q' * 58}"], "[0]: is a private key"),
        ("backup_recipients", ["me@example.net"], "[0]: is 'me@example.net', no public key"),
        ("backup_dest", "backups", ": must be an absolute path"),
        ("backup_file", "default.age", ": must be an absolute path"),
        ("backup_identity_file", f"AGE-SECRET-KEY-1{'Q' * 58}", ": must be an absolute path"),
        ("textfile_dir", "textfiles", ": must be an absolute path"),
    ],
)
def test_values_about_copies_that_are_refused(variable, value, problem):
    (text,) = told(**{f"mcp_tunnel_{variable}": value})
    assert text.startswith(f"mcp_tunnel_{variable}{problem}")
    assert "QQQQ" not in text


def test_values_about_copies():
    recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
    paths = {"backup_dest": "~/backups", "backup_file": "/a.age", "textfile_dir": "/var/lib/x"}
    values = {"backup_recipients": [recipient], **paths, "backup_identity_file": "/run/key"}
    assert told(**{f"mcp_tunnel_{name}": value for name, value in values.items()}) == []
