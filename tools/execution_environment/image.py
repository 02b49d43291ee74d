"""Builds the image with ansible-builder."""

from __future__ import annotations

from pathlib import Path

from .inputs import ROOT, version
from .podman import Podman

_DEFINITION = ROOT / "execution-environment/execution-environment.yml"
NAME = "localhost/mcp-tunnels-stack"


def build(podman: Podman, directory: Path, base: str, network: str) -> str:
    """Builds on the image *base*; returns the new image's name.

    :param network: podman's: ``none``, or ``host`` where the base lacks packages.
    :raises Refused: if ansible-builder fails.
    """
    name = f"{NAME}:{version()}"
    podman.program(
        [
            *("ansible-builder", "build", f"--file={_DEFINITION}", f"--tag={name}"),
            *(f"--context={directory / 'context'}", "--container-runtime=podman"),
            *(
                "--squash=all",
                "--prune-images",
                "--verbosity=3",
                f"--build-arg=EE_BASE_IMAGE={base}",
            ),
            f"--extra-build-cli-args=--network={network} --pull=never",
        ]
    )
    return name
