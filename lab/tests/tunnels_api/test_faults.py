"""Faults in front of and behind each call's effect, and what survives a killed process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.lib.credentials import WorkloadIdentityError

from lab.core.errors import LabError
from lab.tests import patient
from lab.tests.loopback import PATIENCE, wait_for
from lab.tests.platforms import Api, authority
from lab.tunnels_api.faults import CALLS


@pytest.fixture
def client(api: Api) -> anthropic.Anthropic:
    made = api.client()
    made.beta.tunnels.list()
    return made


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("429", anthropic.RateLimitError),
        ("500", anthropic.InternalServerError),
        ("504", anthropic.InternalServerError),
        ("529", anthropic.InternalServerError),
    ],
)
def test_statuses(api: Api, client: anthropic.Anthropic, fault: str, kind: Any) -> None:
    api.ask("fault", call="create", fault=fault, times=2, retry_after=7)
    for _ in range(2):
        with pytest.raises(kind) as refused:
            client.beta.tunnels.create()
        assert refused.value.status_code == int(fault)
        assert refused.value.response.headers["retry-after"] == "7"
        assert refused.value.request_id
    assert client.beta.tunnels.create()
    faults = [each["fault"] for each in api.audit() if each["call"] == "create"]
    assert faults == [fault, fault, None]


@pytest.mark.parametrize(
    ("fault", "made"),
    [("reset_before", 0), ("reset_after", 1), ("timeout_before", 0), ("timeout_after", 1)],
)
def test_lost_answers(api: Api, client: anthropic.Anthropic, fault: str, made: int) -> None:
    api.ask("fault", call="create", fault=fault)
    silent = fault.startswith("timeout")
    with pytest.raises(anthropic.APIConnectionError) as lost:
        client.with_options(timeout=5 if silent else PATIENCE).beta.tunnels.create()
    assert isinstance(lost.value, anthropic.APITimeoutError) == silent
    # The client that gave up does not know how far the API had got.
    wait_for(lambda: any(each["call"] == "create" for each in api.audit()))
    assert len(list(client.beta.tunnels.list())) == made
    entry = next(each for each in api.audit() if each["call"] == "create")
    assert (entry["fault"], entry["status"], entry["request_id"]) == (fault, None, None)


def test_silence_is_bounded(api: Api, client: anthropic.Anthropic) -> None:
    api.ask("fault", call="list", fault="timeout_before", seconds=0.3)
    began = time.monotonic()
    with pytest.raises(anthropic.APIConnectionError) as lost:
        client.beta.tunnels.list()
    assert not isinstance(lost.value, anthropic.APITimeoutError)
    assert time.monotonic() - began >= 0.3


def test_truncated(api: Api, client: anthropic.Anthropic) -> None:
    api.ask("fault", call="create", fault="truncated")
    answer = client.beta.tunnels.with_raw_response.create()
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.text())
    assert len(list(client.beta.tunnels.list())) == 1


def test_slow(api: Api, client: anthropic.Anthropic) -> None:
    api.ask("fault", call="list", fault="slow", seconds=0.5)
    began = time.monotonic()
    client.beta.tunnels.list()
    assert time.monotonic() - began >= 0.5


def test_exchange(api: Api) -> None:
    rule = api.add_rule()
    api.ask("fault", call="exchange", fault="529")
    api.ask("fault", call="exchange", fault="reset_after")
    with pytest.raises(WorkloadIdentityError) as refused:
        api.credentials(rule)()
    assert refused.value.status_code == 529
    with pytest.raises(WorkloadIdentityError, match="Failed to reach token endpoint"):
        api.credentials(rule)()
    assert api.credentials(rule)().token


def test_every_call_by_its_name(api: Api, client: anthropic.Anthropic) -> None:
    tunnels, certificates = client.beta.tunnels, client.beta.tunnels.certificates
    tunnel = tunnels.create()
    certificate = certificates.create(tunnel.id, ca_certificate_pem=authority())
    calls: dict[str, Callable[[], object]] = {
        "create": tunnels.create,
        "get": lambda: tunnels.retrieve(tunnel.id),
        "list": tunnels.list,
        "archive": lambda: tunnels.archive(tunnel.id),
        "reveal_token": lambda: tunnels.reveal_token(tunnel.id),
        "rotate_token": lambda: tunnels.rotate_token(tunnel.id),
        "add_certificate": lambda: certificates.create(tunnel.id, ca_certificate_pem=authority()),
        "list_certificates": lambda: certificates.list(tunnel.id),
        "get_certificate": lambda: certificates.retrieve(certificate.id, tunnel_id=tunnel.id),
        "archive_certificate": lambda: certificates.archive(certificate.id, tunnel_id=tunnel.id),
    }
    assert set(calls) == set(CALLS) - {"exchange"}
    before = api.ask("status")
    for name, call in calls.items():
        api.ask("fault", call=name, fault="500")
        with pytest.raises(anthropic.InternalServerError):
            call()
        assert api.audit()[-1]["call"] == name
    assert api.ask("status") == before


def test_clients_own_retries(api: Api, client: anthropic.Anthropic) -> None:
    api.ask("fault", call="get", fault="429", times=2, retry_after=0)
    tunnel = client.beta.tunnels.create()
    assert client.with_options(max_retries=2).beta.tunnels.retrieve(tunnel.id) == tunnel


def test_unknown_faults(api: Api) -> None:
    with pytest.raises(LabError, match="call 'nothing'"):
        api.ask("fault", call="nothing", fault="500")
    with pytest.raises(LabError, match="fault 'fire'"):
        api.ask("fault", call="get", fault="fire")
    with pytest.raises(LabError, match="cannot understand"):
        api.ask("fault", call="get")
    assert api.ask("faults") == []


def test_state_survives_a_kill(api: Api, client: anthropic.Anthropic) -> None:
    tunnel = client.beta.tunnels.create(display_name="kept")
    certificate = client.beta.tunnels.certificates.create(tunnel.id, ca_certificate_pem=authority())
    token = client.beta.tunnels.rotate_token(tunnel.id)
    before = api.audit()
    api.kill()
    with pytest.raises(httpx2.ConnectError):
        patient.get(api.url)
    api.start()
    assert api.audit() == before
    # The access token is still good, too: no new exchange.
    assert client.beta.tunnels.retrieve(tunnel.id) == tunnel
    assert client.beta.tunnels.reveal_token(tunnel.id) == token
    assert list(client.beta.tunnels.certificates.list(tunnel.id)) == [certificate]
    assert [each["call"] for each in api.audit()[len(before) :]] == [
        *("get", "reveal_token", "list_certificates")
    ]


def test_state_file_is_private(api: Api) -> None:
    assert api.directory.store.path.stat().st_mode & 0o777 == 0o600


def test_plain_http_only_on_loopback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab.tunnels_api", "--directory", ".", "--bind", "192.0.2.1:80"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "plain http is for loopback only" in done.stderr
