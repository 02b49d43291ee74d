"""Stands in for `spire-agent api fetch jwt`: same flags, same output."""

from __future__ import annotations

import argparse
import base64
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]

from ...core.checkouts import ROOT
from . import messages
from .workload import METADATA

_SOCKET = "/tmp/spire-agent/public/api.sock"
_TIMEOUT = 60.0


def install(path: Path) -> None:
    """Write an executable called `path` that runs this module."""
    python = shlex.quote(sys.executable)
    words = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {python} -m {__name__}"
    path.write_text(f'#!/bin/sh\n{words} "$@"\n')
    path.chmod(0o755)


def main() -> int:
    parser = argparse.ArgumentParser(prog="spire-agent")
    parser.add_argument("words", nargs=3, metavar="api fetch jwt")
    for name, default in (("audience", None), ("spiffeID", ""), ("socketPath", _SOCKET)):
        # Go's flag package accepts one hyphen or two.
        parser.add_argument(f"-{name}", f"--{name}", default=default)
    parser.add_argument("-output", "--output", choices=("pretty", "json"), default="pretty")
    arguments = parser.parse_args()
    if arguments.words != ["api", "fetch", "jwt"]:
        parser.error(f"only `api fetch jwt` is known, not {' '.join(arguments.words)}")
    if not arguments.audience:
        print("audience must be specified", file=sys.stderr)
        return 1
    try:
        svids, bundles = _fetch(arguments)
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
        print(f"rpc error: code = {code.name} desc = {details}", file=sys.stderr)
        return 1
    print(_json(svids, bundles) if arguments.output == "json" else _pretty(svids, bundles))
    return 0


def _fetch(arguments: argparse.Namespace) -> tuple[Any, Any]:
    with grpc.insecure_channel(f"unix:{arguments.socketPath}") as channel:
        fetch = channel.unary_unary(
            f"/{messages.SERVICE}/FetchJWTSVID",
            messages.JWTSVIDRequest.SerializeToString,
            messages.JWTSVIDResponse.FromString,
        )
        bundles = channel.unary_stream(
            f"/{messages.SERVICE}/FetchJWTBundles",
            messages.JWTBundlesRequest.SerializeToString,
            messages.JWTBundlesResponse.FromString,
        )
        asked = messages.JWTSVIDRequest(
            audience=arguments.audience.split(","), spiffe_id=arguments.spiffeID
        )
        options = {"metadata": [METADATA], "timeout": _TIMEOUT}
        svids = fetch(asked, **options).svids
        return svids, next(iter(bundles(messages.JWTBundlesRequest(), **options))).bundles


def _json(svids: Any, bundles: Any) -> str:
    return json.dumps(
        [
            {"svids": [{"hint": e.hint, "spiffe_id": e.spiffe_id, "svid": e.svid} for e in svids]},
            {"bundles": {e.key: base64.b64encode(e.value).decode() for e in bundles}},
        ]
    )


def _pretty(svids: Any, bundles: Any) -> str:
    lines = [f"token({each.spiffe_id}):\n\t{each.svid}" for each in svids]
    lines += [f"bundle({each.key}):\n\t{each.value.decode()}" for each in bundles]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
