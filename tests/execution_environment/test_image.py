"""The contents of the image: the SBOM is right, and there are no secrets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

from . import layers
from .conftest import BUILT, PLANTED
from .jobs import ROOT, SEED, Platform

#: A library that tests itself has the keys of these tests in it, as everybody can read them.
PUBLISHED = re.compile(r"/usr/lib/[^/]+/libgnutls\.so\.[0-9.]+: a private key$")


def in_image(platform: Platform, *command: str) -> str:
    """The output of a command in the image, without a network."""
    return platform.podman(
        "run", "--rm", "--pull=never", "--network=none", platform.image, *command
    )


def urls(kind: str) -> set[tuple[str, str]]:
    """Names and versions that the SBOM has of a kind of packages."""
    document = json.loads((BUILT / "sbom.cdx.json").read_text())
    found = [
        re.fullmatch(rf"pkg:{kind}/(.+)@([^?]+).*", each["purl"]) for each in document["components"]
    ]
    return {
        (unquote(match[1]).lower().replace("_", "-"), unquote(match[2])) for match in found if match
    }


def test_the_sbom_has_what_is_installed(platform: Platform) -> None:
    """pip and dpkg are asked inside of the image."""
    python = {
        (each["name"].lower().replace("_", "-"), each["version"])
        for each in json.loads(in_image(platform, "python3", "-m", "pip", "list", "--format=json"))
    }
    assert urls("pypi") == python
    listed = in_image(platform, "dpkg-query", "-W", "-f", "debian/${Package} ${Version}\\n")
    assert urls("deb") == {tuple(line.split()) for line in listed.splitlines()}
    assert len(urls("generic")) == 1


def test_the_versions_are_those_of_the_lock(platform: Platform) -> None:
    text = (ROOT / "execution-environment/requirements.txt").read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, re.MULTILINE))
    for_the_build = {"bindep", "distro", "parsley", "pbr", "setuptools"}
    assert urls("pypi") == {
        (name, version) for name, version in locked if name not in for_the_build
    }


def test_nothing_of_the_build_is_left(platform: Platform) -> None:
    """Neither wheels nor settings; the bundle is there, and only root could change it."""
    script = (
        "ls -d /opt/wheels /etc/pip.conf /output /root/.cache /etc/sudoers.d/ops 2>/dev/null;"
        f"find {SEED} ! -user root -o -perm /022; env | grep -i pip; python3 -m pip check >&2;"
        f"cd {SEED} && sha256sum --check --quiet --strict SHA256SUMS && echo whole"
    )
    shown = in_image(platform, "sh", "-c", script)
    assert shown.split() == ["PIP_BREAK_SYSTEM_PACKAGES=1", "whole"], shown


def test_no_layer_has_a_secret(platform: Platform, tmp_path: Path) -> None:
    """The builder had a token in variables and in the address of an index."""
    saved = tmp_path / "image.tar"
    platform.podman("image", "save", f"--output={saved}", platform.image)
    (key,) = (platform.paths.run_dir / "ssh/id_ed25519").read_text().split("\n")[1:2]
    found = layers.search(saved, [PLANTED, key])
    assert [each for each in found if not PUBLISHED.search(each)] == []


def test_the_search_finds_what_is_planted(tmp_path: Path) -> None:
    """In a file, in a compressed archive in a layer, in the settings, and encoded."""
    assert layers.search(layers.example(tmp_path, PLANTED), [PLANTED]) == [
        "config.json: needle 0",
        "layer.tar/etc/plain: needle 0",
        "layer.tar/etc/quoted: needle 0",
        "layer.tar/srv/packed.tar.gz/inner: needle 0",
        "layer.tar/srv/server.key: a private key",
    ]
