from __future__ import annotations

import json
import os
import stat
from concurrent import futures
from urllib.parse import parse_qs

import grpc
import jwt as pyjwt
import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.identity import (
    Identity,
    metadata_url,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.sources import (
    IDENTITY_SPEC,
    check_source,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.web import Web
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes.fake_http import (
    Answer,
    FakeHttp,
    json_answer,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.jwts import (
    SIGNATURE,
    make_jwt,
)
from spiffe._proto import workload_pb2, workload_pb2_grpc

TOKEN = make_jwt(sub="spiffe://lab.example/state")
NOTHING = dict.fromkeys(IDENTITY_SPEC)


def fetch(source, retries=0, **options):
    whole = NOTHING | {"identity_source": source}
    whole |= {f"identity_{name}": value for name, value in options.items()}
    web = Web(retries=retries)
    return check_source(whole).fetch(Identity(whole, web, Web(retries=0, direct=True)))


def failure(source, **options):
    with pytest.raises(TunnelError) as caught:
        fetch(source, **options)
    assert SIGNATURE not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def serve(direct):
    servers = []

    def start(answer):
        server = FakeHttp(answer if callable(answer) else lambda _asked: answer)
        servers.append(server.__enter__())
        return server

    yield start
    for server in servers:
        server.__exit__()


def test_gcp(serve):
    server = serve(Answer(200, TOKEN.encode()))
    assert fetch("gcp", endpoint=f"{server.url}/", audience="x") == TOKEN
    fetch("gcp", endpoint=server.url)
    asked = server.asked[0]
    assert asked.path == "/computeMetadata/v1/instance/service-accounts/default/identity"
    assert asked.query == {"audience": "x", "format": "full"}
    assert asked.headers["metadata-flavor"] == "Google"
    assert server.asked[1].query["audience"] == "https://api.anthropic.com"
    message = failure("gcp", endpoint=serve(Answer(404, TOKEN.encode())).url)
    assert "GCP metadata: http://127.0.0.1" in message
    assert "answered 404" in message


@pytest.mark.parametrize("app", ["11-22", "api://11-22"])
def test_azure(serve, app):
    server = serve(json_answer(200, {"access_token": TOKEN}))
    assert fetch("azure", endpoint=server.url, azure_app_id=app) == TOKEN
    fetch("azure", endpoint=server.url, azure_app_id=app, azure_client_id="33")
    asked = server.asked[0]
    assert asked.path == "/metadata/identity/oauth2/token"
    assert asked.query == {"api-version": "2018-02-01", "resource": "api://11-22"}
    assert asked.headers["metadata"] == "true"
    assert server.asked[1].query["client_id"] == "33"
    other = serve(json_answer(200, {"token": TOKEN}))
    message = failure("azure", endpoint=other.url, azure_app_id=app)
    assert "the answer holds no access_token" in message


def test_github_actions(serve, monkeypatch):
    assert "are not both set" in failure("github_actions")
    server = serve(json_answer(200, {"value": TOKEN}))
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{server.url}/token?api-version=2.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "planted-bearer")
    assert fetch("github_actions", audience="a b&c") == TOKEN
    assert server.asked[0].query == {"api-version": "2.0", "audience": "a b&c"}
    assert server.asked[0].headers["authorization"] == "Bearer planted-bearer"
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "http://github.example/?x=1")
    message = failure("github_actions")
    assert "ACTIONS_ID_TOKEN_REQUEST_URL: is plain http" in message
    assert "planted-bearer" not in message


def test_okta_gets_an_assertion_of_its_own_with_each_attempt(serve, tmp_path, monkeypatch):
    """Okta accepts each once, and a first attempt may have used it up."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    key = tmp_path / "okta.pem"
    key.write_text(openssl.make_key(("-algorithm", "RSA")))
    answers = [Answer(silent=True), json_answer(503, {}), json_answer(200, {"access_token": TOKEN})]
    server = serve(lambda _asked: answers.pop(0))
    options = {"okta_issuer": server.url, "okta_client_id": "0oa1", "okta_key_file": str(key)}
    assert fetch("okta", retries=2, **options) == TOKEN
    sent = {parse_qs(asked.body.decode())["client_assertion"][0] for asked in server.asked}
    assert len(sent) == 3


@pytest.mark.parametrize("algorithm", [None, "ES256"])
def test_okta(serve, tmp_path, algorithm):
    kind = openssl.EC if algorithm else ("-algorithm", "RSA")
    key = tmp_path / "okta.pem"
    key.write_text(openssl.make_key(kind))
    server = serve(json_answer(200, {"access_token": TOKEN, "token_type": "Bearer"}))
    options = {
        "okta_issuer": f"{server.url}/oauth2/default",
        "okta_client_id": "0oa1",
        "okta_key_file": str(key),
        "okta_key_id": "key-7",
        "okta_scope": "tunnels",
        "okta_algorithm": algorithm,
    }
    assert fetch("okta", **options) == TOKEN
    [asked] = server.asked
    url = f"{server.url}/oauth2/default/v1/token"
    assert asked.path == "/oauth2/default/v1/token"
    form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
    assertion = form.pop("client_assertion")
    assert form == {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "scope": "tunnels",
    }
    assert pyjwt.get_unverified_header(assertion)["kid"] == "key-7"
    public = openssl.public_key_of_key(key.read_text())
    claims = pyjwt.decode(assertion, public, [algorithm or "RS256"], audience=url)
    assert claims["iss"] == claims["sub"] == "0oa1"
    assert claims["exp"] - claims["iat"] == 300

    refusal = serve(json_answer(401, {"error": "invalid_client", "error_description": assertion}))
    message = failure("okta", **{**options, "okta_issuer": refusal.url})
    assert f"Okta: {refusal.url}/v1/token answered 401 invalid_client" in message
    assert assertion not in message
    key.write_text("-----BEGIN PRIVATE KEY-----\nplanted\n-----END PRIVATE KEY-----\n")
    message = failure("okta", **options)
    assert f"{key}: is not an unencrypted PEM private key for" in message
    assert "planted" not in message
    assert "is plain http" in failure("okta", **{**options, "okta_issuer": "http://okta.example"})


class WorkloadApi(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """Answer as SPIRE's agent does, or report that there is no entry."""

    def __init__(self):
        self.asked = []
        self.knows = True

    def FetchJWTSVID(self, request, context):
        metadata = dict(context.invocation_metadata())
        self.asked.append((list(request.audience), metadata.get("workload.spiffe.io")))
        if not self.knows:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        svid = workload_pb2.JWTSVID(spiffe_id="spiffe://lab.example/state", svid=TOKEN)
        return workload_pb2.JWTSVIDResponse(svids=[svid])


@pytest.fixture
def workload_api(tmp_path, direct):
    service = WorkloadApi()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(service, server)
    service.path = str(tmp_path / "api.sock")
    server.add_insecure_port(f"unix:{service.path}")
    server.start()
    yield service
    server.stop(None).wait()


def test_spiffe_by_the_library(workload_api, monkeypatch):
    assert fetch("spiffe", spiffe_socket=workload_api.path) == TOKEN
    for form in (workload_api.path, f"unix://{workload_api.path}", f"unix:{workload_api.path}"):
        monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", form)
        assert fetch("spiffe") == TOKEN
    assert workload_api.asked[0] == (["https://api.anthropic.com"], "true")
    workload_api.knows = False
    message = failure("spiffe")
    assert f"SPIFFE Workload API {workload_api.path}: gave no token" in message
    message = failure("spiffe", spiffe_socket="/nowhere.sock")
    assert "identity_spiffe_socket: there is no Workload API socket /nowhere.sock" in message


def test_spiffe_never_looks_into_tmp_by_itself(monkeypatch):
    looked = []
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET", raising=False)
    monkeypatch.setattr(os.path, "exists", lambda path: bool(looked.append(path)))
    message = failure("spiffe")
    # TLS libraries look for their certificates in the meantime.
    sockets = [path for path in map(str, looked) if path.endswith(".sock")]
    assert sockets == ["/run/spire/agent/public/api.sock"]
    assert "SPIFFE_ENDPOINT_SOCKET" in message


def test_a_spiffe_socket_that_a_local_user_may_have_made_is_refused(
    workload_api, tmp_path, monkeypatch
):
    shared = tmp_path / "shared"
    (shared / "spire-agent").mkdir(parents=True)
    shared.chmod(0o1777)
    socket = shared / "spire-agent" / "api.sock"
    socket.symlink_to(workload_api.path)
    assert fetch("spiffe", spiffe_socket=str(socket)) == TOKEN
    if os.geteuid() == 0:
        os.chown(shared / "spire-agent", 65534, 65534)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    message = failure("spiffe", spiffe_socket=str(socket))
    assert f"{shared}/spire-agent lies where every local user can make it" in message


def test_spiffe_by_the_command(tmp_path):
    socket, agent = tmp_path / "api.sock", tmp_path / "spire-agent"
    socket.touch()
    output = json.dumps([{"svids": [{"spiffe_id": "spiffe://x", "svid": TOKEN}]}, {}])
    agent.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/words\necho '{output}'\n")
    agent.chmod(stat.S_IRWXU)
    options = {"spiffe_socket": str(socket), "spiffe_agent": str(agent), "audience": "x"}
    assert fetch("spiffe", **options) == TOKEN
    words = f"api fetch jwt -audience x -socketPath {socket} -output json\n"
    assert (tmp_path / "words").read_text() == words
    agent.write_text(f"#!/bin/sh\necho '{TOKEN}'\n")
    assert "identity_spiffe_agent: printed no JWT-SVID" in failure("spiffe", **options)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254",
        "http://metadata.google.internal/",
        "http://[fd00:ec2::254]",
        "http://127.0.0.1:8080",
        "https://metadata.example",
    ],
)
def test_metadata_of_this_machine_may_be_plain_http(url):
    assert metadata_url(url, "identity_endpoint") == url.rstrip("/")


@pytest.mark.parametrize("url", ["http://10.0.0.1", "http://metadata.example", "x", "http://["])
def test_other_metadata_may_not(url):
    with pytest.raises(TunnelError, match="identity_endpoint: is"):
        metadata_url(url, "identity_endpoint")
