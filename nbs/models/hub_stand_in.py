"""As much of the Hub as sharing a model needs, on this machine: hub_stand_in.py FOLDER

Prints its address and serves until it is killed. `huggingface_hub` talks to it when HF_ENDPOINT is
that address. Every commit is a folder with all files of the repository. A card whose front matter
is no YAML, or that names a picture which is not there, is turned down, as on the Hub.
"""
import base64, hashlib, json, re, shutil, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from huggingface_hub import ModelCard

TOP = Path(sys.argv[1])
# The file that every repository begins with
ATTRIBUTES = json.dumps(dict(key="file", value=dict(path=".gitattributes", content="")))


def commit_of(repository, revision):
    "The commit that a branch points to, or `revision` itself; None if there is neither."
    branch = TOP/repository/"refs"/revision
    commit = branch.read_text() if branch.is_file() else revision
    return commit if (TOP/repository/commit).is_dir() else None


def card_errors(text):
    "What is wrong with the front matter of a card."
    try: return [] if ModelCard(text).data.to_dict() else ["the card has no metadata"]
    except Exception as e: return [str(e)]


def commit(repository, lines):
    "Store a commit that the client sends as lines of JSON; its number."
    old = commit_of(repository, "main")
    new = hashlib.sha1("\n".join([str(old), *lines]).encode()).hexdigest()
    tree = TOP/repository/new
    if old: shutil.copytree(TOP/repository/old, tree)
    for line in map(json.loads, lines):
        path = tree/line["value"].get("path", "")
        if line["key"] == "deletedFile": path.unlink()
        if line["key"] != "file": continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(line["value"]["content"]))
    (TOP/repository/"refs"/"main").write_text(new)
    return new


class Hub(BaseHTTPRequestHandler):
    def log_message(self, *args): pass

    def reply(self, content, code=200, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name,value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(body)

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        address = f"http://{self.headers['Host']}"
        if self.path == "/api/repos/create":
            asked = json.loads(text)
            name = f"{asked.get('organization', 'me')}/{asked['name']}"
            (TOP/name/"refs").mkdir(parents=True, exist_ok=True)
            if not commit_of(name, "main"): commit(name, [ATTRIBUTES])
            return self.reply(dict(url=f"{address}/{name}", id=name))
        if self.path == "/api/validate-yaml":
            errors = card_errors(json.loads(text)["content"])
            found = dict(errors=[dict(message=e) for e in errors], warnings=[])
            return self.reply(found, 400 if errors else 200)
        name, work = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(\w+)/.*", self.path).groups()
        if work == "preupload":
            files = [dict(path=f["path"], uploadMode="regular", shouldIgnore=False, oid=None)
                     for f in json.loads(text)["files"]]
            return self.reply(dict(files=files))
        number = commit(name, text.splitlines())
        where = f"{address}/{name}/commit/{number}"
        self.reply(dict(success=True, commitOid=number, commitUrl=where, hookOutput=""))

    def do_GET(self):
        asked = re.match(r"/api/models/([^/]+/[^/?]+)(?:/(?:revision|tree)/([^/?]+))?", self.path)
        got = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^?]+)", self.path)
        if not (asked or got): return self.reply({}, 404)  # something else about the Hub
        name, revision = (asked or got).groups()[:2]
        number = commit_of(name, revision or "main")
        if not number: return self.reply({}, 404, X_Error_Code="RevisionNotFound")
        tree = TOP/name/number
        files = [p.relative_to(tree).as_posix() for p in sorted(tree.rglob("*")) if p.is_file()]
        if "/tree/" in self.path:
            size = lambda f: (tree/f).stat().st_size
            return self.reply([dict(type="file", path=f, oid=number, size=size(f)) for f in files])
        if asked:
            siblings = [dict(rfilename=f) for f in files]
            return self.reply(dict(id=name, sha=number, siblings=siblings, tags=[]))
        if got[3] not in files: return self.reply({}, 404, X_Error_Code="EntryNotFound")
        data = (tree/got[3]).read_bytes()
        etag = hashlib.sha1(data).hexdigest()
        self.reply(data, ETag=f'"{etag}"', X_Repo_Commit=number)

    do_HEAD = do_GET


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
