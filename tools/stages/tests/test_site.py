"""The documentation site: quoted sentences exist, links are checked, pictures fit their sources."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/troubleshooting.md").read_text()
#: The sources of our parts' messages, and the laboratory, which says what the vendor's parts do.
SOURCES = ("plugins", "proxy_src/src", "roles", "playbooks", "lab")
SAYING = ("the client reads", "the log or `verify` says", "the log says", "the run says", "symptom")
#: OpenSSL's own words, which come with ``tls handshake failed``.
OF_OTHERS = {
    "unknown ca",
    "certificate expired",
    "Too many open files",
    "/ready",
    "/readyz",
    "verify",
}


def said() -> str:
    """All sources of messages; literals that Python joins are one text."""
    texts = [
        path.read_text()
        for folder in SOURCES
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".yml", ".j2", ".service", ".conf"}
        and "lab/tests" not in str(path)
    ]
    return re.sub(r'"\s*\n\s*[bfr]*"', "", "\n".join(texts))


def quoted(guide: str) -> list[str]:
    """The quotes in the first column of each table of sentences."""
    found: list[str] = []
    saying = False
    for line in guide.splitlines():
        first = line.split("|")[1].strip() if line.startswith("|") else ""
        if first in SAYING or not line.startswith("|"):
            saying = first in SAYING
        elif saying:
            found += re.findall(r"`([^`]+)`", first)
    return [text for text in found if text not in OF_OTHERS]


def test_what_the_guide_quotes_is_said() -> None:
    all_of_it = said()
    quotes = quoted(GUIDE)
    assert len(quotes) > 25
    assert [text for text in quotes if text not in all_of_it] == []


def test_each_sentence_that_clients_get_is_in_the_guide() -> None:
    sources = "\n".join(
        (ROOT / "proxy_src/src/mcp_proxy/upstream" / name).read_text()
        for name in ("exchange.py", "dial.py")
    )
    sentences = set(re.findall(r'"((?:Upstream|No route) [a-zA-Z ]+)"', sources))
    assert len(sentences) > 7
    assert [text for text in sorted(sentences) if f"`{text}`" not in GUIDE] == []


@pytest.mark.parametrize(
    "source", sorted((ROOT / "docs/diagrams").glob("*.dot")), ids=lambda path: path.stem
)
def test_each_picture_is_of_its_source(source: Path) -> None:
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert source.with_suffix(".svg").read_text().endswith(f"<!-- {digest} -->\n"), (
        "run tools/diagrams"
    )


def of_the_site(name: str) -> Any:
    """A module of the site, whose folder is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/docs-site/{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_of_the_collection_have_pages_of_the_reference() -> None:
    page = of_the_site("site_links").reference_page
    assert page("plugins/modules/replica.py") == "reference/replica_module"
    assert page("plugins/lookup/identity_token.py") == "reference/identity_token_lookup"
    assert page("roles/proxy/README.md") == "reference/proxy_role"
    assert page("tools/test") == ""


def test_titles_are_short_and_contents_are_left_to_the_theme() -> None:
    text = "mcp_tunnels.stack.x module -- Does y\n++++++++++++\n\n.. contents::\n   :local:\n\nz\n"
    assert of_the_site("site_links")._for_the_theme(text) == (
        "x module\n++++++++++++\n\n*Does y.*\n\n\nz\n"
    )


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    module = of_the_site("check_links")
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here"><a href="b.html#there"><a href="https://other.example/x">'
        '<a href="#gone"><a href="b.html#gone"><img src="c.png">'
    )
    (tmp_path / "b.html").write_text('<p id="there">')
    assert module.broken_links(tmp_path) == [
        "a.html: #gone: no such anchor",
        "a.html: b.html#gone: no such anchor",
        "a.html: c.png: no such file",
    ]
