from __future__ import annotations

from datetime import datetime, timezone
from unittest import mock
from urllib.parse import parse_qs

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.aws_signature import (
    AwsCredentials,
    sign_post,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.identity import Identity
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.sources import (
    IDENTITY_SPEC,
    check_source,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.web import Web
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.fakes.fake_http import (
    Answer,
    FakeHttp,
    json_answer,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.jwts import make_jwt
from botocore import auth, awsrequest, credentials
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

TOKEN = make_jwt()
SECRET = "planted/secret+key"
IMDS_TOKEN = "planted-imds-token"
ROLE = "/latest/meta-data/iam/security-credentials/"
PROVIDED = {"AccessKeyId": "ASIAX", "SecretAccessKey": SECRET, "Token": "planted-session"}
_XML = '<GetWebIdentityTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">' + (
    "<GetWebIdentityTokenResult><WebIdentityToken>{}</WebIdentityToken>"
    "<Expiration>2026-11-01T12:00:00Z</Expiration></GetWebIdentityTokenResult>"
    "</GetWebIdentityTokenResponse>"
)
DENIAL = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
    b"<Message>no</Message></Error></ErrorResponse>"
)


def botocore_authorization(url, body, keys, region, now):
    request = awsrequest.AWSRequest("POST", url, data=body)
    request.headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
    signer = auth.SigV4Auth(credentials.Credentials(*keys), "sts", region)
    with mock.patch.object(auth, "get_current_datetime", return_value=now):
        signer.add_auth(request)
    return dict(request.headers.items())


@given(
    st.binary(max_size=200),
    st.text("abcXYZ012/+", min_size=1, max_size=40),
    st.sampled_from([None, "session//token=="]),
    st.sampled_from(["https://sts.eu-central-1.amazonaws.com/", "http://127.0.0.1:4566/base/"]),
)
def test_our_signature_is_that_of_botocore(body, secret, session, url):
    now = datetime(2026, 11, 1, 12, 30, 59, tzinfo=timezone.utc)
    theirs = botocore_authorization(url, body, ("AKIDX", secret, session), "eu-central-1", now)
    ours = sign_post(
        url, body, AwsCredentials("AKIDX", secret, session or ""), "eu-central-1", "sts", now
    )
    assert ours["authorization"] == theirs["Authorization"]
    assert ours["x-amz-date"] == theirs["X-Amz-Date"]
    assert ours.get("x-amz-security-token") == theirs.get("X-Amz-Security-Token")


class Aws(FakeHttp):
    """STS, a container's endpoint and the instance's metadata service on one port."""

    def __init__(self):
        super().__init__(self._respond)
        self.sts = Answer(200, _XML.format(TOKEN).encode())

    def _respond(self, asked):
        if asked.method == "POST":
            return self.sts
        if asked.path == "/container":
            return json_answer(200, PROVIDED)
        if asked.method == "PUT" and asked.path == "/latest/api/token":
            return Answer(200, IMDS_TOKEN.encode())
        if asked.headers.get("x-aws-ec2-metadata-token") != IMDS_TOKEN:
            return Answer(401)
        answers = {
            ROLE: Answer(200, b"state-host"),
            f"{ROLE}state-host": json_answer(200, PROVIDED),
            "/latest/meta-data/placement/region": Answer(200, b"eu-west-1"),
        }
        return answers.get(asked.path, Answer(404))


@pytest.fixture
def aws(direct):
    with Aws() as server:
        yield server


def fetch(aws, **options):
    given = {"endpoint": aws.url, "aws_metadata_endpoint": aws.url, **options}
    whole = dict.fromkeys(IDENTITY_SPEC) | {"identity_source": "aws"}
    whole |= {f"identity_{name}": value for name, value in given.items()}
    web = Web(retries=0)
    return check_source(whole).fetch(Identity(whole, web, Web(retries=0, direct=True)))


def test_an_instance(aws):
    assert fetch(aws, audience="x") == TOKEN
    sts = aws.asked[-1]
    assert parse_qs(sts.body.decode()) == {
        "Action": ["GetWebIdentityToken"],
        "Version": ["2011-06-15"],
        "Audience.member.1": ["x"],
        "SigningAlgorithm": ["RS256"],
        "DurationSeconds": ["900"],
    }
    assert "Credential=ASIAX/" in sts.headers["authorization"]
    assert "/eu-west-1/sts/aws4_request" in sts.headers["authorization"]
    assert sts.headers["x-amz-security-token"] == "planted-session"
    assert SECRET not in str(aws.asked)


def test_the_request_is_that_of_botocore(aws, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDX")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    client = Session().create_client("sts", "eu-central-1", endpoint_url=aws.url)
    answer = client.get_web_identity_token(
        Audience=["https://api.anthropic.com"], SigningAlgorithm="RS256", DurationSeconds=900
    )
    assert answer["WebIdentityToken"] == TOKEN  # our stand-in answers as botocore expects
    assert fetch(aws, aws_region="eu-central-1") == TOKEN
    theirs, ours = aws.asked
    assert (ours.method, ours.path) == (theirs.method, theirs.path)
    assert parse_qs(ours.body.decode()) == parse_qs(theirs.body.decode())
    assert ours.headers["content-type"] == theirs.headers["content-type"]


def test_the_environment_and_a_container(aws, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{aws.url}/container")
    (tmp_path / "token").write_text("planted-container-token\n")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    assert fetch(aws) == TOKEN
    assert aws.asked[0].headers["authorization"] == "planted-container-token"
    assert "/us-east-2/sts" in aws.asked[1].headers["authorization"]

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert fetch(aws) == TOKEN
    assert "Credential=AKIDENV/" in aws.asked[-1].headers["authorization"]
    assert "x-amz-security-token" not in aws.asked[-1].headers


def test_refusals(aws, monkeypatch):
    aws.sts = Answer(403, DENIAL)
    with pytest.raises(TunnelError) as caught:
        fetch(aws)
    assert f"AWS STS GetWebIdentityToken: {aws.url} answered 403 AccessDenied" in str(caught.value)
    aws.sts = Answer(200, b"<html>")
    with pytest.raises(TunnelError, match="answered 200 without a token"):
        fetch(aws)
    with pytest.raises(TunnelError, match="identity_aws_region: is not a region"):
        fetch(aws, aws_region="eu/../")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://10.0.0.1/container")
    with pytest.raises(TunnelError, match="AWS_CONTAINER_CREDENTIALS_FULL_URI: is plain http"):
        fetch(aws)


def test_a_machine_without_role(direct):
    with FakeHttp(lambda _asked: Answer(404)) as server:
        with pytest.raises(TunnelError, match=r"AWS credentials: .* answered 404") as caught:
            fetch(server)
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)
