# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP for machines: which servers may get secrets, what is sent, and what a failure means.

``web`` sends; ``messages`` are requests and answers without a library in sight; ``places`` are URLs
and CAs that may be trusted; ``failures`` says whether a request was sent at all.

Called by ``identity`` and ``api``. Imports ``core`` only.
"""
