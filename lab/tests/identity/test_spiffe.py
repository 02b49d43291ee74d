"""The Workload API, with the published SPIFFE client, and the stand-in for spire-agent."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import pytest
from spiffe import SpiffeId, TrustDomain, WorkloadApiClient
from spiffe.workloadapi.errors import FetchJwtSvidError

from lab.identity.spiffe import agent, messages
from lab.identity.spiffe.workload import SUBJECT, TRUST_DOMAIN
from lab.tests.loopback import PATIENCE
from lab.tests.platforms import AUDIENCE, Api, Identity


def _client(identity: Identity) -> WorkloadApiClient:
    return WorkloadApiClient(f"unix:{identity.directory.workload}")


def test_published_client(identity: Identity, api: Api) -> None:
    with _client(identity) as client:
        svid = client.fetch_jwt_svid({AUDIENCE})
        assert (str(svid.spiffe_id), svid.audience) == (SUBJECT, {AUDIENCE})
        bundle = client.fetch_jwt_bundles().get_bundle_for_trust_domain(TrustDomain(TRUST_DOMAIN))
        assert bundle is not None
        assert set(bundle.jwt_authorities) == set(identity.ask("status")["spiffe"]["kids"])
        same = client.fetch_jwt_svid({AUDIENCE}, SpiffeId(SUBJECT))
        assert same.spiffe_id == svid.spiffe_id
        with pytest.raises(FetchJwtSvidError, match="no identity issued"):
            client.fetch_jwt_svid({AUDIENCE}, SpiffeId(f"{TRUST_DOMAIN}/other"))
    assert api.credentials(api.add_rule("spiffe"), svid.token)().token


def test_security_header(identity: Identity) -> None:
    with grpc.insecure_channel(f"unix:{identity.directory.workload}") as channel:
        fetch = channel.unary_unary(
            f"/{messages.SERVICE}/FetchJWTSVID",
            messages.JWTSVIDRequest.SerializeToString,
            messages.JWTSVIDResponse.FromString,
        )
        request = messages.JWTSVIDRequest(audience=[AUDIENCE])
        for metadata in (None, [("workload.spiffe.io", "false")]):
            with pytest.raises(grpc.RpcError) as refused:
                fetch(request, metadata=metadata, timeout=PATIENCE)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError, match="audience must be specified"):
            fetch(
                messages.JWTSVIDRequest(),
                metadata=[("workload.spiffe.io", "true")],
                timeout=PATIENCE,
            )


def test_agent(identity: Identity, api: Api, tmp_path: Path) -> None:
    command = tmp_path / "spire-agent"
    agent.install(command)
    fetch = ["api", "fetch", "jwt", "-audience", AUDIENCE]
    here = ["-socketPath", str(identity.directory.workload)]
    found = json.loads(_output(command, *fetch, *here, "-output", "json"))
    svid = found[0]["svids"][0]
    assert svid["spiffe_id"] == SUBJECT
    assert json.loads(base64.b64decode(found[1]["bundles"][TRUST_DOMAIN]))["keys"]
    assert api.credentials(api.add_rule("spiffe"), svid["svid"])().token
    assert _output(command, *fetch, *here).startswith(f"token({SUBJECT}):\n\tey")


def test_agent_without_a_socket(tmp_path: Path) -> None:
    command = tmp_path / "spire-agent"
    agent.install(command)
    done = subprocess.run(
        [command, "api", "fetch", "jwt", "-audience", "x", "-socketPath", tmp_path / "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "code = UNAVAILABLE" in done.stderr


def _output(*command: str | Path) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=PATIENCE
    ).stdout
