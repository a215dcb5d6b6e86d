"""A server of images that can misbehave, over http and https."""

import hashlib
import http.server
import os
import re
import ssl
import subprocess
import threading


def make_certificate(folder):
    """A self-signed certificate for localhost; its path, or None without openssl."""
    path = os.path.join(folder, "server.pem")
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", path + ".key", "-out", path],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return path


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server.images
        server.requests.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        how = self.path.split("/")[1]
        getattr(self, "do_" + how, self.do_missing)(server)

    def do_missing(self, _):
        self.send_error(404)

    def send(self, body, status=200, cut=None, **headers):
        """The body, with a break after `cut` bytes."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None and cut < len(body):
            self.wfile.flush()
            self.close_connection = True

    def do_whole(self, server):
        self.send(server.body, ETag=server.etag)

    def ranged(self, server, cut=None):
        """As a server that can resume: by If-Range only where its ETag still holds."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if not wanted or self.headers.get("If-Range") not in (None, server.etag):
            return self.send(server.body, cut=cut, ETag=server.etag)
        start = int(wanted[1])
        if start >= len(server.body):
            return self.send(b"", 416, Content_Range=f"bytes */{len(server.body)}")
        rest = server.body[start:]
        place = f"bytes {start}-{len(server.body) - 1}/{len(server.body)}"
        self.send(rest, 206, cut=cut, ETag=server.etag, Content_Range=place)

    def do_ranged(self, server):
        self.ranged(server)

    def do_breaking(self, server):
        """Breaks off after each third of the file, until it is through."""
        self.ranged(server, cut=len(server.body) // 3 + 1)

    def do_broken(self, server):
        """Breaks off once and is dead from then on, until told otherwise."""
        if server.alive:
            return self.ranged(server)
        if len([r for r in server.requests if r[0] == self.path]) > 1:
            self.close_connection = True
            return None
        return self.ranged(server, cut=len(server.body) // 2)

    def do_unranged(self, server):
        self.send(server.body, ETag=server.etag)

    def do_slow(self, server):
        server.started.set()
        server.go_on.wait(30)
        self.send(server.body)

    def do_endless(self, _):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        try:
            for _ in range(65536):
                self.wfile.write(chunk)
        except OSError:
            self.close_connection = True

    def do_announced(self, _):
        """Says it is large, before it sends anything."""
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 50))
        self.end_headers()
        self.close_connection = True

    def do_to(self, server):
        where = {
            "file": "file:///etc/passwd",
            "http": server.url("http", "whole/image"),
            "https": server.url("https", "whole/image"),
            "loop": self.path,
        }[self.path.split("/")[2]]
        self.send(b"", 302, Location=where)


class QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that goes away, or does not like the certificate, is part of the tests."""


class ImageServer:
    """Serves `body` in the ways of Handler, one for each first folder of the path."""

    def __init__(self, body, certificate=None):
        self.body = body
        self.etag = '"%s"' % hashlib.sha256(body).hexdigest()[:16]
        self.digest = "sha256:" + hashlib.sha256(body).hexdigest()
        self.requests = []
        self.alive = False
        self.started, self.go_on = threading.Event(), threading.Event()
        self.servers = {}
        for scheme in ["http"] + (["https"] if certificate else []):
            server = QuietServer(("127.0.0.1", 0), Handler)
            server.images = self
            if scheme == "https":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate, certificate + ".key")
                server.socket = context.wrap_socket(server.socket, server_side=True)
            self.servers[scheme] = server
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def url(self, scheme, path):
        return f"{scheme}://localhost:{self.servers[scheme].server_address[1]}/{path}"

    def close(self):
        self.go_on.set()
        for server in self.servers.values():
            server.shutdown()
            server.server_close()
