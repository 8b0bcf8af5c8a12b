"""TLS over a socket that this client reads itself, so that encrypted bytes have the kernel's stamps too.

A record is decrypted after it was read; the stamp of a read is that of the encrypted bytes which completed it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

_READ_BYTES = 65536


class TlsSession:
    """One connection's keys, between two buffers in memory (`ssl.MemoryBIO`)."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def handshake(self, connection: socket.socket) -> None:
        """Do the handshake and check the certificate. Raises OSError (ssl.SSLError is one)."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._object.do_handshake()
                waiting = False
            except ssl.SSLWantReadError:
                waiting = True
            if said := self._outgoing.read():
                await loop.sock_sendall(connection, said)
            if not waiting:
                return
            if not (heard := await loop.sock_recv(connection, _READ_BYTES)):
                raise ConnectionResetError("closed by the server during the TLS handshake")
            self._incoming.write(heard)

    def seal(self, data: bytes) -> bytes:
        """Encrypt `data`."""
        self._object.write(data)
        return self._outgoing.read()

    def unseal(self, data: memoryview) -> tuple[bytes, bytes]:
        """(decrypted bytes, TLS's own reply, which must be sent). Raises ssl.SSLError on garbage."""
        self._incoming.write(data)
        said = bytearray()
        try:
            while part := self._object.read(_READ_BYTES):
                said += part
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass  # no whole record is left, or the peer has said goodbye: the socket's end follows
        return bytes(said), self._outgoing.read()
