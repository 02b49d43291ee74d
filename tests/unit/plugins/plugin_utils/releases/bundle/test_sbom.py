"""The SBOM says what is installed in a release, and is a document of CycloneDX."""

from __future__ import annotations

import importlib.metadata
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import cyclonedx.schema
import jsonschema
import pytest
import referencing
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.bundle import sbom

PROXY = "proxy-1.2.3-cp311-x86_64-0badcafe.tar.gz"
CLOUDFLARED = "cloudflared-77.tar.gz"
ENTRIES = {
    PROXY: {"part": "proxy", "version": "1.2.3-cp311-x86_64-0badcafe"},
    CLOUDFLARED: {
        "part": "cloudflared",
        "version": "2026.10.0-77777777",
        "release": "2026.10.0",
        "architecture": "x86_64",
        "binary": "77" * 32,
    },
    "key-1.asc": {"part": "repository key", "version": "1"},
}
FILES = {
    "bin/mcp-proxy": "#!/usr/bin/python3\n",
    "lib/mcp_proxy/__init__.py": '"""The proxy."""\n\n__version__ = "1.2.3"\n',
    "lib/PyYAML-6.0.3.dist-info/METADATA": (
        "Metadata-Version: 2.4\nName: PyYAML\nVersion: 6.0.3\nLicense: MIT\n\nName: not this\n"
    ),
    "lib/typing_extensions-4.16.0.dist-info/METADATA": (
        "Metadata-Version: 2.4\nName: typing_extensions\nVersion: 4.16.0\n"
        "License-Expression: PSF-2.0\n"
    ),
    "lib/typing_extensions-4.16.0.dist-info/RECORD": "x\n",
    "lib/other/vendored-9.dist-info/METADATA": "Name: vendored\nVersion: 9\n",
    "module-lib/typing_extensions-4.16.0.dist-info/METADATA": (
        "Metadata-Version: 2.4\nName: typing_extensions\nVersion: 4.16.0\n"
    ),
    "module-lib/long-1.dist-info/METADATA": (
        "Metadata-Version: 2.1\nName: long\nVersion: 1\nLicense: " + "All of it. " * 50 + "\n"
    ),
}


@pytest.fixture
def archives(tmp_path):
    for name in ENTRIES:
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            for path, text in FILES.items() if name == PROXY else ():
                info = tarfile.TarInfo(path)
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))
    return {name: tmp_path / name for name in ENTRIES}


def components(document, name):
    (found,) = [one for one in document["components"] if one["bom-ref"] == name]
    return found


def test_it_names_what_is_installed_in_the_release(archives, tmp_path):
    """By the words of Python's own reader of installed distributions."""
    (tmp_path / "tree").mkdir()
    subprocess.run(["tar", "-xzf", archives[PROXY], "-C", tmp_path / "tree"], check=True)
    installed = sorted(
        (lib, found.metadata["Name"], found.version)
        for lib in ("lib", "module-lib")
        for found in importlib.metadata.distributions(path=[str(tmp_path / "tree" / lib)])
    )
    assert len(installed) == 4
    document = json.loads(sbom.sbom(archives, ENTRIES))
    said = sorted(
        (one["properties"][0]["value"], one["name"], one["version"])
        for one in components(document, PROXY)["components"]
        if one["type"] == "library"
    )
    assert said == installed
    (own,) = [one for one in components(document, PROXY)["components"] if "purl" not in one]
    assert (own["name"], own["version"]) == ("mcp_proxy", "1.2.3")


def test_compiled_modules_are_ours_and_on_no_index(archives, tmp_path):
    name = "lib/mcp_proxy_compiled-1.2.3+ab.dist-info/METADATA"
    text = b"Name: mcp_proxy_compiled\nVersion: 1.2.3+ab\nLicense-Expression: GPL-3.0-or-later\n"
    with tarfile.open(archives[PROXY], "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    (found,) = components(json.loads(sbom.sbom(archives, ENTRIES)), PROXY)["components"]
    assert (found["name"], found["version"]) == ("mcp_proxy_compiled", "1.2.3+ab")
    assert "purl" not in found


def test_it_is_valid(archives):
    schemas = Path(cyclonedx.schema.__file__).parent / "_res"
    texts = {path.name: json.loads(path.read_text()) for path in schemas.glob("*.schema.json")}
    registry = referencing.Registry().with_resources(
        (f"http://cyclonedx.org/schema/{name}", referencing.Resource.from_contents(text))
        for name, text in texts.items()
        if name.startswith(("spdx", "jsf", "crypto"))
    )
    validator = jsonschema.Draft7Validator(texts["bom-1.6.SNAPSHOT.schema.json"], registry=registry)
    document = json.loads(sbom.sbom(archives, ENTRIES))
    assert list(validator.iter_errors(document)) == []
    document["components"][0]["type"] = "nonsense"
    assert len(list(validator.iter_errors(document))) == 1


def test_cloudflared_is_known_by_its_binary_and_its_release(archives):
    found = components(json.loads(sbom.sbom(archives, ENTRIES)), CLOUDFLARED)
    assert found["hashes"] == [{"alg": "SHA-256", "content": "77" * 32}]
    assert found["purl"] == "pkg:github/cloudflare/cloudflared@2026.10.0"


def test_the_same_archives_give_the_same_bytes(archives):
    assert sbom.sbom(archives, ENTRIES) == sbom.sbom(dict(reversed(archives.items())), ENTRIES)


def test_without_its_library_there_is_one_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cyclonedx.output.json", None)
    with pytest.raises(TunnelError, match="cyclonedx-python-lib: is not installed") as caught:
        sbom.check_library()
    assert "pip install 'cyclonedx-python-lib" in caught.value.remedy
