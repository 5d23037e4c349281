"""Where a webhook's name leads: looked up once, checked, and connected to as checked."""

import base64
import datetime as dt
import json
import secrets
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ledger.broker.notices import FILE, Notices, targets_of
from ledger.broker.store import BrokerStore
from ledger.errors import UsageError
from ledger.remote.resolved import EVERYWHERE, MAX_ADDRESSES, addresses_of, is_public

TEXT = "whsec_" + base64.b64encode(bytes(32)).decode()
NOWHERE = "3fff::1"
"""Public by its form, and for documentation only: nobody routes it."""


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0",
        "fc00::1", "fec0::1", "ff0e::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "::127.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "64:ff9b::a00:1",
        "2001:0:a00:1::f5ff:fffe", "100::1", "168.63.129.16", "192.0.0.192", "192.0.0.8",
        "nonsense", "",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_known_in_every_dress(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "2002:808:808::1", "64:ff9b::808:808"]
)
def test_a_public_address_is_one(address):
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_decides_for_the_ipv6_one(inner):
    for text in (f"64:ff9b::{inner}", f"2002:{int(inner) >> 16:x}:{int(inner) & 0xFFFF:x}::1"):
        if is_public(text):
            assert is_public(str(inner))


def found(*addresses):
    """What a resolver answers."""
    return [
        (
            socket.AF_INET6 if ":" in each else socket.AF_INET,
            socket.SOCK_STREAM,
            6,
            "",
            (each, 443),
        )
        for each in addresses
    ]


def test_one_private_address_among_public_ones_spoils_the_name():
    def resolve(*_, **__):
        return found("8.8.8.8", "127.0.0.1")

    with pytest.raises(UsageError, match="not a public address"):
        addresses_of("hook.example", 443, resolve=resolve)
    meant = addresses_of("hook.example", 443, allowed=EVERYWHERE, resolve=resolve)
    assert meant == ("8.8.8.8", "127.0.0.1")


def test_addresses_are_few_and_each_once():
    many = [f"8.8.8.{number}" for number in range(20)]

    def resolve(*_, **__):
        return found(*many, *many)

    taken = addresses_of("hook.example", 443, resolve=resolve)
    assert taken == tuple(many[:MAX_ADDRESSES])


@pytest.mark.parametrize("spelled", ["2130706433", "0x7f000001", "127.1", "localhost"])
def test_however_a_loopback_address_is_spelled_it_is_refused(spelled):
    with pytest.raises(UsageError):
        addresses_of(spelled, 443)


# -- sending ---------------------------------------------------------------------------------------


def certificate(name, folder):
    """A certificate of its own for one name, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


class Server(ThreadingHTTPServer):
    """A real HTTPS server that notes what it got."""

    def __init__(self, pem):
        self.got, self.names = [], []
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        context.sni_callback = lambda _, name, __: self.names.append(name)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass  # a client that refuses our certificate


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(dict(self.headers))
        self.send_response(204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    made = Server(certificate("hook.example", tmp_path))
    yield made
    made.shutdown()
    made.server_close()


def sent(tmp_path, url, **options):
    """Try one notice; what went wrong, empty when it was taken."""
    private = options.pop("private", True)
    path = tmp_path / FILE
    targets = [{"url": url, "secret": TEXT, "private": private}]
    path.write_text(json.dumps({"type": "modeldeed/webhooks", "version": 1, "targets": targets}))
    path.chmod(0o600)
    store = BrokerStore(tmp_path / f"{secrets.token_hex(4)}.sqlite3")
    notices = Notices(
        store, targets_of(tmp_path), clock=lambda: 1_800_000_000, timeout=2.0, **options
    )
    with store.transaction():
        notices.put("broker.license.held", {"license": "1.1"}, 1_800_000_000)
    notices.send_due()
    ((state, trouble),) = store.rows("SELECT state, trouble FROM notices")
    store.close()
    assert (state == "sent") == (trouble == "")
    return trouble


def trust(tmp_path, name="hook.example"):
    return ssl.create_default_context(cafile=tmp_path / f"{name}.pem")


def test_the_address_looked_at_is_connected_to_under_the_names_certificate(tmp_path, server):
    asked = []

    def resolve(host, port, **_):
        asked.append((host, port))
        return found("127.0.0.1")

    port = server.server_address[1]
    url = f"https://hook.example:{port}/hook"
    assert sent(tmp_path, url, resolve=resolve, trust=trust(tmp_path)) == ""
    assert asked == [("hook.example", port)]
    assert server.names == ["hook.example"]
    assert server.got[0]["host"] == f"hook.example:{port}"


def test_another_names_certificate_is_refused(tmp_path, server):
    url = f"https://other.example:{server.server_address[1]}/hook"
    trouble = sent(
        tmp_path, url, resolve=lambda *_, **__: found("127.0.0.1"), trust=trust(tmp_path)
    )
    assert trouble == "ConnectError"
    assert server.got == []


def test_a_certificate_of_no_authority_is_refused(tmp_path, server):
    url = f"https://hook.example:{server.server_address[1]}/hook"
    trouble = sent(tmp_path, url, resolve=lambda *_, **__: found("127.0.0.1"))
    assert trouble == "ConnectError"
    assert server.got == []


def test_a_name_that_moves_inside_after_the_look_leads_nowhere(tmp_path, server, monkeypatch):
    """The whole process's resolver rebinds: public at first, this machine from then on."""
    real, asked = socket.getaddrinfo, []

    def rebinding(host, *args, **options):
        if host != "hook.example":
            return real(host, *args, **options)
        asked.append(host)
        return found(NOWHERE if len(asked) == 1 else "127.0.0.1")

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    url = f"https://hook.example:{server.server_address[1]}/hook"
    trouble = sent(tmp_path, url, private=False, resolve=rebinding, trust=trust(tmp_path))
    assert trouble.startswith("Connect")
    assert asked == ["hook.example"]
    assert server.got == []


def test_where_one_address_is_dead_the_next_is_tried(tmp_path, server):
    with socket.socket() as closed:
        closed.bind(("127.0.0.2", server.server_address[1]))  # taken, and nobody listens
        url = f"https://hook.example:{server.server_address[1]}/hook"
        resolved = found("127.0.0.2", "127.0.0.1")
        assert sent(tmp_path, url, resolve=lambda *_, **__: resolved, trust=trust(tmp_path)) == ""
    assert len(server.got) == 1


def test_a_name_that_leads_nowhere_is_a_trouble_and_not_a_crash(tmp_path):
    def resolve(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    assert sent(tmp_path, "https://hook.example/x", resolve=resolve) == "gaierror"
    assert sent(tmp_path, "https://hook.example/x", resolve=lambda *_, **__: []) != ""
