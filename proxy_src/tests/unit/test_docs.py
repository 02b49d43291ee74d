"""docs/proxy.md has every setting with its default, every metric, and every line of the log."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from mcp_proxy.config import durations
from mcp_proxy.config import load as config
from mcp_proxy.config.route_options import _RANGES
from mcp_proxy.config.rules import _LIMIT_RANGES
from mcp_proxy.http2 import server, stream
from mcp_proxy.system import budget
from mcp_proxy.watch import admin, exposition
from mcp_proxy.watch.firewall_metrics import FirewallCounters
from mcp_proxy.watch.metrics import Metrics
from mcp_proxy.watch.tunnel_metrics import TunnelConnections

OTHERS = [FirewallCounters("/none"), TunnelConnections("/none")]
TEXT = (Path(__file__).parents[3] / "docs/proxy.md").read_text()


def table() -> dict[str, list[str]]:
    """The rows of the tables of settings: name to (type, default, …)."""
    part = TEXT[TEXT.index("### Fields of the vendor") : TEXT.index("### Routes")]
    rows = re.findall(r"^\| `([\w.]+)` \|(.*)\|$", part, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in rows}


def test_every_setting_is_documented() -> None:
    expected = set(config._TOP) - {"tls", "upstream", "timeouts", "limits", "metrics"}
    expected |= {f"tls.{item.name}" for item in fields(config.Tls)}
    expected |= {f"timeouts.{item.name}" for item in fields(config.Timeouts)}
    expected |= {f"limits.{item.name}" for item in fields(config.Limits)}
    expected |= {f"metrics.{item.name}" for item in fields(config.MetricsSources)}
    for item in fields(config.UpstreamPolicy):
        if item.name == "ca_pem":
            continue  # filled in by the program
        deeper = "tls." if item.name in ("ca_file", "include_system_cas") else ""
        expected.add(f"upstream.{deeper}{item.name}")
    assert set(table()) == expected


def test_the_defaults_are_the_real_ones() -> None:
    rows = table()
    for item in fields(config.Timeouts):
        default = rows[f"timeouts.{item.name}"][1].strip("`")
        assert durations.parse(default) == item.default
    assert durations.parse(rows["tls.poll_interval"][1].strip("`")) == config.Tls.poll_interval
    for item in fields(config.Limits):
        kind, default = rows[f"limits.{item.name}"][:2]
        assert int(default.strip("`")) == item.default
        low, high = _LIMIT_RANGES[item.name]
        assert kind == f"{low} to {high}"
    networks = ", ".join(f"`{network}`" for network in config.UpstreamPolicy.allowed_ips)
    assert rows["upstream.allowed_ips"][1] == networks


def figure(size: int) -> str:
    """*size* as the page writes bytes."""
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"


def test_the_figures_of_the_buffers_are_the_real_ones() -> None:
    part = TEXT[TEXT.index("### Fixed limits") : TEXT.index("### Buffers")]
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", part, re.MULTILINE))
    each, whole, plenty = map(figure, (budget.MOST_EACH, budget.MOST, budget.PLENTY))
    assert rows["bytes that wait for slow clients and upstreams"].startswith(
        f"{each} per connection, {whole} per worker; from {plenty} on, "
    )
    water, room, scant = map(figure, (server._HIGH_WATER, server._ROOM, server._SCANT))
    assert rows["HTTP/2 responses that wait for their client"].startswith(
        f"{water} and one read, of {room} at most, per request; "
        f"from {figure(server._BUDGET)} per connection on, one read of {scant} per request"
    )
    windows = f"{figure(stream.STREAM_WINDOW)} per request, "
    windows += f"{figure(server._CONNECTION_WINDOW)} per connection"
    assert rows["HTTP/2 windows for request bodies"].startswith(windows)
    assert rows["clients of the admin listener"].startswith(
        f"{admin._MAX_CLIENTS} at a time, {admin._TIMEOUT:g} s each, {figure(admin._MAX_HEAD)} of"
    )
    prose = TEXT[TEXT.index("### Buffers") : TEXT.index("### Everybody's turn")]
    for size in (each, whole, plenty, scant):
        assert size in prose
    listener = TEXT[TEXT.index("## Admin listener") : TEXT.index("## Log\n")]
    assert f"beyond {admin._MAX_WAITING} who wait" in listener


def test_every_option_of_a_route_is_documented() -> None:
    part = TEXT[TEXT.index("### Route options") : TEXT.index("### Hostnames and the upstream")]
    rows = {
        name: (kind, default.strip("`"))
        for name, kind, default in re.findall(
            r"^\| `(\w+)` \| (.+?) \| (`\w+`|none) \|", part, re.MULTILINE
        )
    }
    usual = config.RouteOptions()
    options = [item for item in fields(usual) if item.name != "tls"]  # filled in by the program
    assert set(rows) == {item.name for item in options}
    assert rows["maintenance"] == ("bool", str(usual.maintenance).lower())
    assert durations.parse(rows["retry_after"][1]) == usual.retry_after
    for item in options:
        assert (rows[item.name][1] == "none") == (getattr(usual, item.name) in (None, (), "")), item
    for name, (low, high) in _RANGES.items():
        assert rows[name][0] == f"{low} to {high}"
    timeouts = ", ".join(f"`{item.name}`" for item in fields(config.RouteTimeouts))
    assert rows["timeouts"][0] == f"map of {timeouts}"


def test_the_example_is_valid(files: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    path = files / "proxy.yaml"
    for name, real in (
        ("/etc/mcp-tunnel/default/tls", str(files)),
        ("/etc/ssl/corp-ca.pem", f"{files}/ca.crt"),
    ):
        example = example.replace(name, real)
    path.write_text(example)
    assert len(config.load(str(path)).routes) == 2


def test_every_metric_is_documented() -> None:
    part = TEXT[TEXT.index("## Metrics") : TEXT.index("## How to debug")]
    documented = set(re.findall(r"`(mcp_\w+)`", part)) - {"mcp_tunnel_instance"}
    page = exposition.page(Metrics().snapshot(), {}, OTHERS).decode()
    exported = set(re.findall(r"^# TYPE (mcp_\w+)", page, re.MULTILINE))
    assert documented == exported


def messages() -> Iterator[str]:
    """The fixed texts that the proxy logs."""
    for path in (Path(__file__).parents[2] / "src/mcp_proxy").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).startswith(
                ("log.event", "Frequent", "log.logger.")
            ):
                texts = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
                yield from texts[:1]


def test_every_line_of_the_log_is_documented() -> None:
    part = TEXT[TEXT.index("## Log\n") : TEXT.index("### Access log")]
    found = set(messages())
    assert "request finished" in found
    assert {text for text in found if f"`{text}`" not in part} == set()


# RFC 9209 §2.3.1 to §2.3.32.
ERROR_TYPES = {
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
}


def test_every_type_of_error_is_documented() -> None:
    made = {
        node.value
        for path in (Path(__file__).parents[2] / "src/mcp_proxy").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch("(connection|destination|dns|http|proxy|tls)_[a-z_]+", node.value)
    }
    rows = TEXT[TEXT.index("| answer | `error` in `Proxy-Status` |") :].partition("\n\n")[0]
    words = set(re.findall("`([a-z_]+)`", rows))
    assert words & ERROR_TYPES == made & ERROR_TYPES
    assert len(made & ERROR_TYPES) > 20
    assert made <= ERROR_TYPES
