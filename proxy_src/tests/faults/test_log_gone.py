"""Nobody takes the log: it is lost, and nothing else is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from pki import Authority
from running import DOMAIN, RunningProxy, proxied
from tunnelled import answer, get, raw_client
from upstreams import plain_answer, raw_upstream, read_head

_SRC = Path(__file__).parents[2] / "src"


async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_head(reader)
        writer.write(plain_answer(b"ok"))
