# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The failure of an action of the controller: a headline, and one entry for each problem.

ansible-core 2.19 and later show the message of a failure twice for each host. So the message is
short, and the problems are a list, which every format of results shows one below the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def refusal(headline: str, problems: Iterable[object]) -> dict[str, Any]:
    """The result of an action that refuses.

    :param headline: one line without full stop: the refusal, and its consequence.
    :param problems: errors or texts; those of several lines become several entries.
    """
    lines = [line for problem in problems for line in str(problem).splitlines()]
    return {
        "failed": True,
        "changed": False,
        "msg": f"{headline}. See problems.",
        "problems": lines,
        # As debug does: results in JSON are indented, even without -v.
        "_ansible_verbose_always": True,
    }
