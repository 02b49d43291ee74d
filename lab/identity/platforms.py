"""All platforms as one ASGI application, and their control API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from ..core.errors import LabError
from ..wire import control
from . import aws_metadata, aws_sts, azure, discovery, gcp, github, kubernetes, okta
from .directory import IdentityDirectory
from .issuers import Issuer
from .spiffe.workload import SUBJECT as SPIFFE_SUBJECT

#: Platform -> subject of its tokens.
SUBJECTS = {
    "gcp": gcp.SUBJECT,
    "azure": azure.SUBJECT,
    "aws": aws_sts.SUBJECT,
    "github": github.SUBJECT,
    "okta": okta.CLIENT_ID,
    "spiffe": SPIFFE_SUBJECT,
    "kubernetes": kubernetes.SUBJECT,
}


class Platforms:
    """The platforms with their issuers.

    Args:
        directory: holds the keys.
        urls: platform -> URL of its issuer.
    """

    def __init__(self, directory: IdentityDirectory, urls: dict[str, str]) -> None:
        self._directory = directory
        self.issuers = {name: directory.issuer(name, url) for name, url in urls.items()}

    def application(self) -> Starlette:
        """Return the ASGI application."""
        of, role = self.issuers, self._directory.aws_role
        client = okta.Client(self._directory.okta_public_key(), of["okta"])
        return Starlette(
            routes=[
                *gcp.routes(of["gcp"]),
                *azure.routes(of["azure"]),
                *aws_metadata.routes(role),
                *aws_sts.routes(of["aws"], role),
                *github.routes(of["github"], self._directory.github_token()),
                *okta.routes(of["okta"], client),
                *discovery.routes(of.values()),
            ]
        )

    def control(self) -> control.Control:
        """Return the server of the control API."""
        return control.Control(
            {
                "status": self._status,
                "issue": self._issue,
                "rotate-key": self._rotate_key,
                "project": self._project,
            }
        )

    def _status(self) -> dict[str, Any]:
        return {
            name: {"issuer": issuer.url, "subject": SUBJECTS[name], "kids": issuer.kids}
            for name, issuer in self.issuers.items()
        }

    def _issue(self, platform: str, claims: dict[str, Any], **options: Any) -> dict[str, str]:
        """Sign any claims; options as in `Issuer.sign`."""
        every = {"sub": SUBJECTS.get(platform), **claims}
        return {"token": self._issuer(platform).sign(every, **options)}

    def _rotate_key(self, platform: str, keep_old: bool = False) -> dict[str, list[str]]:
        return {"kids": self._issuer(platform).rotate(keep_old)}

    def _project(self, directory: str, audience: str) -> dict[str, str]:
        path = kubernetes.project(self.issuers["kubernetes"], Path(directory), audience)
        return {"token_file": str(path)}

    def _issuer(self, platform: str) -> Issuer:
        if platform not in self.issuers:
            raise LabError(f"platform {platform!r}: one of {', '.join(self.issuers)}")
        return self.issuers[platform]
