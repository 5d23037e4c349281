"""A web server that serves one file by ranges, and misbehaves where it is told to.

Run as a program it prints its port and serves until its standard input ends; as a module it is
started in a thread. Faults are looked up for each request, so a test can change them meanwhile.
"""

import contextlib
import datetime as dt
import ipaddress
import re
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PIECE = 1 << 20


class RangeServer(ThreadingHTTPServer):
    """Serves the files of a folder; counts requests; injects faults.

    Attributes:
        fault: called with the handler's request number and first byte; returns a fault's name, or
            None. ``drop`` ends the connection inside the body, ``cut`` before it; ``503``, ``404``
            and ``403`` answer so, ``whole`` ignores the range, ``short`` announces fewer bytes than
            asked, ``long`` sends endless bytes, ``shifted`` names another range, ``garbage`` sends
            other bytes, ``stall`` sends nothing more, ``slow`` takes its time, ``redirect:URL``
            points elsewhere.
        etag: of every file; None sends none.
        ranges: the first and last byte of every request so far; likewise paths and headers.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder, *, context=None, log=False):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = Path(folder)
        self.fault = lambda number, first: None
        self.etag = '"first"'
        self.weak = False
        self.ranges = []
        self.paths = []
        self.headers = []
        self.secure = context is not None
        self.lock = threading.Lock()
        self.ending = threading.Event()
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self):
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Clients go away in mid-answer on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits for an ACK of its head

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        path = server.folder / self.path.partition("?")[0].lstrip("/")
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        with server.lock:
            server.ranges.append((first, int(asked[2]) if asked else None))
            server.paths.append(self.path)
            server.headers.append(self.headers)
            number = len(server.ranges)
        fault = server.fault(number, first)
        if fault in {"503", "404", "403"}:
            return self._answer(int(fault))
        if fault and fault.startswith("redirect:"):
            return self._answer(302, Location=fault[9:])
        if not path.is_file():
            return self._answer(404)
        size = path.stat().st_size
        condition = self.headers.get("If-Match")
        if condition is not None and condition != server.etag:
            return self._answer(412)
        last = min(int(asked[2]), size - 1) if asked else size - 1
        if not asked or fault == "whole":
            first, last = 0, size - 1
        if first >= size:
            return self._answer(416)
        self._send(path, first, last, size, fault, partial=bool(asked) and fault != "whole")
        return None

    def _answer(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, path, first, last, size, fault, *, partial):
        self.send_response(206 if partial else 200)
        if self.server.etag is not None:
            self.send_header("ETag", self.server.etag)
        if fault == "short":
            last = first + (last - first) // 2
        moved = 1 if fault == "shifted" else 0
        if partial:
            self.send_header("Content-Range", f"bytes {first + moved}-{last + moved}/{size}")
        if fault == "long":
            self.send_header("Transfer-Encoding", "chunked")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        with path.open("rb") as file:
            file.seek(first)
            left = last - first + 1
            stop = {"drop": left // 2, "stall": left // 2, "cut": left}.get(fault, 0)
            while left > stop:
                piece = file.read(min(PIECE if fault != "slow" else 1 << 16, left))
                if not piece:
                    break
                left -= len(piece)
                if fault == "slow":
                    time.sleep(0.02)
                self._write(bytes(len(piece)) if fault == "garbage" else piece, fault)
        if fault == "long":
            with contextlib.suppress(OSError):
                while not self.server.ending.is_set():
                    self._write(bytes(PIECE), fault)
        if fault == "stall":
            self.wfile.flush()
            self.server.ending.wait(60)
        if fault in {"drop", "cut", "stall"}:
            self.close_connection = True

    def _write(self, piece, fault):
        if fault == "long":
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            self.wfile.write(piece)


@contextlib.contextmanager
def serving(folder, **options):
    """A running server in this process."""
    server = RangeServer(folder, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()


def tls_context(folder):
    """The server's side of TLS, and the file with the authority that a client must trust."""
    now = dt.datetime.now(dt.UTC)

    def certificate(name, public, issuer, signer, *extensions):
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer)
        builder = builder.public_key(public).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(hours=1))
        builder = builder.not_valid_after(now + dt.timedelta(hours=20))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(signer, hashes.SHA256())

    def named(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    root, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = certificate(
        named("authority of the tests"), root.public_key(), named("authority of the tests"), root,
        x509.BasicConstraints(ca=True, path_length=None),
    )  # fmt: skip
    served = certificate(
        named("loopback"), leaf.public_key(), named("authority of the tests"), root,
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    (folder / "authority.pem").write_bytes(authority.public_bytes(pem))
    (folder / "served.pem").write_bytes(
        served.public_bytes(pem)
        + leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "served.pem")
    return context, folder / "authority.pem"


def main():
    """Serve a folder until standard input ends."""
    with serving(sys.argv[1]) as server:
        print(server.server_port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
