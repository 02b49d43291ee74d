# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP for machines: verified TLS, proxies, timeouts, and repeats that cannot do harm.

This is the only file that imports ``requests``, which may be missing: :func:`require_requests` says
so before it is used. Until then it is not loaded, which takes longer than the work of a module that
sends nothing. No exception of that library leaves this file: they carry URLs and headers.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.failures import (
    Distrusted,
    no_answer,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import (
    NoAnswer,
    Reply,
    Request,
    http_date,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.places import ca_bundle

MINIMUM_VERSION = "2.25.0"
# Far above the size of any answer of the services that this collection asks.
_LARGEST_ANSWER = 8 * 1024 * 1024
_LONGEST_PAUSE = 60.0
_CONNECT_TIMEOUT = 10.0
_RANDOM = random.SystemRandom()


def require_requests() -> Any:
    """The library ``requests``.

    :raises TunnelError: unless a recent enough one can be imported.
    """
    try:
        import requests
    except ImportError:
        found = "is not installed"
    else:
        if _release(requests.__version__) >= _release(MINIMUM_VERSION):
            return requests
        found = f"is version {requests.__version__}"
    raise TunnelError(
        "Python library requests",
        f"{found} for the interpreter {sys.executable} (Python {sys.version.split()[0]}), "
        f"and {MINIMUM_VERSION} or later is needed",
        "Install python3-requests or the PyPI package requests for that interpreter, "
        "or point ansible_python_interpreter to one that has it",
    )


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


class Web:
    """Sends requests.

    :param timeout: seconds to wait for (the next part of) an answer.
    :param retries: how often a failed request is repeated, at most.
    :param bundle: file or directory of trusted CAs.
    :param proxy: URL of a proxy, instead of those that the environment names.
    :param direct: never through a proxy: for addresses that mean something on this machine only.
    """

    def __init__(
        self,
        timeout: float = 30.0,
        retries: int = 4,
        bundle: str | None = None,
        proxy: str | None = None,
        direct: bool = False,
    ) -> None:
        self._requests = require_requests()
        self._timeout = (min(timeout, _CONNECT_TIMEOUT), timeout)
        self._retries = retries
        self._bundle = ca_bundle(bundle)
        self._session = self._requests.Session()
        self._session.trust_env = not (direct or proxy)
        if proxy:
            self._session.proxies = {"http": proxy, "https": proxy}

    def send(self, request: Request, again: Callable[[], Request | None] | None = None) -> Reply:
        """Returns the answer with any status, after repeats for 429, 5xx and lost answers.

        A request that is not repeatable is sent again only when it certainly had no effect.

        :param again: makes what is sent in place of a request that may have had an effect, for
            one that carries what is accepted once; ``None`` when there is nothing else to send.
        :raises NoAnswer: when the last attempt was not answered.
        """
        attempt = 0
        while True:
            is_last = attempt >= self._retries
            failure: NoAnswer | Reply
            try:
                failure = reply = self._attempt(request)
            except NoAnswer as error:
                if is_last or not _may_send_again(request, error):
                    raise
                failure, is_spent, pause = error, error.sent, _pause(attempt, "")
            else:
                if is_last or not _passes(request, reply):
                    return reply
                is_spent = reply.status >= 500
                pause = _pause(attempt, reply.headers.get("retry-after", ""))
            time.sleep(pause)
            attempt += 1
            if is_spent and again:
                other = again()
                if other is None:
                    return _told(failure)
                request = other

    def _attempt(self, request: Request) -> Reply:
        if not request.repeatable:
            # On a kept connection that the server is just closing, nobody could tell whether the
            # request has arrived.
            self._session.close()
        try:
            with self._session.request(
                request.method,
                request.url,
                params=dict(request.query),
                headers={"User-Agent": "mcp_tunnels.stack", **request.headers},
                json=request.body,
                data=request.content if request.form is None else dict(request.form),
                # Else a .netrc file would replace the Authorization header.
                auth=lambda prepared: prepared,
                timeout=self._timeout,
                verify=self._bundle,
                # A redirect would carry a secret to somebody else.
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _read(response, request)
                headers = {name.lower(): value for name, value in response.headers.items()}
                reply = Reply(response.status_code, headers, content)
        except (self._requests.RequestException, OSError, ValueError) as error:
            # "from None": the cause carries headers and bodies.
            raise no_answer(request, error, self._requests.exceptions) from None
        if request.wants_json and reply.is_good and not reply.fields:
            raise NoAnswer(
                request.place,
                f"answered {reply.status} with something that is not a whole JSON object "
                f"(request-id {reply.request_id or 'unknown'})",
                "Try again; if it stays, check that no proxy or portal answers in its place",
                sent=True,
            )
        return reply


def _told(failure: NoAnswer | Reply) -> Reply:
    if isinstance(failure, NoAnswer):
        raise failure
    return failure


def _read(response: Any, request: Request) -> bytes:
    content = b""
    for chunk in response.iter_content(65536):
        content += chunk
        if len(content) > _LARGEST_ANSWER:
            raise NoAnswer(
                request.place,
                f"answers with more than {_LARGEST_ANSWER} bytes",
                "Check that the URL is the right one",
                sent=True,
            )
    return content


def _may_send_again(request: Request, error: NoAnswer) -> bool:
    """An unsent request can be sent again; an untrusted certificate stays untrusted."""
    return not isinstance(error, Distrusted) and (request.repeatable or not error.sent)


def _passes(request: Request, reply: Reply) -> bool:
    """Whether it is an error that passes with time; a 429 has had no effect."""
    return reply.status == 429 or (request.repeatable and reply.status >= 500)


def _pause(attempt: int, retry_after: str) -> float:
    """Seconds until the next attempt: the server's wish, else a growing and random time."""
    text = retry_after.strip()
    wanted: float | None = None
    if text.isdigit():
        wanted = float(text)
    else:
        moment = http_date(text)
        if moment:
            wanted = max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())
    if wanted is not None:
        # A little more, so that several hosts do not come back at the same moment.
        return min(wanted, _LONGEST_PAUSE) + _RANDOM.uniform(0, 0.25)
    return min(0.5 * 2.0**attempt, 8.0) * _RANDOM.uniform(0.5, 1.0)
