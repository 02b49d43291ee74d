"""The server itself: TLS, and many clients at once."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anthropic
import httpx2
import pytest

from lab.core.credentials import issue, write_secret
from lab.tests import patient
from lab.tests.platforms import Api, Identity


@pytest.fixture
def client_over_tls(
    tmp_path: Path, identity: Identity
) -> Iterator[tuple[Api, anthropic.Anthropic]]:
    issued = issue("API CA", ("localhost",))
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_text(issued.certificate)
    write_secret(key, issued.key)
    (tmp_path / "api").mkdir()
    options = ("--certificate", str(certificate), "--key", str(key))
    api = Api(tmp_path / "api", identity, *options)
    api.url = api.url.replace("http://127.0.0.1", "https://localhost")
    http = httpx2.Client(verify=ssl.create_default_context(cadata=issued.ca))
    credentials = api.credentials(api.add_rule(), http_client=http)
    yield (
        api,
        anthropic.Anthropic(
            base_url=api.url, credentials=credentials, http_client=http, max_retries=0
        ),
    )
    api.kill()


def test_tls(client_over_tls: tuple[Api, anthropic.Anthropic]) -> None:
    api, client = client_over_tls
    tunnel = client.beta.tunnels.create()
    with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        patient.get(api.url)
    for fault in ("reset_before", "reset_after"):
        api.ask("fault", call="get", fault=fault)
        with pytest.raises(anthropic.APIConnectionError):
            client.beta.tunnels.retrieve(tunnel.id)
    assert client.beta.tunnels.retrieve(tunnel.id) == tunnel


def test_many_at_once(api: Api) -> None:
    """Each exchanges a token of its own, and the limit holds."""
    rule = api.add_rule()

    def create(number: int) -> str | None:
        try:
            return api.client(rule).beta.tunnels.create(display_name=str(number)).id
        except anthropic.ConflictError:
            return None

    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(create, range(16)))
    assert len(set(made) - {None}) == 10
    assert made.count(None) == 6
    assert {each.id for each in api.client(rule).beta.tunnels.list()} == set(made) - {None}
