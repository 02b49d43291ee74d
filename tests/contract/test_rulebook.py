"""One rulebook: the preflight accepts a value if and only if the proxy's ``check-config`` does.

The proxy's document is written here once more, plainly, from the variables: this test shares
nothing with the code that it tests.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.fleet import neighbours
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    plan,
    role_options,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good

from contract.rulebook_rows import ACCEPTED, DOMAIN, KNOWS_MORE, REFUSED, Row

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "proxy_src" / "src"))
from mcp_proxy import cli

ON_A_HOST = "/etc/mcp-tunnel/default/"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the proxy reads on a host: ``tls/tls.crt``, ``tls/tls.key`` and a CA's."""
    directory = tmp_path_factory.mktemp("host")
    (directory / "tls").mkdir()
    certificate, key = openssl.make_ca(directory)
    (directory / "tls/tls.crt").write_text(certificate)
    (directory / "tls/tls.key").write_text(key)
    (directory / "upstream-ca.crt").write_text(certificate)
    return directory


def variables(files: Path, row: Row) -> dict[str, Any]:
    """The variables of a host with those of the row, as the preflight gets them."""
    changes = dict(row)
    if changes.get("proxy_upstream_ca") == "GOOD":
        changes["proxy_upstream_ca"] = (files / "upstream-ca.crt").read_text()
    if changes.get("proxy_upstream_ca_file") == "GOOD":
        changes["proxy_upstream_ca_file"] = str(files / "upstream-ca.crt")
    if "mcp_tunnel_route_options" in changes:
        text = json.dumps(changes["mcp_tunnel_route_options"])
        changes["mcp_tunnel_route_options"] = json.loads(text.replace("HERE/", f"{files}/"))
    return role_options.as_meant(good(**{"mcp_tunnel_domain": DOMAIN, **changes}))


def document(files: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The proxy's configuration that these variables mean."""
    values = copy.deepcopy(values)  # its maps get further fields
    ca_file = values["proxy_upstream_ca_file"]
    if values["proxy_upstream_ca"]:
        path = files / "given-ca.crt"
        path.write_text(str(values["proxy_upstream_ca"]))
        ca_file = str(path)
    port = {name: values[f"proxy_{name}_port"] for name in ("listen", "admin")}
    fields = {
        "listen_addr": f"127.0.0.1:{port['listen']}" if port["listen"] is not None else ":8080",
        "admin_addr": f"127.0.0.1:{port['admin']}",
        "log_level": values["proxy_log_level"],
        "access_log": values["proxy_access_log"],
        "workers": values["proxy_workers"],
        "shutdown_timeout": values["proxy_shutdown_timeout"],
        "tunnel_domain": values["mcp_tunnel_domain"],
        "tls": {"cert_file": f"{files}/tls/tls.crt", "key_file": f"{files}/tls/tls.key"},
        "routes": values["mcp_tunnel_routes"],
        "route_options": values["mcp_tunnel_route_options"],
        "upstream": {
            "allowed_ips": values["proxy_allowed_ips"],
            "disable_ip_validation": values["proxy_disable_ip_validation"],
            "rewrite_host": values["proxy_rewrite_host"],
            "tls": {
                "ca_file": ca_file,
                "include_system_cas": values["proxy_upstream_include_system_cas"],
            },
        },
        "timeouts": values["proxy_timeouts"],
        "limits": values["proxy_limits"],
    }
    if fields["route_options"] == {}:
        del fields["route_options"]  # files of before have no such line
    further = values["proxy_settings"]
    for name, value in further.items() if isinstance(further, dict) else ():
        *above, last = str(name).split(".")
        place: Any = fields
        for section in above:
            place = place.setdefault(section, {})
        place[last] = f"{files}/tls/tls.key" if value == "GOOD" else value
    return fields


def proxy_accepts(files: Path, text: str) -> bool:
    """The exit status of ``mcp-proxy check-config``, as a verdict."""
    path = files / "proxy.yaml"
    path.write_text(text)
    return cli.main(["check-config", str(path)]) == 0


def problems(values: dict[str, Any]) -> list[str]:
    """Return the problems that the preflight reports for one host with these variables."""
    alone = neighbours.check({"a": values}, {"a": "a"})["a"]
    return [str(problem) for problem in (*plan.check_values(values), *alone)]


def verdicts(files: Path, row: Row) -> tuple[bool, bool]:
    """Whether the preflight, and whether the proxy, accepts the row."""
    values = variables(files, row)
    text = json.dumps(document(files, values))  # JSON is YAML, and soon written
    return problems(values) == [], proxy_accepts(files, text)


def others(files: Path, rows: list[Row], expected: tuple[bool, bool]) -> dict[str, Any]:
    """The rows whose verdicts differ from (preflight, proxy) *expected*, each with its verdicts.

    One test has all rows of a table: a test for each would cost more than the check itself.
    """
    found = {ascii(row)[:120]: verdicts(files, row) for row in rows}
    return {row: verdict for row, verdict in found.items() if verdict != expected}


def test_the_table_is_as_long_as_it_has_to_be() -> None:
    assert len(ACCEPTED) + len(REFUSED) >= 120


def test_both_accept(files: Path) -> None:
    assert others(files, ACCEPTED, (True, True)) == {}


def test_both_refuse(files: Path) -> None:
    assert others(files, REFUSED, (False, False)) == {}


def test_the_file_on_a_host_is_the_one_that_was_judged(files: Path) -> None:
    """It has the meaning of the variables, and the proxy accepts it as it is, to the byte."""
    for row in ACCEPTED:
        values = variables(files, row)
        text = plan.make_plan(values, ["a"], "a")["proxy_config"]
        assert meaning(yaml.safe_load(text)) == meaning(document(files, values)), row
        on_host = text.replace(ON_A_HOST, f"{files}/")
        assert proxy_accepts(files, on_host), row


def meaning(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that follow from the variables, without the parts that differ in a test."""
    upstream = {**fields["upstream"], "tls": fields["upstream"]["tls"]["include_system_cas"]}
    tls = fields["tls"].get("poll_interval")
    return {**fields, "upstream": upstream, "tls": tls, "metrics": None}


def test_the_preflight_knows_more(files: Path) -> None:
    rows = [row for rows in KNOWS_MORE.values() for row in rows]
    assert others(files, rows, (False, True)) == {}
