"""Requests with the tests' patience; the library's own is 5 s, which a busy machine may need."""

from __future__ import annotations

from functools import partial

import httpx2

from lab.tests.loopback import PATIENCE

get = partial(httpx2.get, timeout=PATIENCE)
post = partial(httpx2.post, timeout=PATIENCE)
put = partial(httpx2.put, timeout=PATIENCE)
