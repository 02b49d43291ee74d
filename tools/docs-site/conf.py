"""Sphinx's configuration of the documentation site, which ``tools/docs`` builds."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "mcp_tunnels.stack"
author = "The mcp_tunnels.stack authors"
html_title = "mcp_tunnels.stack"

extensions = ["myst_parser", "sphinx_antsibull_ext", "site_links"]
exclude_patterns = ["diagrams/*.dot"]
highlight_language = "none"
pygments_style = "ansible"

# The anchors that a forge gives to headings, for links such as proxy.md#reload.
myst_heading_anchors = 4
# The forge shows a folder that a guide names; here it has no page.
nitpicky = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
