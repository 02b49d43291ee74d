"""Values of the variables that become fields of the proxy's configuration, and their verdicts.

Three tables: values that both the preflight and the proxy accept, values that both refuse, and
values that only the preflight refuses because it knows more than the proxy. The preflight must
accept nothing that the proxy refuses.
"""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]

DOMAIN = "abcd1234.tunnel.example"
KELVIN = "\u212a"  # its lower case is an ASCII k
FULLWIDTH = "\uff11\uff12"  # digits to str.isdecimal() and int()
NAME = "http://tools.corp:8000"
LONG_DOMAIN = ".".join(["x" * 60] * 4)

TIMEOUTS = (
    "handshake",
    "header",
    "idle",
    "connect",
    "upstream_idle",
    "upstream_gone",
    "upstream_age",
)
ROUTE_TIMEOUTS = ("idle", "connect", "upstream_idle", "upstream_gone")
LIMITS = {
    "max_connections": (1, 1000000),
    "max_header_bytes": (1024, 1048576),
    "max_streams": (1, 1000),
}
PORTS = ("proxy_listen_port", "proxy_admin_port")
SWITCHES = (
    "proxy_access_log",
    "proxy_disable_ip_validation",
    "proxy_rewrite_host",
    "proxy_upstream_include_system_cas",
)


def rows(variable: str, *values: Any, **others: Any) -> list[Row]:
    """One row for each of the values of one variable."""
    return [{**others, variable: value} for value in values]


def items(variable: str, name: str, *values: Any) -> list[Row]:
    """One row for each of the values under *name* in a variable that is a map."""
    return [{variable: {name: value}} for value in values]


def routes(*names: Any, **others: Any) -> list[Row]:
    """One row for each name of a route."""
    return [{**others, "mcp_tunnel_routes": {name: NAME}} for name in names]


def options(*values: Any) -> list[Row]:
    """One row for each value of the options of the route echo."""
    return [{"mcp_tunnel_routes": {"echo": NAME}, "mcp_tunnel_route_options": v} for v in values]


def option(name: str, *values: Any) -> list[Any]:
    """One value of the variable for each value of one option of the route echo."""
    return [{"echo": {name: value}} for value in values]


def secure(*values: Any, **others: Any) -> list[Row]:
    """One row for each value of the options of the route echo, whose upstream is https."""
    routes = {"echo": "https://tools.corp:8443"}
    return [
        {**others, "mcp_tunnel_routes": routes, "mcp_tunnel_route_options": {"echo": value}}
        for value in values
    ]


PAIR = {"client_cert": "HERE/tls/tls.crt", "client_key": "HERE/tls/tls.key"}


def upstreams(*values: Any, **others: Any) -> list[Row]:
    """One row for each upstream of a route."""
    return [{**others, "mcp_tunnel_routes": {"echo": value}} for value in values]


GOOD_DURATIONS = (
    "1ns",
    "100us",
    "100\u00b5s",
    "100\u03bcs",
    "250ms",
    "30s",
    "1m30s",
    "1.5h",
    ".5s",
    "1.s",
    "1h1h",
    "2562047h",
    "",
)
BAD_DURATIONS = (
    "30",
    "1d",
    "-1s",
    "+1s",
    " 30s",
    "30s ",
    "30s\n",
    "30 s",
    "s",
    ".s",
    "1e3s",
    "30S",
    f"{FULLWIDTH}s",
    "2562048h",
    "9999999999h",
    30,
    1.5,
    True,
    [],
    {},
    ["3s"],
)

ACCEPTED: list[Row] = [
    # The same as a variable that is left out.
    *(row for name in ("proxy_workers", "proxy_log_level", *PORTS) for row in rows(name, "")),
    *(row for name in ("proxy_timeouts", "proxy_limits") for row in rows(name, "", "{}")),
    *rows("proxy_allowed_ips", "", "[10.0.0.0/8]", mcp_tunnel_routes={"echo": NAME}),
    {},
    *rows("proxy_shutdown_timeout", *GOOD_DURATIONS, "0s", "0", 0),
    *items("proxy_timeouts", "idle", *GOOD_DURATIONS, None),
    *(row for name in TIMEOUTS for row in items("proxy_timeouts", name, "1ns", "2562047h")),
    {"proxy_timeouts": {}},
    {"proxy_timeouts": dict.fromkeys(TIMEOUTS, "7s")},
    *(
        row
        for name, (low, high) in LIMITS.items()
        for row in items("proxy_limits", name, low, high, str(low), str(high), None)
    ),
    {"proxy_limits": {}},
    *items("proxy_settings", "tls.poll_interval", *GOOD_DURATIONS, None),
    *items("proxy_settings", "mcp_tools", ["search"], ["a/b", "a.b-c_D", "x" * 128], [], None, [7]),
    {"proxy_settings": {}},
    *rows("proxy_workers", 0, 1, 256, "0", "2", "256"),
    *(row for port in PORTS for row in rows(port, 1024, 65535, "9000")),
    *rows("proxy_log_level", "debug", "info", "warn", "error"),
    *(row for switch in SWITCHES for row in rows(switch, True, False)),
    *rows("mcp_tunnel_domain", DOMAIN.upper(), f"{DOMAIN}.", "a.b", "1.example", "x" * 63 + ".b"),
    *routes("echo", "Echo", "a-b", "a_b", "_x", "x_", "1", "x" * 63, "echo."),
    *routes(f"wiki.{DOMAIN}", f"WIKI.{DOMAIN}", f"b.eu.{DOMAIN}", f"a_b.eu.{DOMAIN}"),
    *routes(DOMAIN, DOMAIN.upper(), f"{DOMAIN}.", f"echo.{DOMAIN}."),
    *routes(f"echo.{DOMAIN}", mcp_tunnel_domain=f"{DOMAIN}."),
    {"mcp_tunnel_routes": {"a": NAME, "b": "http://10.0.0.1:80"}},
    *options(
        {},
        {"echo": {}},
        {"Echo.": {"maintenance": True}},
        {"echo": {"maintenance": False, "retry_after": "90s"}},
        {"echo": {"retry_after": "1h30m"}},
        *[{"echo": {"spread": value}} for value in (True, False, None)],
        {"echo": {"maintenance": True, "retry_after": "250ms"}},
        *option("paths", ["/"], ["/mcp", "/.well-known/x"], ["/a/b:c"]),
        *option("methods", ["GET"], ["POST", "DELETE", "M-SEARCH"]),
        *option("max_body_bytes", 1, "1048576", 4294967296, None),
        *option("max_in_flight", 1, "20", 1000000, None),
        *option("rate", "1/s", "600/m", "9999999/h", "", None),
        *option("rewrite_host", True, False, None),
        *option("timeouts", *[{name: "7s"} for name in ROUTE_TIMEOUTS]),
        *option("timeouts", {}, None, {"idle": None, "connect": "1h"}),
    ),
    *upstreams("http://10.0.0.1:80", "http://10.0.0.1:65535", "http://x:1", "http://Host.Corp:80"),
    *upstreams("http://_x:1", "http://a_b.corp:1", "http://1a:80", "http://x:00080"),
    *upstreams("https://x:443", proxy_upstream_include_system_cas=True),
    *upstreams("https://x:443", proxy_upstream_ca="GOOD"),
    *upstreams("https://x:443", proxy_upstream_ca_file="GOOD"),
    *secure(
        {"ca_file": "HERE/upstream-ca.crt"},
        {"ca_file": "HERE/upstream-ca.crt", "server_name": "wiki.corp"},
        {"ca_file": "HERE/upstream-ca.crt", "server_name": "10.0.0.1"},
        {"ca_file": "HERE/upstream-ca.crt", **PAIR},
    ),
    *secure(
        {"server_name": "Wiki"},
        {"server_name": None, "ca_file": "", "client_cert": None},
        PAIR,
        proxy_upstream_include_system_cas=True,
    ),
    *rows(
        "proxy_allowed_ips",
        [],
        ["10.0.0.0/8"],
        ["10.1.2.3"],
        ["10.1.2.3/8"],
        ["0.0.0.0/0"],
        ["10.1.2.3/32", "192.168.1.0/24"],
        mcp_tunnel_routes={"echo": NAME},
    ),
    {"proxy_allowed_ips": [], "proxy_disable_ip_validation": True},
]

REFUSED: list[Row] = [
    *secure(PAIR, {"server_name": "wiki.corp"}),  # nothing says whom to trust
    *secure(
        *({name: PAIR[name]} for name in PAIR),
        *({name: "relative.pem"} for name in ("client_cert", "client_key", "ca_file")),
        *({"ca_file": value} for value in (5, True, ["/x"], {"a": "/x"}, [], {}, " ")),
        *({"server_name": value} for value in ("a b", "10.0.0", "-x", 5, True, ["x"], {}, [])),
        {"server_name": "x:443"},
        {"tls": {}},
        proxy_upstream_include_system_cas=True,
    ),
    *rows("proxy_shutdown_timeout", *BAD_DURATIONS),
    *items("proxy_timeouts", "idle", *BAD_DURATIONS),
    *(row for name in TIMEOUTS for row in items("proxy_timeouts", name, "0s", "0", 0, "30")),
    *rows("proxy_timeouts", {"idel": "3s"}, {"": "3s"}, {1: "3s"}, [], ["3s"], "3s", 5, True),
    *(
        row
        for name, (low, high) in LIMITS.items()
        for row in items("proxy_limits", name, low - 1, high + 1, -1, f"0{low}", low + 0.5, "")
    ),
    *items("proxy_limits", "max_streams", " 64", "64 ", "64\n", "6_4", "+64", "0x40", "\u0665"),
    *items("proxy_limits", "max_streams", True, 64.0, [], {}, [64], "many", "9" * 5000),
    *rows("proxy_limits", {"max_stream": 5}, {1: 5}, [], [5], "5", 5, True),
    *items("proxy_settings", "tls.poll_interval", *BAD_DURATIONS, "0s", [], {}, ["3s"]),
    *items(
        "proxy_settings", "mcp_tools", "search", {}, {"a": 1}, ["a", "a"], ["a b"], [""], [["a"]]
    ),
    *items(
        "proxy_settings",
        "mcp_tools",
        ["other"],
        ["x" * 129],
        ["\u00e4"],
        [str(n) for n in range(101)],
    ),
    *rows("proxy_settings", {"tls.poll": "3s"}, {"poll_interval": "3s"}, {"": 1}, {1: 1}),
    *rows("proxy_settings", {"fresh": None}, {"fresh.field": 1}),
    *rows("proxy_workers", 257, -1, "02", " 2", "2\n", "-1", 1.5, 2.0, "x", True, [], {}, [2]),
    *rows("proxy_workers", FULLWIDTH, "9" * 5000),
    *(
        row
        for port in PORTS
        for row in rows(port, 65536, 99999, -1, "09000", " 9000", "9000 ", "9000\n", "x")
    ),
    *(row for port in PORTS for row in rows(port, FULLWIDTH * 2, 9000.0, True, [], {}, [9000])),
    {"proxy_listen_port": 9000, "proxy_admin_port": 9000},
    {"proxy_listen_port": 8081},
    {"proxy_admin_port": 8080},
    *rows("proxy_log_level", "loud", "INFO", "warning", " info", "info\n", True, 5, [], {}),
    *(row for switch in SWITCHES for row in rows(switch, "maybe", 2, [], {}, [True])),
    *rows("mcp_tunnel_domain", "localhost", "https://x.y", "x.y/z", "x.y:443", "*.x.y", "-a.x"),
    *rows("mcp_tunnel_domain", "a-.x", "a..x", "a_b.x", "_x.example", "x" * 64 + ".b", "10.0.0.1"),
    *rows("mcp_tunnel_domain", "foo.1", f"{KELVIN}.example", "\u00e4.example", " x.y", "x.y "),
    *rows("mcp_tunnel_domain", "x.y\n", "x.y..", ".", ".x.y", ".".join(["x" * 60] * 5)),
    *rows("mcp_tunnel_domain", 5, 1.5, True, [], {}, ["x.y"]),
    *routes(" echo", "echo ", "echo\n", "", "*", "a b", "-x", "x-", "x" * 64, "\u00e4", "a;b"),
    *routes(f"mc{KELVIN}", FULLWIDTH, "a.b", "other.example.org", f"x{DOMAIN}", f".{DOMAIN}"),
    *routes(f"*.{DOMAIN}", "http://a", "a:80", "../echo", "echo..", ".", f"a..{DOMAIN}"),
    *routes("e" * 60, mcp_tunnel_domain=LONG_DOMAIN),
    {"mcp_tunnel_routes": {"a": NAME, "A": NAME}},
    *options(
        {"other": {}},
        {f"echo.{DOMAIN}": {"maintenance": True}},
        {" echo": {}},
        {"echo": {}, "ECHO": {}},
        {"echo": {"maintainance": True}},
        *[{"echo": {"maintenance": value}} for value in ("maybe", "true", 1, [], {})],
        *[{"echo": {"spread": value}} for value in ("maybe", "true", 1, [], {})],
        *[
            {"echo": {name: value}}
            for name in ("client_cert", "client_key", "ca_file", "server_name")
            for value in ("/etc/ssl/x", "wiki.lan", 5, True, [], {}, ["/x"])
        ],
        *[{"echo": {"retry_after": value}} for value in ("0s", "-1s", "10", 10, "1d", [])],
        *[{"echo": value} for value in (True, [], "maintenance", 5)],
        *option("paths", [], None, "/mcp", {}, True, ["mcp"], [""], ["/mcp/"], ["//"], ["/.."]),
        *option("paths", ["/a%20b"], ["/a;b"], ["/a?b"], ["/a#b"], ["/a b"], ["\\"], ["/\u00e4"]),
        *option("paths", [5], [None], [["/"]], ["/a", "/a"], ["/a/b", "/a"], ["/", "/a"]),
        *option("methods", [], None, "GET", {}, ["get"], ["CONNECT"], [""], [" GET"], [5]),
        *option("methods", [["GET"]], ["GET", "GET"]),
        *option("max_body_bytes", 0, -1, 1.5, "1k", "01", True, [], {}, [5], 4294967297),
        *option("max_in_flight", 0, -1, 1.5, "1k", "01", True, [], {}, [5], 1000001),
        *option("rate", 0, 10, "0/s", "0/h", "10", "10/d", "10r/s", "1.5/s", "-1/s", " 1/s"),
        *option("rate", "1/s ", "01/s", True, [], {}, ["1/s"]),
        *option("rewrite_host", "maybe", "true", 1, [], {}),
        *option("timeouts", "5s", 5, [], True, {"": "5s"}, {"idel": "5s"}),
        *option("timeouts", *[{"idle": value} for value in (*BAD_DURATIONS, "0s")]),
        *option("timeouts", {"handshake": "5s"}, {"header": "5s"}),
        {"echo": {"path": ["/mcp"]}},
        [],
        ["echo"],
        "echo",
        5,
        True,
    ),
    {"mcp_tunnel_routes": {"a": NAME, "a.": NAME}},
    *rows("mcp_tunnel_routes", {}, [], [NAME], "", NAME, 5, True, None),
    *upstreams("http://10.0.0.5", "http://10.0.0.5:", "http://10.0.0.5:0", "http://10.0.0.5:65536"),
    *upstreams("http://10.0.0.5:80/", "http://10.0.0.5:80/mcp", "http://x:80?y", "http://x:80#y"),
    *upstreams("http://:80", "http://u:p@10.0.0.5:80", "http://[::1]:80", "http://300.0.0.1:80"),
    *upstreams("http://10.1:80", "http://2130706433:80", "http://a b:80", "http://-a:80", "x:80"),
    *upstreams("//x:80", "ftp://x:80", "HTTP://x:80", "http//x:80", "http://x:80\n", ""),
    *upstreams("http://foo.1:80", "http://a..b:80", "http://a.:80", "http://a-:80", " http://x:80"),
    *upstreams(f"http://mc{KELVIN}:80", f"http://x:{FULLWIDTH}", "http://" + "a" * 64 + ":80"),
    *upstreams("http://10.0.0.01:80", "http://0x0a000001:80/", "https://x:443"),
    *upstreams(None, 8000, 1.5, True, [], {}, [NAME]),
    *rows(
        "proxy_allowed_ips",
        ["fd00::/8"],
        ["10.0.0.0/33"],
        ["10.0.0.0/-1"],
        ["10.0.0.0/"],
        ["10.0.0.0/255.0.0.0"],
        ["10.0.0.0/0.255.255.255"],
        ["010.0.0.1"],
        ["10.0.0"],
        ["x"],
        [""],
        [" 10.0.0.0/8"],
        ["10.0.0.0/8\n"],
        [f"{FULLWIDTH}.0.0.0/8"],
        [10],
        [167772160],
        [1.5],
        [True],
        [None],
        [[]],
        [{}],
        "10.0.0.0/8",
        5,
        True,
        {},
        {"10.0.0.0/8": "x"},
        mcp_tunnel_routes={"echo": NAME},
    ),
    {"proxy_allowed_ips": ["10.0.0.0/8"], "proxy_disable_ip_validation": True},
    *rows("proxy_upstream_ca", "x", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"),
    *rows("proxy_upstream_ca_file", "relative.crt", " ", 5, True, ["/x"], {"a": "b"}, [], {}),
]

KNOWS_MORE: dict[str, list[Row]] = {
    "a variable that is set to nothing is an oversight": [
        *rows("proxy_listen_port", None),
        *rows("proxy_workers", None),
        *rows("proxy_log_level", None),
        *rows("proxy_shutdown_timeout", None),
        *rows("proxy_timeouts", None),
        *rows("proxy_limits", None),
        *rows("proxy_settings", None),
        *rows("proxy_allowed_ips", None),
        *rows("proxy_access_log", None),
    ],
    "a field has one way to it": [
        *items("proxy_settings", "log_level", "debug"),
        *items("proxy_settings", "limits.max_streams", 7),
        *items("proxy_settings", "upstream.tls.include_system_cas", True),
        *items("proxy_settings", "tls.key_file", "GOOD"),
        *rows("proxy_settings", [], "a=b"),
    ],
    "without a federation rule, nobody else says the domain": [
        {"mcp_tunnel_domain": "", "mcp_tunnel_routes": {f"echo.{DOMAIN}": NAME}}
    ],
    "Ansible has read a number or a truth value, and lost what was written": routes(1, 8, True),
    "ports below 1024 are those of the system, and 0 is another one each time": [
        row for port in PORTS for row in rows(port, 0, 80, 1023)
    ],
    "one of the two would never be asked": [
        {"mcp_tunnel_routes": {"echo": NAME, f"echo.{DOMAIN}": "http://other:1"}}
    ],
    "the proxy would never dial it": [
        *upstreams("http://8.8.8.8:80", "http://127.0.0.1:80"),
        *upstreams("http://10.0.0.1:80", proxy_allowed_ips=["192.168.0.0/16"]),
    ],
    "the firewall never lets the proxy talk to a cloud's metadata": [
        *upstreams("http://169.254.169.254:80", proxy_disable_ip_validation=True),
    ],
}
