"""A real time-stamping authority for tests and vectors: OpenSSL behind HTTP on the loopback.

Its certificates are made here, with whatever dates and uses a case needs; its keys are thrown away
with the folder. Tokens are made by ``openssl ts -reply``, never by code of ours.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_CONFIG = """\
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_cert = {folder}/signer.pem
signer_key = {folder}/signer.key
default_policy = 1.3.6.1.4.1.55555.1
digests = sha256, sha384, sha512
accuracy = secs:1, millisecs:500
signer_digest = {digest}
ess_cert_id_alg = {ess}
{certs}
"""


def _key(kind: str) -> Any:
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}[kind])


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        """The certificate's bytes."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        name: str,
        *,
        kind: str = "p256",
        authority: bool = False,
        start: timedelta = timedelta(days=-1),
        end: timedelta = timedelta(days=3650),
        usage: Iterable[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.TIME_STAMPING,),
        critical: bool = True,
        path: int | None = None,
    ) -> Issued:
        """A certificate below this one; dates are relative to now."""
        return _issue(
            name,
            self,
            kind=kind,
            authority=authority,
            start=start,
            end=end,
            usage=usage,
            critical=critical,
            path=path,
        )

    def revoke(
        self, one: Issued, *, at: timedelta, reason: x509.ReasonFlags | None = None
    ) -> bytes:
        """A revocation list in PEM that names `one`."""
        now = datetime.now(UTC)
        entry = x509.RevokedCertificateBuilder(
            serial_number=one.certificate.serial_number, revocation_date=now + at
        )
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        built = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now + timedelta(minutes=-5))
            .next_update(now + timedelta(days=30))
            .add_revoked_certificate(entry.build())
        )
        return built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def root(name: str, *, kind: str = "p256", **dates: timedelta) -> Issued:
    """A certificate that names itself."""
    return _issue(name, None, kind=kind, authority=True, usage=None, **dates)  # type: ignore[arg-type]


def _issue(
    name: str,
    above: Issued | None,
    *,
    kind: str,
    authority: bool,
    usage: Iterable[x509.ObjectIdentifier] | None,
    start: timedelta = timedelta(days=-1),
    end: timedelta = timedelta(days=3650),
    critical: bool = True,
    path: int | None = None,
) -> Issued:
    key = _key(kind)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(name) if above is None else above.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=authority,
                crl_sign=authority,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(usage)), critical=critical)
    return Issued(builder.sign(key if above is None else above.key, hashes.SHA256()), key)


class Authority:
    """OpenSSL as a time-stamping authority; `url` answers while it is open."""

    def __init__(
        self,
        folder: Path,
        signer: Issued,
        chain: Iterable[Issued] = (),
        *,
        digest: str = "sha256",
        ess: str = "sha256",
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "serial").write_text("01\n")
        (folder / "signer.pem").write_bytes(signer.pem)
        (folder / "signer.key").write_bytes(
            signer.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        others = b"".join(one.pem for one in chain)
        (folder / "others.pem").write_bytes(others)
        certs = f"certs = {folder}/others.pem" if others else ""
        (folder / "tsa.cnf").write_text(
            _CONFIG.format(folder=folder, digest=digest, ess=ess, certs=certs)
        )
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # its name in http.server
                query = self.rfile.read(int(self.headers["Content-Length"]))
                answer = authority.reply(query)
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def reply(self, query: bytes, *, token: bool = False) -> bytes:
        """The answer to a query's bytes; the bare token if asked."""
        with self._lock:
            (self.folder / "query.tsq").write_bytes(query)
            out = self.folder / "reply.tsr"
            words = ["openssl", "ts", "-reply", "-config", str(self.folder / "tsa.cnf")]
            words += ["-queryfile", str(self.folder / "query.tsq"), "-out", str(out)]
            subprocess.run(
                [*words, *(["-token_out"] if token else [])], check=True, capture_output=True
            )
            return out.read_bytes()

    def stamp(self, imprint: bytes, *, certificates: bool = True) -> bytes:
        """A bare token over 32 bytes, by OpenSSL's own query."""
        query = self.folder / "made.tsq"
        words = ["openssl", "ts", "-query", "-sha256", "-digest", imprint.hex(), "-out", str(query)]
        subprocess.run(
            [*words, *(["-cert"] if certificates else [])], check=True, capture_output=True
        )
        return self.reply(query.read_bytes(), token=True)
