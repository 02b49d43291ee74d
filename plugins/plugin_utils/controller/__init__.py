# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller itself: its collection, its cache, and how an action refuses.

``cache`` keeps what was built once, in files that ``private_path`` has found to be nobody else's;
``collection`` knows which version this is; ``job`` says whether somebody can answer a question;
``refusals`` shows all problems under one headline.

Called by action plugins and the other rooms of plugin_utils. Imports ``core`` of module_utils only.
"""
