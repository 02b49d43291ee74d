"""``tools/execution-environment --bundle DIRECTORY``: see docs/execution-environment.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import base, contents, image, inputs
from .podman import Podman
from .refused import Refused

DIRECTORY = inputs.ROOT / ".build/execution-environment"


def main() -> None:
    """Builds the image, and writes its SBOM beside it."""
    parser = argparse.ArgumentParser(prog="tools/execution-environment", description=__doc__)
    parser.add_argument(
        "--bundle",
        type=Path,
        required=True,
        help="the directory that the playbook assemble has made",
    )
    parser.add_argument(
        "--base",
        help="an image to build on, with the network for the packages that it lacks; without, "
        "Debian 12 from mmdebstrap, without the network",
    )
    parser.add_argument(
        "--python", default=inputs.PYTHON, help="the version of the base's Python (%(default)s)"
    )
    options = parser.parse_args()
    try:
        _build(options.bundle.resolve(), options.base, options.python)
    except Refused as refused:
        print(refused.output, end="", file=sys.stderr)
        sys.exit(f"{parser.prog}: {refused}")


def _build(bundle: Path, given: str | None, python: str) -> None:
    podman = Podman(DIRECTORY)
    inputs.gather(DIRECTORY / "inputs", bundle, python)
    podman.prepare()
    if given and not podman.has(given):
        podman.run("pull", "--quiet", given)
    name = image.build(
        podman, DIRECTORY, given or base.ensure(podman), network="host" if given else "none"
    )
    document = DIRECTORY / "sbom.cdx.json"
    document.write_text(contents.sbom(podman, name))
    size = int(podman.run("image", "inspect", "--format={{.Size}}", name))
    print(f"{name}: {size / 1e6:.0f} MB; its SBOM is {document.relative_to(inputs.ROOT)}")


if __name__ == "__main__":
    main()
