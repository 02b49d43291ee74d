from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.files import (
    RuleFiles,
    Rules,
)

HOST = 'table inet mcp_tunnel { }\ninclude "/etc/nftables.d/mcp-tunnel.d/*.nft"\n'
TEMPLATE = Path(__file__).resolve().parents[5] / "roles/firewall/templates/host.nft.j2"
RULES = Rules(HOST, {"lab": "# lab\n", "default": "# default\n"})
UNITS = {
    "mcp-tunnel-firewall.service": "[Service]\n",
    "mcp-tunnel-firewall-counters.service": "[Service]\n#",
    "mcp-tunnel-firewall-counters.timer": "[Timer]\n",
    "mcp-tunnel-connections.service": "[Service]\n##",
    "nftables.service.d/mcp-tunnel.conf": "[Unit]\n",
    "mcp-tunnel-counters.py": "import this\n",
    "mcp-tunnel-connections.py": "import that\n",
    "mcp-tunnel-restore.sh": "exit\n",
}
LINKS = (
    "sysinit.target.wants/mcp-tunnel-firewall.service",
    "timers.target.wants/mcp-tunnel-firewall-counters.timer",
)


@pytest.fixture
def place(tmp_path):
    return RuleFiles(tmp_path / "nftables.d", tmp_path / "units")


def test_nothing_is_there(place):
    assert place.read() == Rules()
    assert not place.exist()


def test_what_is_written_is_read(place, tmp_path):
    place.write(RULES)
    assert place.read() == RULES
    assert place.exist()
    for path in (place.host_path, place.instance_path("lab")):
        assert path.stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "nftables.d/mcp-tunnel.d/default.nft").read_text() == "# default\n"


def test_only_what_differs_is_written(place):
    place.write(RULES)
    before = place.instance_path("lab").stat().st_ino
    place.write(RULES.with_instance(HOST, "default", "# other\n"))
    assert place.instance_path("lab").stat().st_ino == before
    assert place.instance_path("default").read_text() == "# other\n"


def test_an_instance_goes(place):
    place.write(RULES)
    place.write(RULES.without_instance("lab"))
    assert not place.instance_path("lab").exists()


def test_the_text_has_the_includes_in_the_order_of_nft():
    assert RULES.text == "table inet mcp_tunnel { }\n# default\n# lab\n"
    assert RULES.digest == Rules(HOST, dict(reversed(RULES.instances.items()))).digest
    assert RULES.digest != RULES.without_instance("lab").digest


def test_the_template_includes_the_instances_in_that_way():
    """It does so by an absolute path, which does not depend on the file that includes it."""
    assert TEMPLATE.read_text().splitlines()[-1] == HOST.splitlines()[-1]


def test_whoever_includes_our_directory_finds_rules_only(place, tmp_path):
    (tmp_path / "units").mkdir()
    place.ensure_units(UNITS, check_mode=False)
    place.write(RULES)
    files = [path for path in (tmp_path / "nftables.d").iterdir() if path.is_file()]
    assert [path.name for path in files] == ["mcp-tunnel.nft"]


def test_units_are_there_and_enabled(place, tmp_path):
    units = tmp_path / "units"
    units.mkdir()
    predicted = place.ensure_units(UNITS, check_mode=True)
    assert list(units.iterdir()) == []
    done = place.ensure_units(UNITS, check_mode=False)
    assert (done["changed"], done["changed_paths"]) == (True, predicted["changed_paths"])
    for name, text in UNITS.items():
        path = (
            tmp_path / "nftables.d/mcp-tunnel.d" if name.endswith((".py", ".sh")) else units
        ) / name
        assert path.read_text() == text
        assert path.stat().st_mode & 0o777 == 0o644
    for link in LINKS:
        assert (units / link).resolve() == units / (units / link).name
    assert not place.ensure_units(UNITS, check_mode=False)["changed"]


def test_a_unit_that_somebody_changed(place, tmp_path):
    units = tmp_path / "units"
    units.mkdir()
    place.ensure_units(UNITS, check_mode=False)
    (units / "mcp-tunnel-firewall.service").write_text("other\n")
    (units / LINKS[0]).unlink()
    done = place.ensure_units(UNITS, check_mode=False)
    names = {str(units / "mcp-tunnel-firewall.service"), str(units / LINKS[0])}
    assert set(done["changed_paths"]) == names
    assert (units / LINKS[0]).read_text() == UNITS["mcp-tunnel-firewall.service"]


@pytest.mark.parametrize("texts", [{}, {"other.service": ""}])
def test_other_units_than_ours_are_refused(place, texts):
    with pytest.raises(TunnelError, match=r"Give mcp-tunnel-counters\.py, "):
        place.ensure_units(texts, check_mode=False)


def test_removal_leaves_nothing(place, tmp_path):
    units = tmp_path / "units"
    units.mkdir()
    place.ensure_units(UNITS, check_mode=False)
    place.write(RULES)
    place.remove()
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"units", "units/sysinit.target.wants", "units/timers.target.wants"}
    assert not place.exist()


def test_removal_leaves_what_is_not_ours(place, tmp_path):
    place.write(RULES)
    (tmp_path / "nftables.d/other.nft").touch()
    (tmp_path / "units/nftables.service.d").mkdir(parents=True)
    (tmp_path / "units/nftables.service.d/other.conf").touch()
    place.remove()
    assert {path.name for path in tmp_path.rglob("other.*")} == {"other.nft", "other.conf"}
