"""cloudflared's command line, as far as a tunnel of this project uses it.

Names, environment variables, defaults and exit statuses are the vendor's. A flag that the
stand-in does not implement is refused as if it did not exist, rather than ignored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .configuration import Configuration, Unreadable, find, read

_TUNNEL_FLAGS = {
    "no-autoupdate": "NO_AUTOUPDATE",
    "no-prechecks": "TUNNEL_NO_PRECHECKS",
    "metrics": "TUNNEL_METRICS",
    "protocol": "TUNNEL_TRANSPORT_PROTOCOL",
    "edge-ip-version": "TUNNEL_EDGE_IP_VERSION",
    "grace-period": "TUNNEL_GRACE_PERIOD",
    "loglevel": "TUNNEL_LOGLEVEL",
    "output": "TUNNEL_LOG_OUTPUT",
    "retries": "TUNNEL_RETRIES",
    "cacert": "TUNNEL_CACERT",
    "edge": "TUNNEL_EDGE",
    "url": "TUNNEL_URL",
    "config": "",
    "management-diagnostics": "TUNNEL_MANAGEMENT_DIAGNOSTICS",
    "max-edge-addr-retries": "",
    "ha-connections": "",
}
_RUN_FLAGS = {"token": "TUNNEL_TOKEN", "token-file": "TUNNEL_TOKEN_FILE", "url": "TUNNEL_URL"}
_SWITCHES = {"no-autoupdate", "no-prechecks", "management-diagnostics"}
_LONGEST_GRACE = 180.0
_DURATION = re.compile(r"(\d+(?:\.\d*)?)(ms|h|m|s)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Usage(Exception):
    """A command line that cannot be run. `status` is the exit status the vendor's binary gives."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Options:
    """Options of `tunnel … run …`. Times are in seconds; `url` is None when nobody set one."""

    token: str
    metrics: str = "localhost:20241"
    protocol: str = "auto"
    edge_ip_version: str = "auto"
    grace_period: float = 30.0
    loglevel: str = "info"
    output: str = "default"
    retries: int = 5
    cacert: str = ""
    edge: tuple[str, ...] = ()
    url: str | None = None
    no_prechecks: bool = False
    max_edge_addr_retries: int = 8
    ha_connections: int = 4
    configuration: Configuration = field(default_factory=Configuration)
    set_flags: dict[str, str] = field(default_factory=dict)


def parse(argv: Sequence[str]) -> Options | None:
    """Return the options, or None if only the version was asked for. Raises Usage."""
    if argv and argv[0] in ("--version", "-v", "-V", "version"):
        return None
    if not argv or argv[0] != "tunnel":
        raise Usage(
            f"{' '.join(argv) or 'no command'}: the stand-in only knows `tunnel … run …`", 1
        )
    values, rest = _flags(argv[1:], _TUNNEL_FLAGS, "tunnel")
    if not rest or rest[0] != "run":
        raise Usage(
            "You did not specify any valid additional argument to the cloudflared tunnel command.",
            255,
        )
    run_values, extra = _flags(rest[1:], _RUN_FLAGS, "tunnel run")
    if extra:
        raise Usage(f"unexpected argument {extra[0]!r}: a token names the tunnel", 255)
    for name, value in run_values.items():
        values[name] = value
    for name, variable in {**_TUNNEL_FLAGS, **_RUN_FLAGS}.items():
        if name not in values and os.environ.get(variable):
            values[name] = [os.environ[variable]]
    last = {name: found[-1] for name, found in values.items()}
    file = _configuration(last)
    known = {**_TUNNEL_FLAGS, **_RUN_FLAGS}
    last = {**{n: v for n, v in file.flags.items() if n in known}, **last}
    return Options(
        token=_token(last),
        metrics=last.get("metrics", Options.metrics),
        protocol=_one_of(last, "protocol", ("auto", "quic", "http2")),
        edge_ip_version=_one_of(last, "edge-ip-version", ("auto", "4", "6")),
        grace_period=_grace_period(last.get("grace-period", "30s")),
        loglevel=_one_of(last, "loglevel", ("info", "debug", "warn", "error", "fatal")),
        output=_one_of(last, "output", ("default", "json")),
        retries=int(last.get("retries", "5")),
        cacert=last.get("cacert", ""),
        edge=tuple(values.get("edge", ())),
        url=last.get("url"),
        no_prechecks=last.get("no-prechecks") == "true",
        max_edge_addr_retries=int(last.get("max-edge-addr-retries", "8")),
        ha_connections=int(last.get("ha-connections", "4")),
        configuration=file,
        set_flags={n: v for n, v in last.items() if n != "token"},
    )


def _configuration(values: dict[str, str]) -> Configuration:
    try:
        return read(values.get("config") or find())
    except Unreadable as error:
        raise Usage(str(error), 1) from error


def _flags(
    argv: Sequence[str], known: dict[str, str], command: str
) -> tuple[dict[str, list[str]], Sequence[str]]:
    values: dict[str, list[str]] = {}
    position = 0
    while position < len(argv) and argv[position].startswith("-"):
        name, given, value = argv[position].lstrip("-").partition("=")
        if name not in known:
            # Measured: the vendor's binary prints its help and exits 0 here.
            raise Usage(f"Incorrect Usage. flag provided but not defined: -{name} ({command})", 0)
        if not given:
            if name in _SWITCHES:
                value = "true"
            elif position + 1 < len(argv):
                position += 1
                value = argv[position]
            else:
                raise Usage(f"Incorrect Usage. flag needs an argument: -{name} ({command})", 0)
        values.setdefault(name, []).append(value)
        position += 1
    return values, argv[position:]


def _token(values: dict[str, str]) -> str:
    if values.get("token"):
        return values["token"]
    path = values.get("token-file")
    if not path:
        raise Usage(
            '"cloudflared tunnel run" requires the ID or name of the tunnel, or a token', 255
        )
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Usage(f"Failed to read token file: open {path}: {reason}", 255) from error


def _one_of(values: dict[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = values.get(name, allowed[0])
    if value not in allowed:
        raise Usage(f"Unknown value {value!r} of --{name}: one of {', '.join(allowed)}", 1)
    return value


def _grace_period(text: str) -> float:
    period = _duration(text)
    if period > _LONGEST_GRACE:
        raise Usage("grace-period must be equal or less than 3m0s", 1)
    return period


def _duration(text: str) -> float:
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        raise Usage(
            f'Incorrect Usage. invalid value "{text}" for flag -grace-period: parse error', 0
        )
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
