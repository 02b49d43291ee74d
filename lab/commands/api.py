"""The commands about the Tunnels API and the identity platforms."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import LabError
from ..core.paths import LabPaths
from ..identity.issuers import WORLD
from ..supervision import facts
from ..tunnels_api.faults import CALLS, FAULTS
from ..wire import control

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_DEFAULT_AUDIENCE = "https://api.anthropic.com"


def add_parsers(subparsers: Subparsers) -> None:
    """Adds api."""
    api = subparsers.add_parser("api", help="the Tunnels API of a lab, and who may use it")
    api.add_argument("name")
    verbs = api.add_subparsers(required=True, metavar="VERB")

    def add(verb: str, text: str, run: Callable[[argparse.Namespace], Any]) -> Any:
        parser = verbs.add_parser(verb, help=text)
        parser.set_defaults(run=lambda arguments: _print(run(arguments)))
        return parser

    add("status", "tunnels, certificates, rules, waiting faults", lambda a: _api(a, "status"))
    audit = add("audit", "requests, one JSON object a line", _audit)
    audit.add_argument("--since", type=int, default=0, help="skip so many")
    fault = add("fault", "put a fault in the way of the next calls", _fault)
    fault.add_argument("call", choices=CALLS)
    fault.add_argument("fault", choices=FAULTS)
    fault.add_argument("--times", type=int, default=1)
    fault.add_argument("--retry-after", type=int, metavar="SECONDS")
    fault.add_argument("--seconds", type=float, default=60.0, help="of silence or slowness")
    add("clear-faults", "forget those that wait", lambda a: _api(a, "clear-faults"))
    register = add("register-ca", "register a CA, as in the Console; the edge checks it", _register)
    register.add_argument("tunnel", help="id of a tunnel")
    register.add_argument("file", type=Path, help="PEM")
    rotate = add(
        "rotate",
        "rotate a tunnel's token, as in the Console",
        lambda a: _api(a, "rotate", a.tunnel),
    )
    rotate.add_argument("tunnel", help="id of a tunnel")
    keys = add("rotate-key", "give an issuer a new key", _rotate_key)
    keys.add_argument("platform", choices=WORLD)
    keys.add_argument("--keep-old", action="store_true", help="go on publishing the old ones")
    identity = add("identity", "print an identity token", _identity)
    identity.add_argument("platform", choices=WORLD)
    identity.add_argument("--claims", default="{}", metavar="JSON", help="null takes one away")
    identity.add_argument("--lifetime", type=int, default=600, metavar="SECONDS")
    identity.add_argument("--algorithm", default="RS256")
    identity.add_argument("--key", choices=("current", "unpublished"), default="current")
    identity.add_argument("--without-kid", action="store_true")


def _print(answer: Any) -> int:
    print(answer if isinstance(answer, str) else json.dumps(answer, indent=2))
    return 0


def _lab(arguments: argparse.Namespace) -> dict[str, Any]:
    return facts.read(LabPaths(arguments.name))


def _api(arguments: argparse.Namespace, verb: str, *values: object, **options: object) -> Any:
    # Not a function of the API's own: its imports take longer than its answer.
    place = Path(_lab(arguments)["api_control"])
    return control.ask(place, "the Tunnels API", verb, *values, **options)


def _audit(arguments: argparse.Namespace) -> str:
    return "\n".join(json.dumps(each) for each in _api(arguments, "audit", arguments.since))


def _fault(arguments: argparse.Namespace) -> Any:
    names = ("call", "fault", "times", "retry_after", "seconds")
    return _api(arguments, "fault", **{name: getattr(arguments, name) for name in names})


def _register(arguments: argparse.Namespace) -> Any:
    try:
        pem = arguments.file.read_text()
    except (OSError, ValueError) as error:
        raise LabError(f"{arguments.file} cannot be read: {error}") from None
    return _api(arguments, "register-ca", arguments.tunnel, pem)


def _rotate_key(arguments: argparse.Namespace) -> Any:
    return _platforms(arguments, "rotate-key", arguments.platform, keep_old=arguments.keep_old)


def _platforms(arguments: argparse.Namespace, verb: str, *values: object, **options: object) -> Any:
    place = Path(_lab(arguments)["identity_control"])
    return control.ask(place, "the identity platforms", verb, *values, **options)


def _identity(arguments: argparse.Namespace) -> str:
    lab = _lab(arguments)
    try:
        claims = json.loads(arguments.claims)
        every = {"aud": lab["federation"]["audiences"][arguments.platform], **claims}
    except (ValueError, TypeError) as error:
        raise LabError(f"--claims: not a JSON object: {error}") from None
    answer = _platforms(
        *(arguments, "issue", arguments.platform, every),
        lifetime=arguments.lifetime,
        algorithm=arguments.algorithm,
        key=arguments.key,
        with_kid=not arguments.without_kid,
    )
    return str(answer["token"])
