"""Links between guides and reference, which plain Markdown cannot express.

A guide stays readable on a forge: a link there leads to a file of the repository. On the site it
leads to the page of the reference that describes this file, or to the file on the forge. The name
of a variable or of a module becomes a link, and each page of the reference ends with the guides
that name it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).parents[2]
FORGE = "https://github.com/mcp-tunnels/stack/blob/main/"
#: The page with a row for each variable.
VARIABLES = "variables"
_ANSIBLE = "https://docs.ansible.com/ansible/latest/"
#: The labels of Ansible's documentation that antsibull-docs uses in this collection's pages.
_ANSIBLE_PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
    "ansible_collections.ansible.builtin.fail_module": (
        "collections/ansible/builtin/fail_module.html"
    ),
}
_LINK = re.compile(r"\]\((?:\.\./)+([^)#]+)(#[^)]*)?\)")
_PLUGIN = re.compile(r"plugins/(module|lookup|filter)s?/(\w+)\.py")
_ROLE = re.compile(r"roles/(\w+)(?:/.*)?")
# The table of contents that antsibull-docs writes for Ansible's own theme.
_CONTENTS = re.compile(r"^\.\. contents::\n(?:   +:.*\n)*", re.MULTILINE)
_TITLE = re.compile(r"^mcp_tunnels\.stack\.(\w+ \w+) -- (.+)\n(\++)\n", re.MULTILINE)
_INDEX = "Mcp_Tunnels.Stack\n================="
_NAME = re.compile(r"mcp_tunnels\.stack\.(\w+)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", _read)
    app.connect("doctree-read", _mark_rows)
    app.connect("doctree-read", _label_cells)
    app.connect("doctree-resolved", _link_names)
    app.connect("missing-reference", _of_ansible)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def reference_page(path: str) -> str:
    """The page of the reference on a file of the collection, or an empty text."""
    plugin, role = _PLUGIN.fullmatch(path), _ROLE.fullmatch(path)
    if plugin:
        return f"reference/{plugin[2]}_{plugin[1]}"
    return f"reference/{role[1]}_role" if role else ""


@cache
def role_of() -> dict[str, str]:
    """The role that describes a variable, by the variable's name."""
    return {name: role for name, (role, _entry) in _described().items()}


@cache
def _described() -> dict[str, tuple[str, str]]:
    """Role and entry point that describe a variable."""
    found = {}
    for path in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        for name, entry in yaml.safe_load(path.read_text())["argument_specs"].items():
            found.update(dict.fromkeys(entry.get("options", {}), (path.parts[-3], name)))
    return found


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    if page.startswith("reference/"):
        source[0] = _for_the_theme(source[0]) + _guides(app, page)
    elif page in app.env.found_docs and page != "index":
        source[0] = _LINK.sub(lambda link: _outside(app, page, link), source[0])


def _for_the_theme(text: str) -> str:
    """A page of the reference without its own contents, with a title that fits the navigation."""
    text = _TITLE.sub(r"\1\n\3\n\n*\2.*\n", _CONTENTS.sub("", text))
    return text.replace(_INDEX, f"Modules, roles, lookups\n{'=' * 23}")


def _outside(app: Sphinx, page: str, link: re.Match[str]) -> str:
    """Turn a link out of ``docs`` into one that works on the site."""
    path, anchor = link[1], link[2] or ""
    if (Path(app.srcdir) / path).is_file() and page.count("/"):
        return link[0]
    if not (ROOT / path).exists():
        raise ValueError(f"{page}: no file {path}, to which a link leads")
    target = reference_page(path)
    up = "../" * page.count("/")
    return f"]({up}{target}.rst)" if target else f"]({FORGE}{path}{anchor})"


def _guides(app: Sphinx, page: str) -> str:
    """The end of a page of the reference: the guides that name its subject."""
    name, _, kind = page.removeprefix("reference/").rpartition("_")
    if kind == "role":
        names = [variable for variable, role in role_of().items() if role == name]
        words = re.compile(rf"roles/{name}/|\b(?:{'|'.join(names)})\b")
    else:
        words = re.compile(rf"mcp_tunnels\.stack\.{name}\b|plugins/{kind}s?/{name}\.py")
    naming = [
        guide
        for guide in sorted(app.env.found_docs)
        if not guide.startswith("reference/")
        and guide != "index"
        and words.search(Path(app.env.doc2path(guide)).read_text())
    ]
    lines = "\n".join(f"* :doc:`/{guide}`" for guide in naming)
    return f"\n\nIn the guides\n{'-' * 13}\n\n{lines}\n" if naming else ""


def _mark_rows(app: Sphinx, tree: nodes.document) -> None:
    """Give the row of each variable its name as an anchor."""
    if app.env.docname != VARIABLES:
        return
    for row in tree.findall(nodes.row):
        for literal in row.children[0].findall(nodes.literal):
            if literal.astext() in role_of():
                row["ids"].append(literal.astext())


def _label_cells(app: Sphinx, tree: nodes.document) -> None:
    """Give each cell the heading of its column, which a phone shows in place of the first row."""
    if app.env.docname.startswith("reference/"):
        return
    for table in tree.findall(nodes.tgroup):
        head, body = table.children[-2:]
        headings = [cell.astext() for cell in head.children[0].children]
        for row in body.children:
            for heading, cell in list(zip(headings, row.children))[1:]:
                if heading and cell.astext().strip():
                    cell.children[0].insert(
                        0, nodes.inline("", f"{heading}: ", classes=["heading"])
                    )


def _link_names(app: Sphinx, tree: nodes.document, page: str) -> None:
    if page.startswith("reference/"):
        return
    for literal in list(tree.findall(nodes.literal)):
        target, anchor = _target(app, page, literal)
        if target and not isinstance(literal.parent, nodes.reference):
            link = make_refnode(app.builder, page, target, anchor, literal.deepcopy())
            literal.replace_self(link)


def _of_ansible(
    app: Sphinx, env: object, node: nodes.Element, content: nodes.Node
) -> nodes.Node | None:
    """A label of Ansible's own documentation, whose index is not fetched: it needs a network."""
    address = _ANSIBLE_PAGES.get(node.get("reftarget", ""))
    if address is None:
        return None
    return nodes.reference("", "", content, refuri=_ANSIBLE + address, internal=False)


def _target(app: Sphinx, page: str, literal: nodes.literal) -> tuple[str, str]:
    """Page and anchor for a name in a guide; empty for anything else."""
    text = literal.astext()
    role = role_of().get(text)
    if role and page != VARIABLES:
        return VARIABLES, text
    if role and any(cell.parent.index(cell) == 0 for cell in _cells(literal)):
        return f"reference/{role}_role", f"parameter-{_described()[text][1]}--{text}"
    plugin = _NAME.fullmatch(text)
    for kind in ("module", "lookup", "filter"):
        if plugin and f"reference/{plugin[1]}_{kind}" in app.env.found_docs:
            return f"reference/{plugin[1]}_{kind}", ""
    return "", ""


def _cells(node: nodes.Node) -> list[nodes.entry]:
    """The cell of a table around a node, in a list that is empty outside of tables."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, nodes.entry):
            return [node]
    return []
