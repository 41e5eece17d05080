"""A small Hugging Face Hub: the parts of its protocol that the client uses.

Repositories with commits, branches and tags; files by revision, with the headers the
client relies on; large files behind a redirect to another host, in ranges; tokens,
private and gated repositories; uploads. `Fault`s change what it answers.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

READ, WRITE = "hf_read", "hf_write"


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(name):
    return name.endswith(".safetensors")


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    commits: dict = field(default_factory=dict)  # commit -> {name: content}
    refs: dict = field(default_factory=dict)  # branch or tag -> commit
    messages: dict = field(default_factory=dict)

    def commit(self, files, message="files", ref="main", keep=True):
        """Adds a commit to a branch, and returns its name."""
        parent = self.refs.get(ref)
        files = {**(self.commits.get(parent, {}) if keep else {}), **files}
        tree = sorted((name, git_sha1(content)) for name, content in files.items())
        oid = hashlib.sha1(repr((parent, tree, message)).encode()).hexdigest()
        self.commits[oid], self.refs[ref], self.messages[oid] = files, oid, message
        return oid

    def resolve(self, revision):
        return self.refs.get(revision, revision if revision in self.commits else None)


@dataclass
class Request:
    method: str
    path: str
    headers: dict
    body: bytes

    @property
    def token(self):
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass
class Response:
    status: int = 200
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    send: int | None = None  # bytes of the body to send before closing
    wait: float = 0.0  # seconds before the body, or before the answer to a HEAD
    silent: bool = False  # closes without a word


@dataclass
class Fault:
    """Changes the answers to the requests it matches, the first `times` ones."""

    match: Callable
    change: Callable
    times: float = float("inf")


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos, self.large = {}, {}
        self.faults, self.requests = [], []
        self.tokens = {READ: "read", WRITE: "write"}
        self.lock = threading.Lock()
        self.woken = threading.Event()
        self.thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.thread.start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    def close(self):
        self.woken.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, request, client_address):
        """A client that hangs up is none of our errors."""

    def answer(self, request):
        with self.lock:
            self.requests.append(request)
            response = self._route(request)
            for fault in self.faults:
                if fault.times > 0 and fault.match(request):
                    fault.times -= 1
                    fault.change(response)
            return response

    def _route(self, request):
        path = unquote(urlsplit(request.path).path)
        if match := re.fullmatch(r"/cdn/([0-9a-f]{64})", path):
            return self._content(request, self.large[match[1]], match[1])
        if match := re.fullmatch(r"/upload/([0-9a-f]{64})", path):
            if hashlib.sha256(request.body).hexdigest() != match[1]:
                return Response(400)
            self.large[match[1]] = request.body
            return Response(200)
        if path == "/api/validate-yaml":
            content = json.loads(request.body)["content"]
            errors = [] if content.startswith("---\n") else [{"message": "no metadata"}]
            return _json({"errors": errors, "warnings": []}, 400 if errors else 200)
        if path == "/api/repos/create":
            return self._create(request)
        if match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/(\w+)", path):
            return self._large_files(request, match[2])
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(\w+)/(.+))?", path):
            return self._with_repo(request, match[1], match[3], self._api, match[2])
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(.+)/([^/]+)", path):
            return self._with_repo(request, match[1], match[2], self._file, match[3])
        return Response(404)

    def _with_repo(self, request, name, revision, then, what):
        repo = self.repos.get(name)
        known = request.token in self.tokens
        if repo is None or (repo.private and not known):
            return _error(404 if known else 401, "RepoNotFound", "Repository not found")
        if repo.gated:
            return _error(403 if known else 401, "GatedRepo", "Access is restricted")
        return then(request, name, repo, revision or "main", what)

    def _file(self, request, name, repo, revision, file):
        commit = repo.resolve(revision)
        if commit is None:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        content = repo.commits[commit].get(file)
        if content is None:
            error = _error(404, "EntryNotFound", "Entry not found")
            error.headers["X-Repo-Commit"] = commit
            return error
        if not is_large(file):
            response = self._content(request, content, git_sha1(content))
            response.headers["X-Repo-Commit"] = commit
            return response
        sha256 = hashlib.sha256(content).hexdigest()
        self.large[sha256] = content
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(len(content)),
            "X-Linked-Etag": f'"{sha256}"',
            # Another host than the Hub's, as its store of large files is.
            "Location": f"http://localhost:{self.server_port}/cdn/{sha256}",
        }
        return Response(302, headers)

    def _content(self, request, content, etag):
        headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if match := re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", "")):
            first, last = int(match[1]), len(content) - 1
            if first > last:
                return Response(416, {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return Response(206, headers, content[first:])
        return Response(200, headers, content)

    def _create(self, request):
        wanted = json.loads(request.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if request.token not in self.tokens:
            return Response(401, {"X-Error-Message": "Invalid username or password."})
        if self.tokens[request.token] != "write":
            return _error(403, "", "Forbidden: no permission to create a repository")
        if name in self.repos:
            return _json({"url": f"{self.endpoint}/{name}"}, 409)
        private = wanted.get("private") or wanted.get("visibility") == "private"
        self.repos[name] = Repo(private=bool(private))
        self.repos[name].commit({".gitattributes": b""}, "initial commit")
        return _json({"url": f"{self.endpoint}/{name}"})

    def _api(self, request, name, repo, revision, what):
        if what in (None, "revision"):
            commit = repo.resolve(revision)
            if commit is None:
                return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            files = [{"rfilename": file} for file in repo.commits[commit]]
            return _json(
                {
                    "id": name,
                    "modelId": name,
                    "sha": commit,
                    "private": repo.private,
                    "siblings": files,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                }
            )
        pull_request = "create_pr=1" in urlsplit(request.path).query
        if self.tokens.get(request.token) != "write" and not pull_request:
            return _error(403, "", "Forbidden: you must have write access")
        if what == "branch":
            if revision in repo.refs:
                return _error(409, "", f"Reference already exists: {revision}")
            repo.refs[revision] = repo.refs["main"]
            return Response(200)
        if repo.resolve(revision) is None:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if what == "tag":
            tag = json.loads(request.body)["tag"]
            if tag in repo.refs:
                return _error(409, "", f"Reference already exists: {tag}")
            repo.refs[tag] = repo.resolve(revision)
            return Response(200)
        return {"preupload": self._preupload, "commit": self._commit}[what](
            request, name, repo, revision, pull_request
        )

    def _preupload(self, request, name, repo, revision, pull_request):
        there = repo.commits[repo.resolve(revision)]
        files = []
        for file in json.loads(request.body)["files"]:
            mode = "lfs" if is_large(file["path"]) else "regular"
            oid = None
            if file["path"] in there:
                content = there[file["path"]]
                sha256 = hashlib.sha256(content).hexdigest()
                oid = sha256 if mode == "lfs" else git_sha1(content)
            files.append(
                {
                    "path": file["path"],
                    "uploadMode": mode,
                    "shouldIgnore": False,
                    "oid": oid,
                }
            )
        return _json({"files": files})

    def _large_files(self, request, what):
        if what == "verify":
            return Response(200)
        objects = []
        for item in json.loads(request.body)["objects"]:
            href = f"{self.endpoint}/upload/{item['oid']}"
            action = {"upload": {"href": href, "header": {}}}
            actions = {} if item["oid"] in self.large else {"actions": action}
            objects.append({**item, **actions})
        return _json({"transfer": "basic", "objects": objects})

    def _commit(self, request, name, repo, revision, pull_request):
        lines = [json.loads(line) for line in request.body.splitlines() if line]
        files = {}
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif value["oid"] in self.large:
                files[value["path"]] = self.large[value["oid"]]
            else:
                return _error(400, "", "The large file was never uploaded")
        link = {}
        if pull_request:
            number = 1 + sum(ref.startswith("refs/pr/") for ref in repo.refs)
            repo.refs[f"refs/pr/{number}"] = repo.refs[revision]
            revision = f"refs/pr/{number}"
            url = f"{self.endpoint}/{name}/discussions/{number}"
            link = {"pullRequestUrl": url}
        oid = repo.commit(files, lines[0]["value"]["summary"], revision)
        return _json(
            {
                "success": True,
                "commitOid": oid,
                "commitUrl": f"{self.endpoint}/{name}/commit/{oid}",
                **link,
            }
        )


def _json(value, status=200):
    headers = {"Content-Type": "application/json"}
    return Response(status, headers, json.dumps(value).encode())


def _error(status, code, message):
    headers = {"X-Error-Code": code, "X-Error-Message": message}
    return Response(status, headers, json.dumps({"error": message}).encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _read_body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _handle(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self._read_body())
        response = self.server.answer(request)
        if response.silent:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.command == "HEAD":
            self.server.woken.wait(response.wait)
        self.send_response(response.status)
        length = {"Content-Length": str(len(response.body))}
        for name, value in {**length, **response.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.server.woken.wait(response.wait)
        self.wfile.write(response.body[: response.send])
        if response.send is not None:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def log_message(self, *args):
        """Nothing on the terminal."""
