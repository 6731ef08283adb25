"""As much of an API server as helm's `lookup` asks: which objects there are, and the Secrets that somebody made."""

import contextlib
import http.server
import json
import threading

RESOURCES = {
    "kind": "APIResourceList",
    "groupVersion": "v1",
    "resources": [{"name": "secrets", "singularName": "secret", "namespaced": True, "kind": "Secret", "verbs": ["get", "list"]}],
}


def owned(secret):
    """As helm writes it: with the release that it belongs to."""
    metadata = secret["metadata"]
    release = {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": metadata["namespace"]}
    return dict(secret, metadata=dict(metadata, annotations=metadata["annotations"] | release))


@contextlib.contextmanager
def holding(secrets):
    """A server that has these Secrets, by name; gives its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            name = path.rpartition("/")[2]
            if path == "/api":
                self.answer(200, {"kind": "APIVersions", "versions": ["v1"]})
            elif path == "/apis":
                self.answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
            elif path == "/api/v1":
                self.answer(200, RESOURCES)
            elif path == "/version":
                self.answer(200, {"major": "1", "minor": "34", "gitVersion": "v1.34.4"})
            elif "/secrets/" in path and name in secrets:
                self.answer(200, owned(secrets[name]))
            else:
                status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
                self.answer(404, status)

        def answer(self, code, body):
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
