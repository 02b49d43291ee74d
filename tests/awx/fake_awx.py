"""A stand-in for the API of AWX: as much of it as the modules of awx.awx use to make objects.

It keeps objects by their type, speaks lists with filters, POST, PATCH, related lists, surveys and
the approvals of workflows, and hides secrets. It has none of AWX's own checks and completes no
field, so it shows what the modules send, compare and repeat, and not what AWX thinks of it.
"""

from __future__ import annotations

import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "a-token-of-the-stand-in"
HIDDEN = "$encrypted$"
_ROOT = "/api/v2/"
#: Types that one list shows together.
_UNIFIED = ("job_templates", "workflow_job_templates", "projects", "workflow_approval_templates")
_ASSOCIATIONS = {
    "organizations": ("instance_groups", "galaxy_credentials"),
    "inventories": ("instance_groups", "input_inventories"),
    "groups": ("hosts", "children"),
    "job_templates": (
        *("credentials", "labels", "instance_groups"),
        *(f"notification_templates_{event}" for event in ("started", "success", "error")),
    ),
    "workflow_job_templates": (
        "labels",
        *(f"notification_templates_{e}" for e in ("started", "success", "error", "approvals")),
    ),
    "workflow_job_template_nodes": (
        *("success_nodes", "failure_nodes", "always_nodes"),
        *("credentials", "labels", "instance_groups"),
    ),
    "schedules": ("credentials", "labels", "instance_groups"),
    "instance_groups": ("instances",),
    "projects": tuple(f"notification_templates_{e}" for e in ("started", "success", "error")),
}
_SINGULAR = {"inventories": "inventory"}
#: What AWX has by itself.
_BUILT_IN = {
    "credential_types": [
        {
            "name": "Machine",
            "inputs": {"fields": [{"id": "ssh_key_data", "secret": True}, {"id": "username"}]},
        }
    ],
    "credentials": [{"name": "A secret store", "credential_type": 0, "inputs": {}}],
}


class Refused(Exception):
    """An answer other than success."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Api:
    """The objects, and the answers to requests about them.

    Attributes:
        objects: by type and ID.
        requests: method and path of each request, in order.
        refusals: status and detail by method and type, for requests that are refused.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[int, dict[str, Any]]] = {}
        self.linked: dict[tuple[str, int, str], list[int]] = {}
        self.requests: list[tuple[str, str]] = []
        self.refusals: dict[tuple[str, str], tuple[int, str]] = {}
        self._ids = itertools.count(1)
        for kind, items in _BUILT_IN.items():
            for item in items:
                self.make(kind, item)

    def written(self) -> list[tuple[str, str]]:
        """The requests that change something."""
        return [request for request in self.requests if request[0] != "GET"]

    def names(self, kind: str) -> list[str]:
        """The names of all objects of a type."""
        return [item["name"] for item in self.objects.get(kind, {}).values()]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        """The object of a type with a name."""
        (found,) = [item for item in self.objects[kind].values() if item["name"] == name]
        return found

    def make(self, kind: str, item: dict[str, Any]) -> dict[str, Any]:
        number = next(self._ids)
        url = f"{_ROOT}{kind}/{number}/"
        made = {**item, "id": number, "url": url, "type": _SINGULAR.get(kind, kind[:-1])}
        made |= {"summary_fields": {}, "related": {"survey_spec": f"{url}survey_spec/"}}
        made |= {"scm_revision": ""} if kind == "projects" else {}
        self.objects.setdefault(kind, {})[number] = made
        return made

    def answer(self, method: str, path: str, query: str, body: Any) -> tuple[int, Any]:
        """Status and content of the answer to a request."""
        self.requests.append((method, path))
        if not path.startswith(_ROOT):
            raise Refused(404, "Not found.")
        kind, *rest = path.removeprefix(_ROOT).strip("/").split("/")
        if (method, kind) in self.refusals:
            raise Refused(*self.refusals[(method, kind)])
        if not rest:
            return self._collection(method, kind, query, body)
        number = int(rest[0])
        if number not in self.objects.get(kind, {}):
            raise Refused(404, "Not found.")
        if len(rest) == 1:
            return self._detail(method, kind, number, body)
        return self._related(method, kind, number, rest[1], body)

    def _collection(self, method: str, kind: str, query: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            return 201, self._shown(kind, self.make(kind, body))
        kinds = _UNIFIED if kind == "unified_job_templates" else (kind,)
        found = [
            self._shown(each, item)
            for each in kinds
            for item in self.objects.get(each, {}).values()
            if _fits(item, dict(parse_qsl(query)))
        ]
        return 200, _listed(found)

    def _detail(self, method: str, kind: str, number: int, body: Any) -> tuple[int, Any]:
        item = self.objects[kind][number]
        if method == "PATCH":
            item |= {key: value for key, value in body.items() if key not in ("id", "type", "url")}
        return 200, self._shown(kind, item)

    def _related(
        self, method: str, kind: str, number: int, name: str, body: Any
    ) -> tuple[int, Any]:
        item = self.objects[kind][number]
        if name == "survey_spec":
            if method == "POST":
                item["survey"] = body
            return 200, item.get("survey", {})
        if name == "create_approval_template" and method == "POST":
            made = self.make("workflow_approval_templates", body)
            item["unified_job_template"] = made["id"]
            item["related"]["unified_job_template"] = made["url"]
            return 201, self._shown("workflow_approval_templates", made)
        if name not in _ASSOCIATIONS.get(kind, ()):
            raise Refused(404, "Not found.")
        ids = self.linked.setdefault((kind, number, name), [])
        if method == "POST":
            if body.get("disassociate"):
                ids.remove(body["id"])
            else:
                ids.append(body["id"])
            return 204, None
        return 200, _listed([{"id": identifier} for identifier in ids])

    def _shown(self, kind: str, item: dict[str, Any]) -> dict[str, Any]:
        """As the API tells an object: without the survey, and without secrets."""
        shown = {key: value for key, value in item.items() if key != "survey"}
        if kind == "credentials":
            fields = self.objects["credential_types"].get(item["credential_type"], {})
            secret = {
                f["id"] for f in fields.get("inputs", {}).get("fields", []) if f.get("secret")
            }
            inputs = item.get("inputs", {})
            shown["inputs"] = {k: HIDDEN if k in secret else inputs[k] for k in inputs}
        return shown


def _listed(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {"count": len(found), "next": None, "previous": None, "results": found}


def _fits(item: dict[str, Any], query: dict[str, str]) -> bool:
    either = [(key[4:], value) for key, value in query.items() if key.startswith("or__")]
    both = [(key, value) for key, value in query.items() if not key.startswith("or__")]
    if any(str(item.get(key)) != value for key, value in both if value != "None"):
        return False
    return not either or any(str(item.get(key)) == value for key, value in either)


class FakeAwx(ThreadingHTTPServer):
    """The API on a port of loopback, for a ``with`` statement.

    Attributes:
        api: its objects.
        address: for ``controller_host``.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = Api()
        self.lock = threading.Lock()
        self.address = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> FakeAwx:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_details: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FakeAwx

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        parts = urlsplit(self.path)
        with self.server.lock:
            try:
                if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise Refused(401, "Authentication credentials were not provided.")
                status, content = self.server.api.answer(
                    self.command, parts.path, parts.query, body
                )
            except Refused as refusal:
                status, content = refusal.status, {"detail": str(refusal)}
        data = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("X-API-Product-Name", "AWX")
        self.send_header("X-API-Product-Version", "24.6.1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = _do

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
