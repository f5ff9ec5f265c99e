"""A TLS client without a socket: a test carries its records, cuts them, holds them back, and forges those of TLS 1.3.

pyOpenSSL does the handshake and tells the traffic secret; what no library would send is made from that (RFC 8446).
"""

import contextlib
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

from tests.harness import Wire

# RFC 8446 5.1: what a record carries.
ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23
# RFC 5246 7.4.1.2: a ClientHello as short as it may be. One that asks for a renegotiation is refused before it is read.
CLIENT_HELLO = b"\x01\x00\x00\x29\x03\x03" + bytes(32) + b"\x00\x00\x02\xc0\x2f\x01\x00"
# RFC 8446 4.6.3: a KeyUpdate, but for its last byte, which says whether one is wanted back.
KEY_UPDATE = b"\x18\x00\x00\x01"


class TlsByHand:
    """One TLS connection of a client, its records in the test's hands."""

    def __init__(self, wire: Wire, version: int) -> None:
        self.wire = wire
        self._secrets: dict[str, bytes] = {}
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.set_cipher_list(b"ECDHE+AESGCM:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384")
        context.set_keylog_callback(self._keep_secret)
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()

    def _keep_secret(self, _: SSL.Connection, line: bytes) -> None:
        name, _random, secret = line.decode().split()
        self._secrets[name] = bytes.fromhex(secret)

    def step(self) -> bytes:
        """Go as far as the relay's bytes lead; what is to be sent then."""
        with contextlib.suppress(SSL.WantReadError):
            self.tls.do_handshake()
        return self.out()

    def listen(self) -> None:
        """Take what the relay sends next; b"" is its end."""
        data = self.wire.socket.recv(65536)
        if not data:
            raise EOFError("the relay has ended")
        self.tls.bio_write(data)

    def last_flight(self) -> bytes:
        """Up to what ends the handshake on the client's side: that is given back, to be sent."""
        self.wire.send(self.step())
        while True:
            self.listen()
            if flight := self.step():
                return flight

    def shake_hands(self) -> None:
        """The whole handshake, as far as the client is concerned."""
        self.wire.send(self.last_flight())
        self.hear_the_end()

    def hear_the_end(self) -> None:
        """In TLS 1.2 the relay speaks last."""
        while True:
            try:
                return self.tls.do_handshake()
            except SSL.WantReadError:
                self.listen()

    def seal(self, data: bytes) -> bytes:
        """The record that `data` comes in, not sent."""
        self.tls.send(data)
        return self.out()

    def end(self) -> bytes:
        """A close_notify, not sent."""
        self.tls.shutdown()
        return self.out()

    def read_until(self, mark: bytes) -> bytes:
        """Decrypted bytes up to something that ends with `mark`."""
        data = b""
        while not data.endswith(mark):
            try:
                data += self.tls.recv(65536)
            except SSL.WantReadError:
                self.listen()
        return data

    def read_all(self) -> bytes:
        """Decrypted bytes up to the relay's close_notify."""
        data = b""
        while True:
            try:
                data += self.tls.recv(65536)
            except SSL.WantReadError:
                self.listen()
            except SSL.ZeroReturnError:
                return data

    def forger(self) -> "Forger":
        """Makes the next records of this client, all of them from now on; nothing was sealed before."""
        name = self.tls.get_cipher_name()
        assert name is not None
        algorithm = SHA384() if "SHA384" in name else SHA256()
        if self.tls.get_protocol_version_name() == "TLSv1.3":
            return Forger13(algorithm, self._secrets["CLIENT_TRAFFIC_SECRET_0"])
        random = self.tls.server_random() + self.tls.client_random()
        return Forger12(algorithm, self.tls.master_key() + b"key expansion" + random)

    def out(self) -> bytes:
        """What OpenSSL wants to be sent."""
        pieces = []
        while True:
            try:
                pieces.append(self.tls.bio_read(65536))
            except SSL.WantReadError:
                return b"".join(pieces)


class Forger:
    """The records of one direction under AES-GCM."""

    def __init__(self, algorithm: HashAlgorithm) -> None:
        self._algorithm = algorithm
        self._key_bytes = 32 if algorithm.digest_size == 48 else 16

    def record(self, content: bytes, kind: int = APPLICATION_DATA) -> bytes:
        """The next record."""
        raise NotImplementedError


class Forger12(Forger):
    """Of TLS 1.2 (RFC 5246 6.3, RFC 5288 3)."""

    def __init__(self, algorithm: HashAlgorithm, expansion: bytes) -> None:
        super().__init__(algorithm)
        master, seed = expansion[:48], expansion[48:]
        block, turn = b"", seed
        while len(block) < 2 * self._key_bytes + 4:
            turn = self._hmac(master, turn)
            block += self._hmac(master, turn + seed)
        self._key = AESGCM(block[: self._key_bytes])
        self._salt = block[2 * self._key_bytes :][:4]
        self._number = 1  # The client's Finished was 0.

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        made = HMAC(key, self._algorithm)
        made.update(data)
        return made.finalize()

    def record(self, content: bytes, kind: int = APPLICATION_DATA) -> bytes:
        number = self._number.to_bytes(8, "big")
        self._number += 1
        header = struct.pack("!BHH", kind, 0x0303, len(content))
        sealed = self._key.encrypt(self._salt + number, content, number + header)
        return struct.pack("!BHH", kind, 0x0303, 8 + len(sealed)) + number + sealed


class Forger13(Forger):
    """Of TLS 1.3, from its traffic secret on (RFC 8446 5.2, 5.3, 7.3)."""

    def __init__(self, algorithm: HashAlgorithm, secret: bytes) -> None:
        super().__init__(algorithm)
        self._turn(secret)

    def record(self, content: bytes, kind: int = APPLICATION_DATA) -> bytes:
        inner = content + bytes([kind])
        header = struct.pack("!BHH", APPLICATION_DATA, 0x0303, len(inner) + 16)
        nonce = (int.from_bytes(self._iv, "big") ^ self._number).to_bytes(12, "big")
        self._number += 1
        return header + self._key.encrypt(nonce, inner, header)

    def key_update(self, *, wants_one: bool) -> bytes:
        """A KeyUpdate, after which the keys are the next ones (RFC 8446 7.2)."""
        record = self.record(KEY_UPDATE + bytes([wants_one]), HANDSHAKE)
        self._turn(self._expand(b"traffic upd", self._algorithm.digest_size))
        return record

    def _turn(self, secret: bytes) -> None:
        self._secret, self._number = secret, 0
        self._key = AESGCM(self._expand(b"key", self._key_bytes))
        self._iv = self._expand(b"iv", 12)

    def _expand(self, label: bytes, length: int) -> bytes:
        label = b"tls13 " + label
        info = struct.pack("!HB", length, len(label)) + label + b"\x00"
        return HKDFExpand(self._algorithm, length, info).derive(self._secret)
