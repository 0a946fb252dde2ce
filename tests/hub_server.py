"""A Hub on the loopback address, for tests: what huggingface_hub asks of one, and the ways in which it fails."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

ERRORS = {"RepoNotFound": 404, "RevisionNotFound": 404, "EntryNotFound": 404, "GatedRepo": 403}


@dataclass
class Repository:
    """Commits (file name -> bytes), oldest first; the last one is `main`. With `token`, others get a 401."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    token: str | None = None

    def add(self, files: dict[str, bytes]) -> str:
        """Put files on top of the last commit; returns the new commit."""
        merged = {**(list(self.commits.values())[-1] if self.commits else {}), **files}
        commit = hashlib.sha1(repr((len(self.commits), sorted(merged.items()))).encode()).hexdigest()
        self.commits[commit] = merged
        return commit

    def commit(self, revision: str) -> str | None:
        """The commit that a revision means, or None."""
        return list(self.commits)[-1] if revision == "main" and self.commits else revision * (revision in self.commits)


@dataclass
class Hub:
    """A running server: its repositories, what to do wrong, and what it was asked."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    # File name -> bytes after which the connection is cut; with `resumes`, a Range is honoured and cut in its turn.
    cut_after: dict[str, int] = field(default_factory=dict)
    resumes: bool = False
    # File name -> other content of any length, served under the right ETag and with its own length.
    swapped: dict[str, bytes] = field(default_factory=dict)
    # File name -> HTTP status with which it is refused, with HEAD and GET or with GET alone, and what Retry-After says.
    refused: dict[str, int] = field(default_factory=dict)
    refused_at_last: dict[str, int] = field(default_factory=dict)
    retry_after: str = ""
    rate_limit: str = ""
    # How many refusals there are before a file is served after all.
    patience: int = 1_000_000
    # Files that redirect to themselves, with HEAD and GET or with GET alone.
    loops: set[str] = field(default_factory=set)
    loops_at_last: set[str] = field(default_factory=set)
    # File name -> bytes after which nothing more comes, though the connection stays.
    stalls_after: dict[str, int] = field(default_factory=dict)
    silent: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)
    created: list[dict[str, object]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def count(self, method: str, ending: str = "") -> int:
        """How many requests of a method there were for paths that end so."""
        return Counter(m == method and path.endswith(ending) for m, path in self.requests)[True]


def _handler(hub: Hub, released: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def reply(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def fail(self, code: str) -> None:
            self.reply(ERRORS[code], X_Error_Code=code, X_Error_Message=code)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(self.path.split("?")[0])
            hub.requests.append((self.command, path))
            if hub.silent:
                released.wait(60)
                return
            owner, name, verb, revision, file = (*path.strip("/").split("/", 4), "", "", "", "")[:5]
            repository = hub.repositories.get(f"{owner}/{name}") if verb == "resolve" else None
            if repository is None:
                return self.fail("RepoNotFound")
            if repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
                return self.reply(401, X_Error_Message="Invalid username or password.")
            commit = repository.commit(revision)
            if not commit:
                return self.fail("RevisionNotFound")
            last = self.command == "GET"
            status = hub.refused.get(file) or (hub.refused_at_last.get(file) if last else None)
            if status and hub.patience > 0:
                hub.patience -= 1
                waits = {"Retry_After": hub.retry_after, "RateLimit": hub.rate_limit}
                wait = {key: value for key, value in waits.items() if value}
                return self.fail("GatedRepo") if status == 403 else self.reply(status, **wait)
            if file in hub.loops or (last and file in hub.loops_at_last):
                return self.reply(302, Location=self.path)
            content = repository.commits[commit].get(file)
            if content is None:
                return self.fail("EntryNotFound")
            self.serve(commit, file, content)

        def serve(self, commit: str, file: str, content: bytes) -> None:
            tags = {"X_Repo_Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
            content = hub.swapped.get(file, content)
            start, status = 0, 200
            if hub.resumes and (asked := self.headers.get("Range")):
                start, status = int(asked.removeprefix("bytes=").split("-")[0]), 206
                tags["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            rest = content[start:]
            if file in hub.stalls_after and self.command == "GET":
                self.reply(status, rest[: hub.stalls_after[file]], len(rest), **tags)
                self.wfile.flush()
                released.wait(60)
                return
            self.reply(status, rest[: hub.cut_after.get(file, len(rest))], len(rest), **tags)
            self.close_connection = file in hub.cut_after

        def do_POST(self) -> None:
            path = unquote(self.path.split("?")[0])
            hub.requests.append(("POST", path))
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Authorization") != "Bearer write-token":
                return self.reply(401, X_Error_Message="Invalid username or password.")
            if path == "/api/repos/create":
                asked = json.loads(body)
                hub.created.append(asked)
                hub.repositories.setdefault(f"{asked['organization']}/{asked['name']}", Repository())
                return self.json({"url": f"{hub.endpoint}/{asked['organization']}/{asked['name']}"})
            if path == "/api/validate-yaml":
                return self.json({"errors": [], "warnings": []})
            _, _, owner, name, verb, _ = path.strip("/").split("/")
            if verb == "preupload":
                files = [entry["path"] for entry in json.loads(body)["files"]]
                modes = [{"path": file, "uploadMode": "regular", "shouldIgnore": False} for file in files]
                return self.json({"files": modes})
            added: dict[str, bytes] = {}
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "header":
                    hub.messages.append(line["value"]["summary"])
                else:
                    added[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            commit = hub.repositories[f"{owner}/{name}"].add(added)
            self.json({"commitOid": commit, "commitUrl": f"{hub.endpoint}/{owner}/{name}/commit/{commit}"})

        def json(self, data: object) -> None:
            self.reply(200, json.dumps(data).encode(), Content_Type="application/json")

    return Handler


@contextmanager
def serving() -> Iterator[Hub]:
    """A Hub that runs in a thread while the block does."""
    hub, released = Hub(), threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub, released))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join()
