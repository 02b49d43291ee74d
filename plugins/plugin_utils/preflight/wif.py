# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables of mode wif: the state host, and the tunnel that is meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.federation_ids import (
    federation_problems,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.options import check_api_id
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import (
    check_line,
    check_path,
    shape,
    shown,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.sources import (
    IDENTITY_SPEC,
    check_source,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.places import check_url
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.option_types import (
    type_problem,
)

_FEDERATION = ("federation_rule_id", "organization_id", "service_account_id", "workspace_id")
_PREFIX = "identity_"
_PROXY = re.compile("(?:https?|socks[45][ah]?)://[!-~]{1,2000}")
_LONGEST_ASSERTION = 16384  # bytes of a JWT that the exchange takes


def check_wif(values: Mapping[str, Any]) -> list[TunnelError]:
    """Everything that is wrong with the variables of mode wif; nothing in another mode."""
    if values["mcp_tunnel_mode"] != "wif":
        return []
    return [*_check_exclusive(values), *_check_access(values), *_check_identity(values)]


def _check_exclusive(values: Mapping[str, Any]) -> Iterator[TunnelError]:
    for variable in ("mcp_tunnel_token", "mcp_tunnel_token_file"):
        if values[variable]:
            yield TunnelError(
                variable,
                "is set, but mode wif fetches the token by itself",
                "Remove it, or set mcp_tunnel_mode: manual",
            )


def _check_access(values: Mapping[str, Any]) -> Iterator[TunnelError]:
    given = {name: str(values[f"mcp_tunnel_{name}"] or "") for name in _FEDERATION}
    checks: list[Callable[[], Any]] = [
        lambda: check_url(
            check_line(str(values["mcp_tunnel_api_url"]), "api_url", 2048), "api_url"
        ),
        *(
            lambda name=name: check_line(str(values[f"mcp_tunnel_{name}"]), name)
            for name in ("display_name", "token_version", "token_rotate_reason")
        ),
        lambda: _check_proxy(values["mcp_tunnel_api_proxy"]),
    ]
    if values["mcp_tunnel_api_ca_bundle"]:
        checks.append(lambda: check_path(values["mcp_tunnel_api_ca_bundle"], "api_ca_bundle"))
    if values["mcp_tunnel_id"]:
        checks.append(lambda: check_api_id(str(values["mcp_tunnel_id"]), "id"))
    found = federation_problems(given)
    for check in checks:
        try:
            check()
        except TunnelError as error:
            found.append(error)
    for each in found:
        yield TunnelError(f"mcp_tunnel_{each.subject}", each.problem, each.remedy)


def _check_proxy(url: Any) -> None:
    # It may carry a password, so it is not shown.
    if url and (not isinstance(url, str) or not _PROXY.fullmatch(url)):
        raise TunnelError(
            "api_proxy",
            f"is not the URL of a proxy, it is {shape(url)}",
            "Write it like http://proxy.example:3128",
        )


def _check_lines(identity: Mapping[str, Any]) -> None:
    """Whether each text of the map is one line: most become part of a request or a command."""
    for name, value in identity.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                check_line(text.strip(), f"{_PREFIX}{shown(name)}", _LONGEST_ASSERTION)


def _check_identity(values: Mapping[str, Any]) -> Iterator[TunnelError]:
    given = values["mcp_tunnel_identity"]
    if not isinstance(given, Mapping):
        yield TunnelError(
            "mcp_tunnel_identity",
            f"must be a map, is {shape(given)}",
            "Write below it, indented, `source: file` and what that source needs",
        )
        return
    spec = {name[len(_PREFIX) :]: option for name, option in IDENTITY_SPEC.items()}
    unknown = [name for name in given if name not in spec]
    for name in unknown:
        yield TunnelError(
            f"mcp_tunnel_identity[{shown(name)!r}]", "is not known", f"Use {', '.join(spec)}"
        )
    known = {name: value for name, value in given.items() if name in spec}
    wrong = [
        problem
        for name, value in known.items()
        if (problem := type_problem(f"mcp_tunnel_identity[{name!r}]", value, spec[name]))
    ]
    yield from wrong
    if wrong or unknown:
        return
    checked = ArgumentSpecValidator(spec).validate(known)
    try:
        _check_lines(given)
        check_source(
            {name: checked.validated_parameters[name[len(_PREFIX) :]] for name in IDENTITY_SPEC}
        )
    except TunnelError as error:
        text = error.problem.replace(_PREFIX, "")
        if error.subject != "identity_source":
            text = f"{error.subject.replace(_PREFIX, '')} {text}"
        yield TunnelError("mcp_tunnel_identity", text, error.remedy)
