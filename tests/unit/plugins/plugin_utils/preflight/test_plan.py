from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import dialling
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import neighbours
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    plan,
    proxy_config,
    role_options,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import make_token
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good

ROLES = Path(__file__).resolve().parents[5] / "roles"
SECOND = {
    "mcp_tunnel_instance": "second",
    "proxy_listen_port": 9080,
    "proxy_admin_port": 9081,
    "cloudflared_metrics_port": 9241,
}

OPENING = {"protocol": "tcp", "ports": [443], "networks": ["203.0.113.0/24"]}


def told(hosts, machines=None):
    """Return the problems of each host; *hosts* is name to changed variables."""
    group = {name: good(**changes) for name, changes in hosts.items()}
    where = {name: ((machines or {}).get(name, name), "22") for name in hosts}
    beside = neighbours.check(group, where)
    return [
        str(item)
        for name, values in group.items()
        for item in (*plan.check_values(values), *beside[name])
    ]


def test_two_instances_on_one_machine():
    assert told({"a": {}, "b": SECOND}, {"b": "a"}) == []


def sharing(hosts, machines):
    """Return the problems of hosts (name to changed variables) that were looked at."""
    group = {name: good(**changes) for name, changes in hosts.items()}
    return [str(problem) for problem in neighbours.check_machines(group, machines)]


def test_two_names_of_one_machine():
    first, *others = sharing({"a": {}, "b": {}, "c": {}}, {"a": "x", "b": "x", "c": "y"})
    assert first.startswith("port 8080: used twice on one machine: by a (proxy_listen_port) and b")
    assert "own three ports" in first
    assert "'default' is deployed twice" in others[-1]


def test_instances_that_share_a_machine_by_another_name():
    assert sharing({"a": {}, "b": SECOND, "c": {}}, {"a": "x", "b": "x", "c": "y"}) == []


def test_a_host_that_was_not_looked_at():
    assert sharing({"a": {}, "b": {}}, {"a": "x"}) == []


def test_a_host_is_asked_about_the_files_for_tls():
    pair = {"client_cert": "/etc/x/wiki.crt", "client_key": "/etc/x/wiki.key"}
    variables = good(
        mcp_tunnel_routes={"Wiki": "https://wiki.corp:443", "plain": "http://10.0.0.1:80"},
        mcp_tunnel_route_options={"wiki.": pair, "plain": {"spread": True}},
        proxy_upstream_ca_file="/etc/ssl/corp.pem",
    )
    assert [str(problem) for problem in plan.check_values(variables)] == []
    assert plan.make_plan(variables, ["a"], "a")["host_check"]["tls_files"] == [
        {"route": "", "client_cert": "", "client_key": "", "ca_file": "/etc/ssl/corp.pem"},
        {"route": "wiki", **pair, "ca_file": ""},
    ]
    assert plan.make_plan(good(), ["a"], "a")["host_check"]["tls_files"] == []


@pytest.mark.parametrize(
    "variable", ["proxy_listen_port", "proxy_admin_port", "cloudflared_metrics_port"]
)
def test_two_instances_on_one_port(variable):
    second = {name: value for name, value in SECOND.items() if name != variable}
    assert "used twice on one machine" in told({"a": {}, "b": second}, {"b": "a"})[0]
    assert told({"a": {}, "b": second}) == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("firewall_audit", True),
        ("firewall_resolvers", ["10.0.0.53"]),
        ("firewall_admin_users", ["prometheus"]),
        ("firewall_host_policy", "strict"),
        ("firewall_ssh_sources", ["198.51.100.0/24"]),
        ("firewall_ssh_ports", [2222]),
        ("firewall_api_networks", []),
        ("firewall_inbound", [OPENING]),
        ("firewall_outbound", [OPENING]),
    ],
)
def test_instances_on_one_machine_share_its_firewall(variable, value):
    first = {"firewall_ssh_sources": ["203.0.113.0/24"]}
    second = {**SECOND, **first, variable: value}
    (text,) = {*told({"a": first, "b": second}, {"b": "a"})}
    assert text.startswith(f"{variable}: differs between a and b, which are one machine. Instances")
    assert sharing({"a": first, "b": second}, {"a": "x", "b": "x"}) == [text]
    assert told({"a": first, "b": second}) == []


def test_the_time_to_roll_back_is_of_a_run():
    second = {**SECOND, "firewall_rollback_timeout": 30}
    assert told({"a": {}, "b": second}, {"b": "a"}) == []


@pytest.mark.parametrize("text", ["true", "yes"])
def test_a_truth_value_that_another_host_has_as_text(text):
    """An inventory in INI format has only texts."""
    assert neighbours.compared({"firewall_audit": text})["firewall_audit"] is True


def test_a_host_is_told_what_its_routes_let_through():
    options = {
        "Echo": {"paths": ["/mcp"], "max_in_flight": 5},
        "wiki": {"methods": ["POST", "GET"], "paths": ["/a", "/b"]},
        "others": {"rate": "1/s", "maintenance": True},
    }
    routes = dict.fromkeys(("echo", "wiki", "others", "usual"), "http://10.0.0.1:80")
    values = good(mcp_tunnel_routes=routes, mcp_tunnel_route_options=options)
    assert plan.make_plan(values, ["a"], "a")["route_options"] == {
        "echo": {"paths": ["/mcp"], "methods": []},
        "wiki": {"paths": ["/a", "/b"], "methods": ["POST", "GET"]},
    }


def test_what_the_host_is_asked_about_the_firewall():
    asked = plan.make_plan(
        good(
            mcp_tunnel_routes={"echo": "http://Tools.Corp:8000"},
            firewall_resolvers=["10.0.0.53"],
            firewall_admin_users=["prometheus"],
            firewall_outbound=[{**OPENING, "user": "backup"}],
        ),
        ["a"],
        "a",
    )["host_check"]["firewall"]
    assert asked == {
        "resolvers": ["10.0.0.53"],
        "users": [
            {"variable": "firewall_admin_users", "name": "prometheus"},
            {"variable": "firewall_outbound[0]", "name": "backup"},
        ],
        "upstreams": [
            {
                "variable": "mcp_tunnel_routes['echo']",
                "name": "tools.corp",
                "networks": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],
            }
        ],
    }


@pytest.mark.parametrize(
    ("variable", "value"),
    [("mcp_tunnel_domain", "other.example.org"), ("mcp_tunnel_state_host", "localhost")],
)
def test_replicas_of_one_instance_agree(variable, value):
    first, second = told({"a": {}, "b": {variable: value}})
    assert first.startswith(f"{variable}: differs between a and b")
    assert second.startswith(f"{variable}: differs between b and a")
    assert told({"a": {}, "b": {**SECOND, variable: value}}) == []


def test_the_state_host_is_known():
    for state_host in ("localhost", "b"):
        shared = {"mcp_tunnel_state_host": state_host}
        assert told({"a": shared, "b": shared}) == []
    (text,) = told({"a": {"mcp_tunnel_state_host": "z"}})
    assert "'z' is neither localhost nor one of the replicas" in text


WIF = {"mcp_tunnel_mode": "wif", "mcp_tunnel_domain": ""}


@pytest.mark.parametrize(
    ("variable", "value"), [("mcp_tunnel_id", "tnl_0123456789"), ("mcp_tunnel_display_name", "x")]
)
def test_instances_are_tunnels_of_their_own(variable, value):
    second = {"mcp_tunnel_instance": "second"}
    found = told({"a": {**WIF, variable: value}, "b": {**WIF, **second, variable: value}})
    assert [text for text in found if f"{variable}: is also that of another instance, on b" in text]
    found = told({"a": {**WIF, variable: value}, "b": {**WIF, **second}})
    assert not [text for text in found if "another instance" in text]


def test_the_renewal_timer_needs_a_replica_that_holds_the_ca():
    timer = {"mcp_tunnel_cert_renew_timer": True}
    assert told({"a": timer, "b": timer}) == []
    assert told({"a": {**timer, "mcp_tunnel_state_host": "a"}}) == []
    elsewhere = {"mcp_tunnel_state_host": "localhost"}
    both = told({"a": {**timer, **elsewhere}, "b": {**timer, **elsewhere}})
    assert len(both) == 2
    for text in both:
        assert text.startswith(
            "mcp_tunnel_cert_renew_timer: no replica holds the CA: the state host is"
        )
        assert "Make a replica the state host (a, b)" in text
        assert "run renew_cert.yml from a scheduler of your own" in text
    # The replica of another instance does not hold this one's CA.
    (text,) = told({"a": {}, "b": {**SECOND, **timer, "mcp_tunnel_state_host": "a"}})
    assert "(b)" in text


def test_replicas_of_one_tunnel_renew_all_or_none():
    found = told({"a": {"mcp_tunnel_cert_renew_timer": True}, "b": {}})
    assert [text.split(" between")[0] for text in found] == [
        "mcp_tunnel_cert_renew_timer: differs"
    ] * 2


def test_replicas_of_one_tunnel_encrypt_all_or_none():
    found = told({"a": {"mcp_tunnel_encryption_at_rest": "host"}, "b": {}})
    assert [text.split(" between")[0] for text in found] == [
        "mcp_tunnel_encryption_at_rest: differs"
    ] * 2


@pytest.mark.parametrize(
    ("changes", "machine", "text"),
    [
        ({}, "b", ""),
        ({}, "10.0.0.2", ""),
        ({}, "fd00::2", ""),
        ({"mcp_tunnel_ssh_address": "10.0.0.2", "mcp_tunnel_ssh_port": 2222}, "not_a_name", ""),
        ({}, "not_a_name", "mcp_tunnel_ssh_address: 'not_a_name' is no address"),
        ({}, "/var/lib/machines/b", "mcp_tunnel_ssh_address: "),
        ({"mcp_tunnel_ssh_address": "10.0.0.2; accept"}, "b", "mcp_tunnel_ssh_address: "),
        ({"mcp_tunnel_ssh_address": "fe80::1%eth0"}, "b", "mcp_tunnel_ssh_address: "),
        ({"mcp_tunnel_ssh_address": "x\nProxyCommand sh"}, "b", "mcp_tunnel_ssh_address: "),
        ({"mcp_tunnel_ssh_port": 70000}, "b", "mcp_tunnel_ssh_port: '70000' is no port"),
    ],
)
def test_replicas_that_renew_have_to_find_each_other(changes, machine, text):
    timer = {"mcp_tunnel_cert_renew_timer": True}
    found = told({"a": timer, "b": {**timer, **changes}}, {"b": machine})
    assert len(found) == bool(text)
    assert all(each.startswith(text) for each in found)
    # A single replica asks itself.
    assert told({"b": {**timer, **changes}}, {"b": machine}) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"cloudflared_protocol": "udp"}, "cloudflared_protocol: is 'udp'. Use one of auto,"),
        (
            {"mcp_tunnel_health_timeout": "soon"},
            "mcp_tunnel_health_timeout: must be a whole number",
        ),
        ({"proxy_rewrite_host": "perhaps"}, "proxy_rewrite_host: must be true or false"),
        (
            {"mcp_tunnel_cert_renew_timer": "daily"},
            "mcp_tunnel_cert_renew_timer: must be true or false",
        ),
    ],
)
def test_types_and_choices_are_those_that_the_roles_declare(changes, text):
    (problem,) = told({"a": changes})
    assert problem.startswith(text)


def test_templates_take_truth_values_from_the_plan_only():
    """The variable itself may be the text "false", which is true to Jinja."""
    switches = plan.make_plan(good(), ["a"], "a")["switches"]
    assert "proxy_disable_ip_validation" in switches
    # In the role awx, names of variables are data: the questions of surveys.
    files = [
        path
        for role in role_options.ROLES
        for path in (ROLES / role).rglob("*")
        if path.parent.name in ("tasks", "templates", "vars")
    ]
    files += (ROLES.parent / "playbooks").rglob("*.yml")
    text = "".join(path.read_text() for path in files)
    for name in switches:
        # Names in a message or a comment are the exception.
        read = re.findall(rf"([\w.]*)(?<!\w){name}(?![\w:=])", text)
        assert set(read) <= {"mcp_tunnel_plan.switches."}, name


@pytest.mark.parametrize("name", sorted({*proxy_config.FIELDS.values()} - {"proxy_workers"}))
def test_what_the_plan_has_is_read_from_the_plan(name):
    """The variables themselves might have another value: not trimmed, or not judged."""
    read = [
        f"{path.relative_to(ROLES)}: {line.strip()}"
        for path in [*ROLES.rglob("*.yml"), *ROLES.rglob("*.j2")]
        if path.parent.name in ("tasks", "templates", "vars")
        for line in path.read_text().splitlines()
        if re.search(rf"^[^#]*(?<![.\w']){name}(?![\w:'])", line)
    ]
    assert read == []


SECRETS = {
    "token": make_token(),
    "key": "-----BEGIN PRIVATE KEY-----\nMIGHsecretkeybody\n-----END PRIVATE KEY-----\n",
    "cut key": "-----BEGIN EC PRIVATE KEY-----\nMIGHsecretkeybody",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("name", [*role_options.options(), "mcp_tunnel_batch"])
def test_a_secret_in_a_wrong_variable_is_not_shown(name, secret):
    for value in (secret, [secret], {secret: secret}, {"echo": secret}):
        text = "\n".join(told({"a": {name: value, "cloudflared_install_method": "file"}}))
        assert [
            part for part in (secret[:40], secret[60:80], "keybody") if part and part in text
        ] == []


@pytest.mark.parametrize("name", role_options.defaults())
def test_no_value_is_none_of_the_values(name):
    text = "\n".join(told({"a": {name: None}}))
    assert f"{name}: " in text


def test_a_brought_binary_with_another_sum(tmp_path):
    (tmp_path / "cloudflared").write_bytes(b"x")
    brought = {
        "cloudflared_install_method": "file",
        "cloudflared_binary_file": str(tmp_path / "cloudflared"),
    }
    right = hashlib.sha256(b"x").hexdigest().upper()
    assert told({"a": {**brought, "cloudflared_binary_sha256": right}}) == []
    (text,) = told({"a": {**brought, "cloudflared_binary_sha256": "a" * 64}})
    assert text.startswith("cloudflared_binary_file ")
    assert "cloudflared_binary_sha256 says aaaa" in text


def test_a_wrong_type_of_a_secret_is_told_without_it():
    secret = ["-----BEGIN PRIVATE KEY-----"]
    text = " ".join(told({"a": {"mcp_tunnel_ca_key": secret, "mcp_tunnel_token": secret}}))
    assert "mcp_tunnel_ca_key: must be PEM text, is a list of 1" in text
    assert "PRIVATE" not in text


def brought(**variables):
    """Return the problems of brought credentials; the names lack mcp_tunnel_."""
    return "\n".join(told({"a": {f"mcp_tunnel_{name}": v for name, v in variables.items()}}))


def test_a_brought_ca(openssl_ca):
    assert brought(ca_cert=openssl_ca[0], ca_key=openssl_ca[1]) == ""


def test_a_brought_ca_without_its_key(openssl_ca):
    output = brought(ca_cert=openssl_ca[0])
    assert "mcp_tunnel_ca_cert: cannot sign" in output


SIGNER = {"source": "command", "command": ["/usr/local/bin/sign-csr"]}


def test_a_signer_has_the_key_of_a_brought_ca(openssl_ca):
    assert brought(ca_cert=openssl_ca[0], signer=SIGNER) == ""
    assert brought(ca_cert=openssl_ca[0], signer=SIGNER, cert_renew_timer=True) == ""


def test_a_signer_without_its_ca_or_beside_another_source(openssl_ca):
    assert brought(signer=SIGNER).startswith("mcp_tunnel_signer: signs for a CA that is not known")
    text = brought(ca_cert=openssl_ca[0], ca_key=openssl_ca[1], signer=SIGNER)
    assert text.startswith("mcp_tunnel_ca_key: does not go with mcp_tunnel_signer")
    pair = {"server_cert": "x", "server_key": "y"}
    text = brought(ca_cert=openssl_ca[0], signer=SIGNER, **pair)
    assert "mcp_tunnel_server_cert: does not go with" in text
    assert "mcp_tunnel_server_key: does not go with" in text


def test_a_wrong_signer(openssl_ca):
    text = brought(ca_cert=openssl_ca[0], signer={**SIGNER, "source": "pigeon"})
    assert text.startswith("mcp_tunnel_signer['source']: is 'pigeon'")


def test_replicas_have_one_signer(openssl_ca):
    given = {"mcp_tunnel_ca_cert": openssl_ca[0]}
    found = told({"a": {**given, "mcp_tunnel_signer": SIGNER}, "b": given})
    assert "mcp_tunnel_signer: differs between a and b" in "\n".join(found)


def test_a_brought_ca_that_breaks_a_requirement(tmp_path):
    certificate, key = openssl.make_ca(tmp_path / "ca", extensions={"subjectKeyIdentifier": "none"})
    output = brought(ca_cert=certificate, ca_key=key)
    assert "mcp_tunnel_ca_cert: it has no SubjectKeyIdentifier" in output


def test_the_key_of_another_ca(openssl_ca):
    output = brought(ca_cert=openssl_ca[0], ca_key=openssl.make_key())
    assert "mcp_tunnel_ca_key: does not belong to" in output


def test_a_brought_server_certificate(tmp_path, openssl_ca):
    certificate, key = openssl.make_server(tmp_path / "server", openssl_ca)
    pair = {"server_cert": certificate, "server_key": key}
    assert brought(ca_cert=openssl_ca[0], **pair) == ""
    text = brought(ca_cert=openssl_ca[0], **pair, cert_renew_timer=True)
    assert text.startswith("mcp_tunnel_cert_renew_timer: cannot renew mcp_tunnel_server_cert")
    assert "mcp_tunnel_routes: must be a map" in brought(ca_cert=openssl_ca[0], **pair, routes=None)


def test_a_server_certificate_of_another_ca(tmp_path, openssl_ca):
    other = openssl.make_ca(tmp_path / "other")
    certificate, key = openssl.make_server(tmp_path / "server", other)
    output = brought(ca_cert=openssl_ca[0], server_cert=certificate, server_key=key)
    assert "mcp_tunnel_server_cert: " in output


def test_the_key_of_another_server_certificate(tmp_path, openssl_ca):
    certificate, _key = openssl.make_server(tmp_path / "server", openssl_ca)
    output = brought(ca_cert=openssl_ca[0], server_cert=certificate, server_key=openssl.make_key())
    assert "mcp_tunnel_server_key: does not belong to" in output


def test_half_a_server_certificate(openssl_ca):
    output = brought(ca_cert=openssl_ca[0], ca_key=openssl_ca[1], server_key=openssl.make_key())
    assert "mcp_tunnel_server_key: is only half of a pair" in output


@pytest.mark.parametrize("role", role_options.ROLES)
def test_defaults_and_declared_options_are_in_step(role):
    defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text())
    specs = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]
    assert set(options) == set(defaults)
    for name, option in options.items():
        if option.get("required"):
            assert not defaults[name], f"{name} is required, and has a default"
        else:
            assert option["default"] == defaults[name], name
            assert option["description"], name


@pytest.mark.parametrize("role", role_options.ROLES)
def test_secrets_are_marked_in_the_declared_options(role):
    """An option named as a secret says whether it is one. An identity has values such as "gcp",
    which must not be blanked wherever they appear: its secrets are those of the modules' options.
    """
    specs = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]
    named = {name for name in options if re.search("token|key|secret|password", name)}
    assert {name for name in named if "no_log" not in options[name]} == set()
    marked = {name for name in options if options[name].get("no_log")}
    secrets = {"token", "ca_key", "server_key", "api_proxy"}
    assert marked == {f"mcp_tunnel_{name}" for name in secrets} & set(options)


def test_no_attribute_is_taken_of_entries_that_hold_templates():
    """Before ansible-core 2.19, ``map(attribute='path')`` fails over them."""
    for path in [*ROLES.rglob("*.yml"), *(ROLES.parent / "playbooks").rglob("*.yml")]:
        found = re.findall(
            r"__\w+_(?:files|entries)\b[^|}]*\|\s*(?:map|\w+attr)\b", path.read_text()
        )
        assert not found, path


def documented():
    """Return the cells of docs/variables.md: variable to its default, as it stands there."""
    text = (ROLES.parent / "docs" / "variables.md").read_text()
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", text, re.MULTILINE))


def test_every_public_variable_is_in_the_documentation():
    public = role_options.options().keys() | role_options.of_awx()
    assert public - documented().keys() == set()


@pytest.mark.parametrize("name", role_options.options())
def test_defaults_in_the_documentation(name):
    """A default stands there as it is, or in words; the cell is empty when there is none."""
    cell, default = documented()[name], role_options.defaults()[name]
    said = [text for text in re.findall("`([^`]*)`", cell) if "…" not in text]
    if said:
        values = default if isinstance(default, list) else [default]
        assert said == [
            str(value).lower() if isinstance(value, bool) else str(value) for value in values
        ]
    elif not cell:
        assert not default
    assert cell or default in ("", [], {})


def test_the_rules_and_the_preflight_mean_the_same_metadata_addresses():
    rules = yaml.safe_load((ROLES / "firewall/vars/main.yml").read_text())
    refused = {str(address) for address in dialling.METADATA_ADDRESSES}
    assert refused == set(rules["__firewall_metadata_v4"])


@pytest.mark.parametrize(
    ("changes", "lease"),
    [
        # 300 seconds between two questions for it, and 900, 60, and twice 30 and 30 of the default
        # limits: what is proven may have to be put back.
        ({}, 1380),
        ({"mcp_tunnel_health_timeout": 1800}, 3120),
        ({"mcp_tunnel_answer_timeout": 60}, 540),
        ({"cloudflared_grace_period": "10m", "proxy_shutdown_timeout": "1m30s"}, 2640),
    ],
)
def test_a_lease_is_longer_than_a_run_may_be_silent(changes, lease):
    assert plan.make_plan(good(**changes), ["a"], "a")["lease_seconds"] == lease


def test_the_lease_of_a_reboot_is_longer_by_the_reboot_and_a_second_proof():
    variables = good(mcp_tunnel_reboot_timeout=3600)
    usual, reboot = (
        plan.make_plan(variables, ["a"], "a", duty)["lease_seconds"]
        for duty in ("deploy", "reboot")
    )
    assert reboot - usual == 3600 + 60


@pytest.mark.parametrize(
    ("hosts", "wave", "forks", "rounds"),
    [(3, 1, 5, (1, 1)), (10, 5, 5, (2, 1)), (11, 6, 5, (3, 2)), (0, 0, 0, (1, 1))],
)
def test_fewer_forks_than_hosts_make_rounds(hosts, wave, forks, rounds):
    assert plan.Rounds.of(hosts, wave, forks) == plan.Rounds(*rounds)


@pytest.mark.parametrize(
    ("duty", "rounds", "longer"),
    [
        # Of the default limits: 60 seconds for a proof, 30 and 30 until the services have stopped.
        ("deploy", plan.Rounds(9, 3), 2 * 180),
        ("renew_cert", plan.Rounds(9, 1), 0),
        # Those of another tunnel are watched for an hour; with a minute for each of 11 answers.
        ("deploy", plan.Rounds(soak=3600), 3600 + 660),
        ("renew_cert", plan.Rounds(soak=3600), 0),
        # All that are named leave at the same time.
        ("drain", plan.Rounds(9, 3), 8 * 120),
        # They are proven without the edge and with it.
        ("undrain", plan.Rounds(9, 3), 8 * 180),
        # 600 seconds for the reboot, a second proof, and the way back.
        ("reboot", plan.Rounds(9, 3), 2 * 840),
        # The look at all of them takes longer than a wave.
        ("reboot", plan.Rounds(20, 1), 20 * 60 - 840),
    ],
)
def test_a_lease_is_longer_by_the_rounds_of_a_play(duty, rounds, longer):
    once, often = (
        plan.make_plan(good(), ["a"], "a", duty, each)["lease_seconds"]
        for each in (plan.Rounds(), rounds)
    )
    assert often - once == longer


@pytest.mark.parametrize(("mode", "phase"), [("wif", "added"), ("manual", "current")])
def test_a_breach_replaces_the_ca_where_the_run_can_register_one(mode, phase):
    made = plan.make_plan({**good(), "mcp_tunnel_mode": mode}, ["a"], "a", "breach")
    assert made["ca_phase"] == phase
