"""The identity platforms as a part of a lab."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from ..core.credentials import issue, write_secret
from ..core.services import Plan, Service, Site, python_service
from ..network.addresses import IDENTITY_V4, METADATA_V4
from . import github, okta
from .aws_metadata import REGION
from .directory import IdentityDirectory
from .issuers import WORLD

PART = "identity"
PLACE = f"{IDENTITY_V4}:443"
_STS = f"sts.{REGION}.amazonaws.com"
_GITHUB = "pipelines.actions.githubusercontent.com"


def plan(site: Site) -> Plan:
    """Serves the metadata address and the issuers at their own names."""
    directory = IdentityDirectory(site.directory(PART))
    issuers = {str(urlsplit(url).hostname) for url in WORLD.values()}
    names = [*sorted(issuers), _STS, _GITHUB]
    issued = issue("Laboratory identity CA", tuple(names))
    ca, certificate, key = (directory.path / name for name in ("ca.crt", "tls.crt", "tls.key"))
    ca.write_text(issued.ca)
    certificate.write_text(issued.certificate)
    write_secret(key, issued.key)
    # Both are made now, since the facts name their files.
    directory.okta_public_key()
    directory.github_token()

    def ready() -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(directory.control))
        for place in ((METADATA_V4, 80), (IDENTITY_V4, 443)):
            socket.create_connection(place, timeout=1).close()
        return True

    service = Service(
        name=PART,
        argv=python_service(
            "lab.identity",
            *("--directory", str(directory.path)),
            *("--bind", f"{METADATA_V4}:80", "--bind-tls", PLACE),
            *("--certificate", str(certificate), "--key", str(key)),
        ),
        ready=ready,
    )
    return Plan(
        services=[service],
        names={
            "metadata.google.internal": [METADATA_V4],
            **{each: [IDENTITY_V4] for each in names},
        },
        facts={
            "identity_control": str(directory.control),
            "identity": {
                "aws_region": REGION,
                "github_request_url": f"https://{_GITHUB}{github.REQUEST}",
                "github_request_token_file": str(directory.github_token_file),
                "okta_issuer": WORLD["okta"],
                "okta_client_id": okta.CLIENT_ID,
                "okta_client_key_file": str(directory.okta_client),
                "okta_scope": okta.SCOPE,
                "spiffe_socket": str(directory.workload),
            },
        },
        trusted_cas=[issued.ca],
    )
