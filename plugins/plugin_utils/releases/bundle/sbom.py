# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The software bill of materials of a bundle: CycloneDX 1.6 in JSON, made by its own library.

It says what is in the archives, as the packages there say it themselves (``*.dist-info``), not what
a lock asked for. The same archives give the same bytes.
"""

from __future__ import annotations

import email.parser
import email.policy
import hashlib
import json
import re
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import collection
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import compiled

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

LIBRARY = "cyclonedx-python-lib"
_METADATA = re.compile(r"([^/]+)/[^/]+\.dist-info/METADATA")
_OWN = "lib/mcp_proxy/__init__.py"
_OWN_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
_LONGEST_LICENSE = 100  # characters; some packages put its whole text there


@dataclass(frozen=True)
class Package:
    """An installed distribution: the directory of the release that has it, and its metadata."""

    directory: str
    name: str
    version: str
    license: str


def check_library() -> None:
    """Whether the library is there, before anything is assembled.

    :raises TunnelError: if it is not.
    """
    try:
        import cyclonedx.output.json  # noqa: F401
    except ImportError as error:
        raise TunnelError(
            LIBRARY,
            f"is not installed for Ansible's Python, and writes the SBOM of a bundle: {error}",
            f"Install it there: python3 -m pip install '{LIBRARY}>=11,<12'. Only the controller "
            "that assembles bundles needs it",
        ) from None


def sbom(archives: Mapping[str, Path], entries: Mapping[str, Mapping[str, str]]) -> str:
    """The SBOM of these archives.

    :param archives: file name to path.
    :param entries: file name to what the manifest says about it: ``part``, ``version`` and others.
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    version = collection.version()
    root = Component(
        name=collection.NAME,
        version=version,
        type=ComponentType.APPLICATION,
        bom_ref=f"{collection.NAME}@{version}",
    )
    bom = Bom()
    bom.metadata.component = root
    releases = []
    for name in sorted(archives):
        release = _release(name, archives[name], entries[name])
        if release:
            releases.append(release)
            bom.components.add(release)
            bom.register_dependency(release, release.components)
    bom.register_dependency(root, releases)
    for release in releases:
        for part in release.components:
            bom.register_dependency(part)
    # In place of a random number and a time: the same content has the same serial number.
    content = "".join(f"{release.name} {release.version}" for release in releases)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{collection.NAME} {version} {content}")
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"].pop("timestamp", None)
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def packages(archive: Path) -> Iterator[Package]:
    """The distributions in a release of the proxy, and the proxy itself."""
    with tarfile.open(archive, "r:gz") as packed:
        for member in packed:
            found = _METADATA.fullmatch(member.name)
            content = packed.extractfile(member) if found or member.name == _OWN else None
            if content is None:
                continue
            text = content.read().decode("utf-8", "replace")
            if found:
                yield _package(found[1], text)
            else:
                own = _OWN_VERSION.search(text)
                yield Package("lib", "mcp_proxy", own[1] if own else "", "GPL-3.0-or-later")


def _package(directory: str, metadata: str) -> Package:
    headers = email.parser.HeaderParser(policy=email.policy.compat32).parsestr(metadata)
    text = str(headers.get("License-Expression") or headers.get("License") or "").strip()
    is_short = len(text) <= _LONGEST_LICENSE and "\n" not in text
    return Package(directory, headers["Name"], headers["Version"], text if is_short else "")


def _release(name: str, archive: Path, entry: Mapping[str, str]) -> Component | None:
    """The component of one archive; ``None`` if it is no software, but a key."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    common: dict[str, Any] = {
        "version": entry["version"],
        "type": ComponentType.APPLICATION,
        "bom_ref": name,
    }
    if entry["part"] == "proxy":
        with archive.open("rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        return Component(
            name=name,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
            components=[_component(name, package) for package in packages(archive)],
            **common,
        )
    if entry["part"] == "cloudflared":
        release = entry.get("release")
        url = PackageURL("github", "cloudflare", "cloudflared", release) if release else None
        return Component(
            name="cloudflared",
            purl=url,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=entry["binary"])],
            **common,
        )
    return None


def _component(archive: str, package: Package) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    # Made here: on no index.
    is_own = package.name in ("mcp_proxy", compiled.NAME)
    licenses = [LicenseFactory().make_from_string(package.license)] if package.license else []
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.APPLICATION if is_own else ComponentType.LIBRARY,
        bom_ref=f"{archive}/{package.directory}/{package.name}@{package.version}",
        purl=None if is_own else PackageURL("pypi", None, package.name, package.version),
        licenses=licenses,
        properties=[Property(name=f"{collection.NAME}:directory", value=package.directory)],
    )
