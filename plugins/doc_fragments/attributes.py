# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes that every module of this collection has."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Predicts the change and modifies nothing.
  diff_mode:
    support: full
    description: Shows public facts only. Of secret content it says that it changes, never what it
      is.
  platform:
    support: full
    platforms: posix
    description: Runs on Linux hosts with Python 3.9 or later.
"""
