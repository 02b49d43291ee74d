"""AWS, with botocore as the client: role credentials from the instance, then a web identity."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import botocore.session  # type: ignore[import-untyped]
import jwt
import pytest
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from botocore.utils import InstanceMetadataFetcher  # type: ignore[import-untyped]

from lab.identity.aws_metadata import REGION, ROLE
from lab.identity.aws_sts import SUBJECT
from lab.tests import patient
from lab.tests.loopback import PATIENCE
from lab.tests.platforms import AUDIENCE, Api, Identity


def _role(identity: Identity) -> dict[str, Any]:
    fetcher = InstanceMetadataFetcher(timeout=PATIENCE, num_attempts=1, base_url=identity.url + "/")
    found: dict[str, Any] = fetcher.retrieve_iam_role_credentials()
    return found


def _sts(identity: Identity, **change: str) -> Any:
    role = {**_role(identity), **change}
    return botocore.session.get_session().create_client(
        "sts",
        region_name=REGION,
        endpoint_url=identity.url,
        aws_access_key_id=role["access_key"],
        aws_secret_access_key=role["secret_key"],
        aws_session_token=role["token"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_role_credentials(identity: Identity) -> None:
    role = _role(identity)
    assert role["role_name"] == ROLE
    assert role["access_key"].startswith("ASIA")
    place = f"{identity.url}/latest/meta-data/iam/security-credentials/"
    assert patient.get(place).status_code == 401
    seconds = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    session = patient.put(f"{identity.url}/latest/api/token", headers=seconds).text
    headers = {"X-aws-ec2-metadata-token": session}
    assert patient.get(place, headers=headers).text == ROLE
    region = f"{identity.url}/latest/meta-data/placement/region"
    assert patient.get(region, headers=headers).text == REGION
    assert patient.get(place + "other", headers=headers).status_code == 404
    assert patient.put(f"{identity.url}/latest/api/token").status_code == 400


@pytest.mark.parametrize("algorithm", ["RS256", "ES384"])
def test_web_identity(identity: Identity, api: Api, algorithm: str) -> None:
    answer = _sts(identity).get_web_identity_token(
        Audience=[AUDIENCE], SigningAlgorithm=algorithm, DurationSeconds=900
    )
    token = answer["WebIdentityToken"]
    assert jwt.get_unverified_header(token)["alg"] == algorithm
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["sub"], claims["aud"]) == (SUBJECT, AUDIENCE)
    assert claims["exp"] - claims["iat"] == 900
    left = (answer["Expiration"] - datetime.now(timezone.utc)).total_seconds()
    assert 880 < left <= 900
    assert api.credentials(api.add_rule("aws"), token)().token


def test_several_audiences(identity: Identity) -> None:
    answer = _sts(identity).get_web_identity_token(Audience=["a", "b"], SigningAlgorithm="RS256")
    claims = jwt.decode(answer["WebIdentityToken"], options={"verify_signature": False})
    assert claims["aud"] == ["a", "b"]
    assert claims["exp"] - claims["iat"] == 300


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"secret_key": "wrong"}, "SignatureDoesNotMatch"),
        ({"token": "wrong"}, "InvalidClientTokenId"),
        ({"access_key": "ASIAWRONG"}, "InvalidClientTokenId"),
    ],
)
def test_wrong_credentials(identity: Identity, change: dict[str, str], code: str) -> None:
    with pytest.raises(ClientError) as refused:
        _sts(identity, **change).get_web_identity_token(
            Audience=[AUDIENCE], SigningAlgorithm="RS256"
        )
    assert refused.value.response["Error"]["Code"] == code
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(
    "options",
    [
        {"SigningAlgorithm": "HS256"},
        {"SigningAlgorithm": "RS256", "DurationSeconds": 3601},
        {"SigningAlgorithm": "RS256", "DurationSeconds": 61, "Audience": ["x"] * 11},
    ],
)
def test_wrong_parameters(identity: Identity, options: dict[str, Any]) -> None:
    client = _sts(identity)
    with pytest.raises(ClientError) as refused:
        client.get_web_identity_token(**{"Audience": [AUDIENCE], **options})
    assert refused.value.response["Error"]["Code"] == "ValidationError"


def test_other_requests(identity: Identity) -> None:
    with pytest.raises(ClientError) as refused:
        _sts(identity).get_caller_identity()
    assert refused.value.response["Error"]["Code"] == "InvalidAction"
    unsigned = patient.post(identity.url, data={"Action": "GetWebIdentityToken"})
    assert unsigned.status_code == 403
    assert "MissingAuthenticationToken" in unsigned.text


def test_changed_body(identity: Identity) -> None:
    """A signed request whose body was changed on the way."""
    client = _sts(identity)

    def change(request: Any, **_: Any) -> None:
        request.body = request.body.replace("RS256", "ES384")

    client.meta.events.register("before-send.sts.*", change)
    with pytest.raises(ClientError) as refused:
        client.get_web_identity_token(Audience=[AUDIENCE], SigningAlgorithm="RS256")
    assert refused.value.response["Error"]["Code"] == "SignatureDoesNotMatch"
