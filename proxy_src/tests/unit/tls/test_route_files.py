"""Client certificates and CAs of single routes: read, judged, renewed."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path

import pytest
from cryptography import x509
from exposed import samples
from mcp_proxy.config.model import Address, Config, RouteOptions, RouteTls, Tls, Upstream
from mcp_proxy.config.wire import to_wire
from mcp_proxy.process.control import MAX_BYTES, encode_message
from mcp_proxy.tls import route_files
from mcp_proxy.tls.route_files import Renewals, invalidities, with_contents
from mcp_proxy.watch.metrics import Metrics
from pki import Authority, Issued, client_pair

AUTHORITY = Authority()
FIRST, SECOND = client_pair(AUTHORITY), client_pair(AUTHORITY)
EXPIRED = client_pair(AUTHORITY, begins_days=-9, ends_days=-1)


class Route:
    """The options of the route ``wiki``, and its files."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.put(FIRST)
        (home / "ca.crt").write_bytes(AUTHORITY.cert)
        self.options = RouteOptions(
            client_cert=str(home / "tls.crt"),
            client_key=str(home / "tls.key"),
            ca_file=str(home / "ca.crt"),
            server_name="wiki.lan",
        )

    def put(self, pair: Issued) -> None:
        pair.write(self.home)

    def config(self) -> Config:
        """The configuration as it was read, with the contents of no file."""
        return Config(
            Address("127.0.0.1", 1),
            Tls("/cert", "/key"),
            {"wiki": Upstream("https", "h", 443), "echo": Upstream("http", "h", 80)},
            {"wiki": self.options, "echo": RouteOptions(spread=True)},
        )

    def read(self) -> Config:
        config, errors = with_contents(self.config())
        assert errors == []
        return config

    def error(self) -> str:
        config, (error,) = with_contents(self.config())
        assert config.route_options["wiki"].tls is None
        return str(error)


@pytest.fixture
def route(tmp_path: Path) -> Route:
    return Route(tmp_path)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[list[tuple[str, str]]]:
    """Level and text of the lines of the log, with the problem that they name."""
    lines: list[tuple[str, str]] = []

    class Journal(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields = record.__dict__.get("mcp_fields", {})
            lines.append((record.getMessage(), str(fields.get("problem", fields.get("serial")))))

    logger, handler = logging.getLogger("mcp_proxy"), Journal()
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(before)


def test_contents_of_the_files(route: Route) -> None:
    options = route.read().route_options
    tls = options["wiki"].tls
    assert tls is not None
    assert (tls.cert.encode(), tls.key.encode()) == (FIRST.cert, FIRST.key)
    assert (tls.ca.encode(), tls.server_name) == (AUTHORITY.cert, "wiki.lan")
    assert options["echo"].tls is None
    assert "PRIVATE KEY" not in repr(options)


def test_one_option_alone(route: Route) -> None:
    for name in ("ca_file", "server_name"):
        only = RouteOptions(**{name: getattr(route.options, name)})
        config = replace(route.config(), route_options={"wiki": only})
        found, errors = with_contents(config)
        assert errors == []
        assert found.route_options["wiki"].tls is not None


def test_files_that_are_no_pair(route: Route) -> None:
    (route.home / "tls.key").write_bytes(SECOND.key)
    assert route.error() == (
        f"route_options.wiki.client_key: the key in {route.home}/tls.key does not match the "
        f"certificate in {route.home}/tls.crt; put the key there that the certificate was made for"
    )


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("tls.crt", None, "client_cert: cannot read DIR/tls.crt: No such file or directory; check"),
        ("tls.key", None, "client_key: cannot read DIR/tls.key: No such file or directory; check"),
        ("ca.crt", None, "ca_file: cannot read DIR/ca.crt: No such file or directory; check"),
        ("tls.crt", b"x", "client_cert: no usable PEM certificate in DIR/tls.crt; put the client"),
        ("tls.key", b"x", "client_key: no usable PEM private key in DIR/tls.key; put the client"),
        ("ca.crt", b"x", "ca_file: DIR/ca.crt: no usable PEM certificate in this file; put the CA"),
    ],
)
def test_a_file_of_no_use(route: Route, file: str, content: bytes | None, expected: str) -> None:
    path = route.home / file
    path.unlink() if content is None else path.write_bytes(content)
    expected = expected.replace("DIR", str(route.home))
    assert route.error().startswith(f"route_options.wiki.{expected}")


def test_one_that_is_not_valid_is_read_and_told(route: Route, log: list[tuple[str, str]]) -> None:
    route.put(EXPIRED)
    (error,) = invalidities(route.read())
    assert str(error).startswith("route_options.wiki.client_cert: expired at ")
    Renewals(Metrics()).tell(route.read())
    assert [text for text, _ in log] == ["client certificate loaded", "certificate not valid"]
    assert log[1][1].startswith("expired at ")


def test_a_renewed_one_is_found(route: Route, log: list[tuple[str, str]]) -> None:
    renewals, config = Renewals(Metrics()), route.read()
    renewals.tell(config)
    assert renewals.look(config) is None
    route.put(SECOND)
    (route.home / "ca.crt").write_bytes(b"read with a reload, and not now")
    renewed = renewals.look(config)
    assert renewed is not None
    old, new = config.route_options["wiki"].tls, renewed.route_options["wiki"].tls
    assert old is not None
    assert new == replace(old, cert=SECOND.cert.decode(), key=SECOND.key.decode())
    assert renewed.route_options["echo"] == config.route_options["echo"]
    assert renewals.look(renewed) is None
    loaded = "client certificate loaded"
    assert log == [(loaded, f"{FIRST.serial:x}"), (loaded, f"{SECOND.serial:x}")]


def test_a_bad_one_is_refused_once(route: Route, log: list[tuple[str, str]]) -> None:
    renewals, config = Renewals(Metrics()), route.read()
    renewals.tell(config)
    log.clear()
    (route.home / "tls.key").write_bytes(SECOND.key)
    assert [renewals.look(config) for _ in range(3)] == [None] * 3
    route.put(EXPIRED)
    assert [renewals.look(config) for _ in range(3)] == [None] * 3
    (route.home / "tls.crt").unlink()
    assert [renewals.look(config) for _ in range(3)] == [None] * 3
    refused = "new client certificate refused, the old one stays in use"
    assert [text for text, _ in log] == [refused] * 3
    assert "does not match" in log[0][1]
    assert log[1][1].startswith("expired at ")
    assert "No such file" in log[2][1]
    route.put(SECOND)
    assert renewals.look(config) is not None


def test_what_is_not_valid_is_better_than_what_is_not_valid_either(route: Route) -> None:
    route.put(EXPIRED)
    config = route.read()
    route.put(client_pair(AUTHORITY, begins_days=-9, ends_days=-2))
    assert Renewals(Metrics()).look(config) is not None


class Time(datetime):
    """Stands still, but for the test."""

    present = datetime.now(timezone.utc)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return cls.present.astimezone(tz)


def test_the_end_of_the_one_in_use_is_told_once(
    route: Route, log: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_proxy.tls.certificates.datetime", Time)
    renewals, config = Renewals(Metrics()), route.read()
    renewals.tell(config)
    assert renewals.look(config) is None
    monkeypatch.setattr(Time, "present", Time.present + timedelta(days=40_000))
    log.clear()
    assert [renewals.look(config) for _ in range(3)] == [None] * 3
    (line,) = log
    assert line[0] == "certificate not valid"
    assert line[1].startswith("expired at ")
    monkeypatch.setattr(Time, "present", Time.present - timedelta(days=80_000))
    assert [renewals.look(config) for _ in range(3)] == [None] * 3
    assert log[1][0] == "certificate not valid"
    assert log[1][1].startswith("not valid before ")
    assert len(log) == 2


def test_after_a_reload_only_what_has_changed_is_told(
    route: Route, log: list[tuple[str, str]]
) -> None:
    renewals, config = Renewals(Metrics()), route.read()
    renewals.tell(config)
    log.clear()
    renewals.tell(route.read())
    assert log == []
    route.put(SECOND)
    renewals.tell(route.read())
    assert log == [("client certificate loaded", f"{SECOND.serial:x}")]
    renewals.tell(replace(config, route_options={}))
    renewals.tell(route.read())
    assert log == [("client certificate loaded", f"{SECOND.serial:x}")] * 2


def test_the_end_of_the_one_in_use_is_shown(route: Route) -> None:
    """By route, for each that has one: after a renewal, a reload, and no more without one."""
    metrics = Metrics()
    renewals, config = Renewals(metrics), route.read()

    def shown() -> dict[str, float]:
        return {
            dict(labels)["route"]: value
            for (name, labels), value in samples(metrics).items()
            if name == "mcp_proxy_client_certificate_expiry_timestamp_seconds"
        }

    def end(pair: Issued) -> dict[str, float]:
        return {"wiki": x509.load_pem_x509_certificate(pair.cert).not_valid_after_utc.timestamp()}

    assert shown() == {}
    renewals.tell(config)
    assert shown() == end(FIRST)
    later = client_pair(AUTHORITY, ends_days=120)
    route.put(later)
    renewed = renewals.look(config)
    assert renewed is not None
    assert shown() == end(later)
    route.put(EXPIRED)  # is refused
    assert renewals.look(renewed) is None
    assert shown() == end(later)
    renewals.tell(replace(config, route_options={}))
    assert shown() == {}


@pytest.mark.parametrize("when", [{"begins_days": -9, "ends_days": -1}, {"begins_days": 3}])
def test_a_reload_takes_no_invalid_one_in_place_of_a_valid_one(
    route: Route, when: dict[str, int]
) -> None:
    running = route.read()
    route.put(client_pair(AUTHORITY, **when))
    config, (error,) = with_contents(route.config(), running)
    assert re.fullmatch(
        r"route_options\.wiki\.client_cert: (expired at|not valid before) \S+; put a valid "
        "certificate there",
        str(error),
    )
    assert config.route_options["wiki"].tls is None
    # There is no better one.
    for worse in (replace(running, route_options={}), route.read()):
        route.put(EXPIRED)
        assert with_contents(route.config(), worse)[1] == []
    route.put(SECOND)
    assert with_contents(route.config(), running)[1] == []


def test_the_files_of_all_routes_together_have_a_limit(
    route: Route, log: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control characters, because such a file takes six times its size on the way to a worker."""
    monkeypatch.setattr("mcp_proxy.tls.route_files._MAX_BYTES", 1 << 20)
    (route.home / "ca.crt").write_bytes(b"\x01" * 60_000 + b"\n" + AUTHORITY.cert)

    def config(*routes: str) -> Config:
        return replace(route.config(), route_options=dict.fromkeys(routes, route.options))

    fits, errors = with_contents(config("a", "b"))
    assert errors == []
    _, (error,) = with_contents(config("a", "b", "c"))
    assert str(error) == (
        "route_options: client_cert, client_key and ca_file of all routes are more than 1 MiB "
        "together; leave only certificates and keys in these files, and put CAs that many routes "
        "share into upstream.tls.ca_file"
    )
    renewals = Renewals(Metrics())
    renewals.tell(fits)
    log.clear()
    (route.home / "tls.crt").write_bytes(b"\x01" * 60_000 + b"\n" + SECOND.cert)
    (route.home / "tls.key").write_bytes(SECOND.key)
    assert [renewals.look(fits) for _ in range(2)] == [None] * 2
    assert [text for text, _ in log] == ["new client certificate refused, the old one stays in use"]
    route.put(SECOND)
    assert renewals.look(fits) is not None


def test_the_largest_files_fit_into_a_message(route: Route) -> None:
    def config(size: int) -> Config:
        options = replace(route.options, tls=RouteTls(ca="\x01" * size))
        return replace(route.config(), route_options={"wiki": options})

    most = (1 << 25) // len(json.dumps("\x01")[1:-1]) - 10
    assert route_files._too_much(config(most)) == []
    assert route_files._too_much(config(most + 20)) != []
    body = encode_message("settings", config=to_wire(config(most)))
    assert len(body) < MAX_BYTES / 2  # the rest is for all else
