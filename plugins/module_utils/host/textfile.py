# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files for the textfile collector of the node exporter (Prometheus' text format 0.0.4)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files

_LABEL = "mcp_tunnel_instance"
"""The label is not ``instance``, which is Prometheus' own."""


Labels = tuple[tuple[str, str], ...]
"""Further labels of a series, as ``(("part", "files"),)``."""


@dataclass(frozen=True)
class Gauge:
    """A family of series.

    :param values: further labels to the value of the series
    """

    name: str
    meaning: str
    values: Mapping[Labels, int]


def write(directory: str, file_name: str, instance: str, gauges: Sequence[Gauge]) -> bool:
    """Writes the series of an instance; readers never see half of them.

    :param directory: that of the collector
    :return: whether there is such a directory; else nothing is written
    """
    if not os.path.isdir(directory):
        return False
    path = os.path.join(directory, file_name)
    text = "\n".join([*_lines(instance, gauges), ""]).encode()
    if secret_files.read_file(path) != text:
        # Public: the collector runs as a user of its own.
        attributes = secret_files.Attributes(os.geteuid(), os.getegid(), 0o644)
        secret_files.write_file(path, text, attributes)
    return True


def _lines(instance: str, gauges: Sequence[Gauge]) -> Iterator[str]:
    for gauge in gauges:
        yield f"# HELP {gauge.name} {gauge.meaning}"
        yield f"# TYPE {gauge.name} gauge"
        for labels, value in gauge.values.items():
            told = ",".join(f'{name}="{text}"' for name, text in ((_LABEL, instance), *labels))
            yield f"{gauge.name}{{{told}}} {value}"
