"""The SBOM of a finished image: CycloneDX, made by its own library, of the image's own files."""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from .podman import Podman

_SITES = ("usr/lib/python3/dist-packages", "usr/local/lib/python3.*/*-packages")
_COLLECTIONS = "usr/share/ansible/collections/ansible_collections/*/*/MANIFEST.json"


def sbom(podman: Podman, image: str) -> str:
    """The document about the image. It is read as a file system: nothing in it is run.

    :raises Refused: if podman cannot mount it.
    """
    root = Path(podman.run("image", "mount", image).strip())
    try:
        return _document(image, root)
    finally:
        podman.run("image", "unmount", image)


def _document(image: str, root: Path) -> str:
    name, _colon, version = image.rpartition(":")
    bom = Bom()
    bom.metadata.component = Component(name=name, version=version, type=ComponentType.CONTAINER)
    for found in (*_debian(root), *_python(root), *_collections(root)):
        bom.components.add(found)
    bom.register_dependency(bom.metadata.component, bom.components)
    return str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"


def _debian(root: Path) -> Iterator[Component]:
    """The installed packages of dpkg's database; other systems have none."""
    database = root / "var/lib/dpkg/status"
    text = database.read_text(errors="replace") if database.is_file() else ""
    for entry in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", entry, re.MULTILINE))
        if fields.get("Status") == "install ok installed":
            qualifiers = {"arch": fields["Architecture"]}
            yield _component("deb", "debian", fields["Package"], fields["Version"], qualifiers)


def _python(root: Path) -> Iterator[Component]:
    for pattern in _SITES:
        for site in root.glob(pattern):
            for package in importlib.metadata.distributions(path=[str(site)]):
                yield _component("pypi", None, package.metadata["Name"], package.version)


def _collections(root: Path) -> Iterator[Component]:
    for manifest in root.glob(_COLLECTIONS):
        about = json.loads(manifest.read_text())["collection_info"]
        yield _component("generic", about["namespace"], about["name"], about["version"])


def _component(
    kind: str,
    namespace: str | None,
    name: str,
    version: str,
    qualifiers: dict[str, str] | None = None,
) -> Component:
    url = PackageURL(kind, namespace, name, version, qualifiers)
    return Component(
        name=name, version=version, type=ComponentType.LIBRARY, purl=url, bom_ref=url.to_string()
    )
