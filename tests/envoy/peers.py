"""What stands around the Envoy under test: upstream servers, clients, certificates and tokens. Loopback only."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"
PATIENCE = 10.0
"""Seconds after which a socket of ours gives up: no test may hang."""

# --- upstream servers --------------------------------------------------------------------------------------------

Handler = Callable[[socket.socket], None]

RST = struct.pack("ii", 1, 0)
"""SO_LINGER of a socket that resets when it is closed."""


class Server:
    """A TCP server on a free port with a thread for each connection; `handler` gets the accepted socket."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._listening = socket.create_server((HOST, 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # shutdown wakes the accept of the other thread, close alone does not
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        with connection, contextlib.suppress(OSError):
            self._handler(connection)


def app(connection: socket.socket) -> None:
    """HTTP/1.1: `/wait` never answers, `/status/NNN` answers with that status, everything else with 200."""
    reader = connection.makefile("rb")
    while request := reader.readline():
        path = request.split()[1].decode()
        length = 0
        while (line := reader.readline().strip().lower()) and line != b"":
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        reader.read(length)
        if path.startswith("/wait"):
            reader.read(1)
            return
        status = int(path.removeprefix("/status/")) if path.startswith("/status/") else 200
        connection.sendall(b"HTTP/1.1 %d Whatever\r\ncontent-length: 2\r\n\r\nok" % status)


def answers_once(connection: socket.socket) -> None:
    """Answers the first request and closes when the second one comes: the race of a keep-alive connection."""
    for answer in (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b""):
        if connection.recv(65536):
            connection.sendall(answer)


def breaks_off(connection: socket.socket) -> None:
    """Closes in the middle of the answer, as an application does that crashes while it writes."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0123456789")


def swallows(connection: socket.socket) -> None:
    """Reads and never says anything, as a plaintext server does that waits for the rest of a ClientHello."""
    while connection.recv(65536):
        pass


def closes(connection: socket.socket) -> None:
    """Reads the request and closes without an answer."""
    connection.recv(65536)


def resets(connection: socket.socket) -> None:
    """Reads the request and resets the connection."""
    connection.recv(65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)


def ssh(connection: socket.socket) -> None:
    """Speaks first, and not HTTP."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
    connection.recv(65536)


def bad_request(connection: socket.socket) -> None:
    """A plaintext HTTP server that gets something else, such as a ClientHello."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")


def echo(connection: socket.socket) -> None:
    """Sends back what it gets, until the client closes."""
    while data := connection.recv(65536):
        connection.sendall(data)


def h2_answers(*answers: tuple[int, int, bytes]) -> Handler:
    """HTTP/2: answers every request with these frames (type, flags, payload)."""

    def handle(connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        reader.read(len(H2_PREFACE))
        connection.sendall(h2_frame(H2_SETTINGS))
        while head := reader.read(9):
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big")
            reader.read(int.from_bytes(head[:3], "big"))
            if kind == H2_SETTINGS and not flags & H2_ACK:
                connection.sendall(h2_frame(H2_SETTINGS, H2_ACK))
            elif kind == H2_HEADERS:
                for answer, answer_flags, payload in answers:
                    connection.sendall(h2_frame(answer, answer_flags, stream, payload))

    return handle


def over_tls(context: ssl.SSLContext, handler: Handler) -> Handler:
    """`handler` behind a TLS handshake."""

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            handler(wrapped)

    return handle


def relay(port: Callable[[], int]) -> Handler:
    """Passes bytes and resets to another port, which need not be known before the first connection."""

    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except ConnectionResetError:
            # wakes the other direction without a FIN; what is sent when both are closed is then a reset
            with contextlib.suppress(OSError):
                sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
                sink.shutdown(socket.SHUT_RD)
        except OSError:
            pass

    def handle(connection: socket.socket) -> None:
        with socket.create_connection((HOST, port()), PATIENCE) as other:
            back = threading.Thread(target=copy, args=(other, connection), daemon=True)
            back.start()
            copy(connection, other)
            back.join(PATIENCE)

    return handle


def refusing() -> socket.socket:
    """A port that refuses connections, and that nobody else can take while the socket is held."""
    held = socket.socket()
    held.bind((HOST, 0))
    return held


def unanswering() -> list[socket.socket]:
    """A port (that of the first socket) whose queue is full, so that Linux drops further SYNs."""
    listening = socket.create_server((HOST, 0), backlog=0)
    held = [listening]
    for _ in range(3):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listening.getsockname())
        held.append(client)
    return held


# --- clients -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """The listener of a scenario, as its client sees it."""

    port: int
    authority: str
    tokens: Tokens


Client = Callable[[Target], None]


def get(
    path: str = "/",
    headers: Mapping[str, str] | Callable[[Tokens], Mapping[str, str]] | None = None,
    method: str = "GET",
    body: bytes | None = None,
    authority: str = "",
    times: int = 1,
) -> Client:
    """An HTTP/1.1 request, `times` times one after the other; whatever the answer is."""

    def send(target: Target) -> None:
        extra = headers(target.tokens) if callable(headers) else headers or {}
        host = authority or target.authority
        for _ in range(times):
            connection = http.client.HTTPConnection(HOST, target.port, timeout=PATIENCE)
            try:
                connection.request(method, path, body, {"Host": host, "User-Agent": "curl/8.5.0", **extra})
                connection.getresponse().read()
            finally:
                connection.close()

    return send


def raw(data: bytes, patience: float = 0.3) -> Client:
    """Sends bytes and reads until the other side closes or resets, or says no more for `patience` seconds."""

    def send(target: Target) -> None:
        with socket.create_connection((HOST, target.port), PATIENCE) as connection:
            connection.settimeout(patience)
            with contextlib.suppress(OSError):
                connection.sendall(data)
                while connection.recv(65536):
                    pass

    return send


def after(seconds: float, *clients: Client) -> Client:
    """These one after the other, with so long a pause between them that Envoy's main thread has caught up."""

    def send(target: Target) -> None:
        for i, client in enumerate(clients):
            time.sleep(seconds if i else 0)
            client(target)

    return send


def quiet(target: Target) -> None:
    """Sends nothing: others call this listener."""


def gives_up(path: str = "/wait") -> Client:
    """Sends a request and closes the connection before the answer."""

    def send(target: Target) -> None:
        with socket.create_connection((HOST, target.port), PATIENCE) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: {target.authority}\r\n\r\n".encode())
            time.sleep(0.2)

    return send


def tls_hello(name: str) -> Client:
    """Begins a TLS handshake with this server name."""

    def send(target: Target) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((HOST, target.port), PATIENCE) as connection,
            contextlib.suppress(OSError),
            context.wrap_socket(connection, server_hostname=name),
        ):
            pass

    return send


def grpc(path: str = "/pkg.Service/Call") -> Client:
    """A gRPC call over HTTP/2 without TLS; waits for the end of the stream."""

    def send(target: Target) -> None:
        headers = {
            ":method": "POST", ":scheme": "http", ":path": path, ":authority": target.authority,
            "content-type": "application/grpc", "te": "trailers", "user-agent": "grpc-go/1.60.0",
        }  # fmt: skip
        with socket.create_connection((HOST, target.port), PATIENCE) as connection:
            connection.sendall(
                H2_PREFACE
                + h2_frame(H2_SETTINGS)
                + h2_frame(H2_HEADERS, H2_END_HEADERS, 1, hpack(headers))
                + h2_frame(H2_DATA, H2_END_STREAM, 1, bytes(5))
            )
            reader = connection.makefile("rb")
            while head := reader.read(9):
                reader.read(int.from_bytes(head[:3], "big"))
                if int.from_bytes(head[5:9], "big") == 1 and head[4] & H2_END_STREAM:
                    return

    return send


# --- HTTP/2, as little as is needed ------------------------------------------------------------------------------

H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
H2_DATA, H2_HEADERS, H2_RST_STREAM, H2_SETTINGS = 0, 1, 3, 4
H2_ACK = H2_END_STREAM = 1
H2_END_HEADERS = 4


def h2_frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def hpack(headers: Mapping[str, str]) -> bytes:
    """Short headers, without a table and without Huffman (RFC 7541, section 6.2.2)."""
    return b"".join(b"\0" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in headers.items())


RESET = (H2_RST_STREAM, 0, struct.pack(">I", 2))
"""RST_STREAM INTERNAL_ERROR."""

UNAUTHENTICATED = (
    H2_HEADERS,
    H2_END_HEADERS | H2_END_STREAM,
    hpack(
        {
            ":status": "200",
            "content-type": "application/grpc",
            "grpc-status": "16",
            "grpc-message": "authentication failure",
        }
    ),
)
"""What istiod says to a proxy whose token it does not accept."""

# --- certificates and tokens -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, PEM."""

    certificate: str
    key: str


class Authority:
    """A certificate authority as a mesh has one: a root and leaves with DNS or SPIFFE names."""

    def __init__(self, name: str = "cluster.local") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
        self._serial = 1
        now = datetime.now(UTC)
        root = self._sign(
            self._name,
            self._key.public_key(),
            (now - timedelta(days=365), now + timedelta(days=365)),
            x509.BasicConstraints(ca=True, path_length=None),
        )
        self.root = root.public_bytes(serialization.Encoding.PEM).decode()

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        valid: tuple[datetime, datetime],
        *extra: x509.ExtensionType,
    ) -> x509.Certificate:
        self._serial += 1
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(self._serial)
            .not_valid_before(valid[0])
            .not_valid_after(valid[1])
        )
        for extension in extra:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, name: str, expired: bool = False) -> Identity:
        """A certificate with this URI (`spiffe://`) or DNS name, valid today or until yesterday."""
        key = ec.generate_private_key(ec.SECP256R1())
        end = datetime.now(UTC) + timedelta(days=-1 if expired else 30)
        san: x509.GeneralName = (
            x509.UniformResourceIdentifier(name) if name.startswith("spiffe://") else x509.DNSName(name)
        )
        certificate = self._sign(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "workload")]),
            key.public_key(),
            (end - timedelta(days=60), end),
            x509.BasicConstraints(ca=False, path_length=None),
            x509.SubjectAlternativeName([san]),
        )
        return Identity(
            certificate.public_bytes(serialization.Encoding.PEM).decode(),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode(),
        )


def server_context(identity: Identity, folder: Path, client_root: str = "") -> ssl.SSLContext:
    """The context of a TLS server; with `client_root` it demands a client certificate of that root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # TLS 1.2: with 1.3 a client learns only after the handshake that its certificate was refused
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    chain = folder / "chain.pem"
    chain.write_text(identity.certificate + identity.key)
    context.load_cert_chain(chain)
    if client_root:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_root)
    return context


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _jwk(key: rsa.RSAPrivateKey, **more: str) -> dict[str, str]:
    n = key.public_key().public_numbers().n
    return {"kty": "RSA", "e": "AQAB", "n": _b64(n.to_bytes(256, "big")), **more}


ISSUER, AUDIENCE = "https://issuer.example.com", "reviews"


@dataclass(frozen=True)
class Tokens:
    """Makes JWTs, RS256; `jwks` has the key of `good` ones and not that of forged ones."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    other: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    @property
    def jwks(self) -> str:
        """The public key as Envoy's `local_jwks` takes it."""
        return json.dumps({"keys": [_jwk(self.key, kid="one", alg="RS256", use="sig")]})

    @property
    def stand_in(self) -> str:
        """What istiod sends when it cannot fetch the keys: one public key whose private key is thrown away."""
        return json.dumps({"keys": [_jwk(rsa.generate_private_key(65537, 2048))]})

    def make(self, age: float = 0, forged: bool = False, kid: str = "one", **claims: object) -> str:
        """A token that expires in an hour, less `age` seconds; `forged` is signed by a key that nobody knows."""
        payload = {"iss": ISSUER, "aud": AUDIENCE, "sub": "productpage", "exp": int(time.time() + 3600 - age), **claims}
        parts = ({"alg": "RS256", "typ": "JWT", "kid": kid}, payload)
        text = ".".join(_b64(json.dumps(p).encode()) for p in parts)
        key = self.other if forged else self.key
        return f"{text}.{_b64(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"
