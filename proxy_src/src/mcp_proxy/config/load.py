"""The proxy's configuration: the vendor's YAML fields, and the documented ones of our own.

:func:`load` reads a file, checks every rule and returns one immutable :class:`Config`.
``docs/proxy.md`` describes what each field means to operators.
"""

from __future__ import annotations

from types import MappingProxyType

from . import route_options, rules
from .model import (
    Address,
    Config,
    Limits,
    MetricsSources,
    Rate,
    RouteOptions,
    RouteTimeouts,
    Timeouts,
    Tls,
    Upstream,
    UpstreamPolicy,
)
from .reader import ConfigError, Problem, Report, Section, compose, read_file, shown

__all__ = [
    "Address",
    "Config",
    "ConfigError",
    "Limits",
    "MetricsSources",
    "Problem",
    "Rate",
    "RouteOptions",
    "RouteTimeouts",
    "Timeouts",
    "Tls",
    "Upstream",
    "UpstreamPolicy",
    "examine",
    "load",
]

LOG_LEVELS = ("debug", "info", "warn", "error")
_TOP = (
    "listen_addr",
    "log_level",
    "access_log",
    "mcp_tools",
    "shutdown_timeout",
    "tunnel_domain",
    "tls",
    "routes",
    "route_options",
    "upstream",
    "timeouts",
    "limits",
    "workers",
    "metrics",
    "admin_addr",
)


def load(path: str) -> Config:
    """Read and check the configuration file at *path*.

    Raises :class:`ConfigError` with every problem of the file at once. The
    check includes that the certificate, key and CA files can be opened, but not their content (see
    :mod:`tls.certificates`).
    """
    config, problems = examine(read_file(path), path)
    if problems:
        raise ConfigError(path, problems)
    return config


def examine(
    content: bytes, path: str = "", on_host: bool = True
) -> tuple[Config, tuple[Problem, ...]]:
    """Return the configuration in *content*, and every problem that it has.

    With problems, the configuration has defaults or empty values in the place of wrong ones.
    Elsewhere than *on_host*, such as on an Ansible controller, no file that it names is opened.
    Raises :class:`ConfigError`, which names *path*, if it is not YAML.
    """
    report = Report(on_host)
    top = Section(report, "", compose(content, path), _TOP)
    listen = rules.listener(
        top,
        "listen_addr",
        top.required_text("listen_addr", 'write e.g. listen_addr: "127.0.0.1:8080"'),
    )
    log_level = top.text("log_level") or "info"
    if log_level not in LOG_LEVELS:
        top.problem(
            "log_level", f"unknown level {shown(log_level)}", f"use one of {', '.join(LOG_LEVELS)}"
        )
    domain = rules.tunnel_domain(top)
    policy = rules.policy(top)
    routes = rules.routes(top, domain)
    timeouts = rules.timeouts(top)
    options = route_options.read(top, routes, timeouts)
    rules.trust(top, routes, options, policy)
    config = Config(
        listen=listen,
        tls=rules.tls(top),
        routes=routes,
        route_options=options,
        log_level=log_level,
        access_log=top.flag("access_log"),
        mcp_tools=rules.mcp_tools(top),
        shutdown_timeout=top.seconds("shutdown_timeout", 30.0, zero=True),
        tunnel_domain=domain,
        upstream=policy,
        timeouts=timeouts,
        limits=rules.limits(top),
        workers=rules.workers(top),
        metrics=rules.metrics(top),
        admin=rules.admin(top, listen),
        lines=MappingProxyType(report.lines),
    )
    return config, tuple(sorted(report.problems))
