"""TLS in front of the test servers, with a certificate authority that nobody else trusts."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_CHUNK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority and what it has signed: a server that is 127.0.0.1 and `localhost`.

    Attributes:
        certificate: File with the authority's own certificate.
        server: File with the server's certificate and key.
    """

    certificate: Path
    server: Path


def make_authority(folder: Path) -> Authority:
    """Make an authority and the certificate of a server."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
    root = _certificate(name, name, root_key, root_key, is_authority=True)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    server = _certificate(subject, name, key, root_key, is_authority=False)
    authority = Authority(folder / "authority.pem", folder / "server.pem")
    authority.certificate.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    authority.server.write_bytes(
        server.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return authority


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signed_by: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signed_by, hashes.SHA256())
    )


@contextlib.contextmanager
def run_front(authority: Authority, port: int, *, postgres: bool = False) -> Iterator[int]:
    """Listen with TLS in front of a port of this machine; gives the port it listens on.

    Args:
        authority: Whose certificate it shows.
        port: Where the server listens.
        postgres: Clients ask for TLS first, as Postgres's do.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(
            target=_serve, args=(listener, context, port, postgres), daemon=True
        ).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, context: ssl.SSLContext, port: int, postgres: bool) -> None:
    with contextlib.suppress(OSError):  # the listener is shut down
        while True:
            client, _ = listener.accept()
            threading.Thread(
                target=_pass_on, args=(client, context, port, postgres), daemon=True
            ).start()


def _pass_on(client: socket.socket, context: ssl.SSLContext, port: int, postgres: bool) -> None:
    # A client that does not trust us breaks off, and so does one that is done.
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        stack.enter_context(client)
        if postgres:
            while client.recv(8, socket.MSG_WAITALL) != _SSL_REQUEST:
                client.sendall(b"N")  # another kind of encryption, or none at all
            client.sendall(b"S")
        secure = stack.enter_context(context.wrap_socket(client, server_side=True))
        server = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        back = threading.Thread(target=_copy, args=(server, secure), daemon=True)
        back.start()
        _copy(secure, server)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
