from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import pins

ROOT = Path(__file__).parents[5]
DEFAULTS = yaml.safe_load((ROOT / "roles/cloudflared/defaults/main.yml").read_text())
SPECS = yaml.safe_load((ROOT / "roles/cloudflared/meta/argument_specs.yml").read_text())


@pytest.mark.parametrize(
    "version", ["2025.4.0", "2026.8.2", "2026.9.3", "2026.10.0", "2026.10.1", "2026.9.10", "2026.9"]
)
def test_what_trusts_lost_keys_is_known(version):
    assert "eMudhra" in pins.known_bad(version)


@pytest.mark.parametrize("version", ["2026.10.2", "2026.10.10", "2026.11.1", "2027.1.0"])
def test_what_came_after_is_not(version):
    assert pins.known_bad(version) == ""


@pytest.mark.parametrize("text", ["", "latest", "2026.10.0/..", "2026..1", "9" * 50])
def test_nothing_is_known_of_what_is_no_version(text):
    assert pins.known_bad(text) == ""


def test_every_pin_is_for_every_architecture():
    for version, sums in pins.PINS.items():
        pins.check_version(version)
        assert sums.keys() == pins.VENDOR_ARCHITECTURES.keys()
        assert all(pins.is_sha256(text) and text == text.lower() for text in sums.values())
    every = [text for sums in pins.PINS.values() for text in sums.values()]
    assert len(set(every)) == len(every)


def test_the_newest_pin_is_the_default_and_the_documented_one():
    options = SPECS["argument_specs"]["main"]["options"]
    row = f"| `cloudflared_version` | `{pins.NEWEST}` |"
    assert max(pins.PINS, key=lambda text: [int(part) for part in text.split(".")]) == pins.NEWEST
    assert DEFAULTS["cloudflared_version"] == pins.NEWEST
    assert options["cloudflared_version"]["default"] == pins.NEWEST
    assert row in (ROOT / "docs/variables.md").read_text()


@pytest.mark.parametrize("version", ["2025.4.0", "2026.4.10", "2026.4", "2024.12.2"])
def test_what_does_not_know_the_flags_of_our_unit(version):
    assert pins.is_too_old(version)


@pytest.mark.parametrize("version", ["2026.5.0", "2026.10.0", "2027.1.0", "latest", ""])
def test_what_may_know_them(version):
    assert not pins.is_too_old(version)


def test_the_newest_flag_is_one_that_the_unit_gives():
    unit = ROOT / "roles/cloudflared/files/mcp-cloudflared@.service"
    assert f"--{pins.NEWEST_FLAG} " in unit.read_text()
