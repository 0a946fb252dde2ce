"""A Hub on the loopback address, for tests: what huggingface_hub asks of one, and the ways in which it fails."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

# A Hub keeps such files in its store of large ones and offers them by the Xet protocol too, which leads nowhere here.
LARGE = ".safetensors"
ERRORS = {"RepoNotFound": 404, "RevisionNotFound": 404, "EntryNotFound": 404, "GatedRepo": 403}


@dataclass
class Repository:
    """Commits (file name -> bytes), oldest first; the last one is `main`. With `token`, others get a 401.

    `stored` has what was uploaded to the store of large files (SHA-256 -> bytes).
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    token: str | None = None

    def add(self, files: dict[str, bytes], deleted: Collection[str] = ()) -> str:
        """Put files on top of the last commit, and take some away; returns the new commit."""
        merged = {**(list(self.commits.values())[-1] if self.commits else {}), **files}
        merged = {file: content for file, content in merged.items() if file not in deleted}
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
    # Whether large files lie on another host, to which the Hub redirects; that one takes no token.
    elsewhere: bool = False
    # HTTP status with which the store refuses an upload, after the Hub has agreed to it.
    store_refuses: int = 0
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

        def handle(self) -> None:
            with suppress(ConnectionError):  # a client that was killed
                super().handle()

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
            if path.startswith("/api/models/") and path.endswith("/tree/main"):
                owner, name = path.split("/")[3:5]
                commits = hub.repositories[f"{owner}/{name}"].commits
                last_files = list(commits.values())[-1] if commits else {}
                return self.json(
                    [
                        {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                        for file, content in last_files.items()
                    ]
                )
            owner, name, verb, revision, file = (*path.strip("/").split("/", 4), "", "", "", "")[:5]
            repository = hub.repositories.get(f"{owner}/{name}") if verb in ("resolve", "stored") else None
            if path == "/xet-token":
                later = str(int(time.time()) + 3600)
                cas = {
                    "X_Xet_Cas_Url": f"{hub.endpoint}/xet",
                    "X_Xet_Access_Token": "x",
                    "X_Xet_Token_Expiration": later,
                }
                return self.reply(200, b"{}", **cas)
            if repository is None:
                return self.fail("RepoNotFound")
            if verb == "stored":
                if self.headers.get("Authorization"):
                    return self.reply(400)
                return self.serve(revision, file, repository.commits[revision][file])
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
            if hub.elsewhere and file.endswith(LARGE):
                place = f"{hub.endpoint}/{owner}/{name}/stored/{commit}/{file}".replace("127.0.0.1", "localhost")
                tag = f'"{hashlib.sha256(content).hexdigest()}"'
                linked = {"X_Linked_Size": str(len(content)), "X_Linked_ETag": tag}
                return self.reply(302, Location=place, X_Repo_Commit=commit, **linked, **self.xet(file))
            self.serve(commit, file, content)

        def xet(self, file: str) -> dict[str, str]:
            offer = {"X_Xet_Hash": "ab" * 32, "X_Xet_Refresh_Route": f"{hub.endpoint}/xet-token"}
            return offer if file.endswith(LARGE) else {}

        def serve(self, commit: str, file: str, content: bytes) -> None:
            tags = {"X_Repo_Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"', **self.xet(file)}
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
            sent = rest[: hub.cut_after.get(file, len(rest))]
            self.reply(status, sent, len(rest), **tags)
            # Whole answers keep it: a client may send its next request before it sees that nobody listens any more.
            self.close_connection = self.command == "GET" and len(sent) < len(rest)

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
            if path.endswith(".git/info/lfs/objects/batch"):
                places = [
                    {**asked, "actions": {"upload": {"href": hub.endpoint + path.replace("batch", asked["oid"])}}}
                    for asked in json.loads(body)["objects"]
                ]
                return self.json({"transfer": "basic", "objects": places})
            if not path.startswith("/api/models/"):
                return self.fail("EntryNotFound")
            _, _, owner, name, verb, _ = path.strip("/").split("/")
            repository = hub.repositories[f"{owner}/{name}"]
            if verb == "preupload":
                files = [entry["path"] for entry in json.loads(body)["files"]]
                modes = [
                    {"path": file, "uploadMode": "lfs" if file.endswith(LARGE) else "regular", "shouldIgnore": False}
                    for file in files
                ]
                return self.json({"files": modes})
            added: dict[str, bytes] = {}
            deleted: list[str] = []
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "header":
                    hub.messages.append(value["summary"])
                elif line["key"] == "lfsFile":
                    added[value["path"]] = repository.stored[value["oid"]]
                elif line["key"] == "deletedFile":
                    deleted.append(value["path"])
                else:
                    added[value["path"]] = base64.b64decode(value["content"])
            commit = repository.add(added, deleted)
            self.json({"commitOid": commit, "commitUrl": f"{hub.endpoint}/{owner}/{name}/commit/{commit}"})

        def do_PUT(self) -> None:
            hub.requests.append(("PUT", self.path))
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if hub.store_refuses:
                return self.reply(hub.store_refuses, **({"Retry_After": hub.retry_after} if hub.retry_after else {}))
            name, oid = self.path.strip("/").split(".git/info/lfs/objects/")
            hub.repositories[name].stored[oid] = body
            self.reply(200)

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
