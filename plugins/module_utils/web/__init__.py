# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP for machines: the servers that may get secrets, requests, and the meaning of failures.

``web`` sends; ``messages`` are requests and answers, independent of a library; ``places`` are URLs
and CAs that may be trusted; ``failures`` says whether a request was sent at all.

Called by ``identity`` and ``api``. Imports ``core`` only.
"""
