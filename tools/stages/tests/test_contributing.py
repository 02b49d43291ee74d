"""CONTRIBUTING.md: every file that it names is there, so its lists lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
#: A path in code, from the root of the repository. Names with a capital are the reader's own.
PATH = re.compile(r"(?:[a-z0-9_.][a-z0-9_.-]*/)+[a-z0-9_.-]*|[\w.-]+\.md")
WALKS = {
    "an identity source",
    "a field of the proxy's configuration",
    "a rule of the firewall",
    "a duty",
    "a file of the state host",
    "a default of certificates",
    "a source of signatures",
    "a metric",
}


def named(text: str) -> set[str]:
    """The paths in a text: in code, in links, and in commands."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    words = re.findall(r"`([^`\n]+)`", prose) + re.findall(r"\]\(([^)#\s]+)", prose)
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        words += block.split()
    return {word for word in words if PATH.fullmatch(word) and not word.startswith(".build/")}


def test_every_path_is_there() -> None:
    # The page names the proxy's own test folder relative to the proxy.
    missing = {
        path
        for path in named(TEXT)
        if not any((ROOT / at / path).exists() for at in ("", "proxy_src"))
    }
    moved = {
        path: [str(found.relative_to(ROOT)) for found in places]
        for path in sorted(missing)
        if (places := sorted(ROOT.glob(f"[!.]*/**/{Path(path).name}")))
    }
    assert missing == set(), f"moved, perhaps: {moved}"


def test_the_walks_lead_to_files() -> None:
    sections = dict(re.findall(r"^### (.*)\n((?:(?!^#).*\n)+)", TEXT, re.MULTILINE))
    assert sections.keys() == WALKS
    for name, section in sections.items():
        assert "Tests:" in section, name
        assert len(named(section)) >= 6, name


def test_a_field_of_the_proxy_needs_five_files_at_most() -> None:
    section = TEXT.partition("### a field of the proxy's configuration\n")[2]
    product = named(section.partition("Tests:")[0])
    # The list has no name for the file that uses the field.
    assert 0 < len(product) + 1 <= 5, product


def test_a_name_that_is_wrong_is_found() -> None:
    assert named("`plugins/x.py`, [a](docs/y.md#z), `make test`, `a: b`, `TOPIC/x.yml`") == {
        "plugins/x.py",
        "docs/y.md",
    }
