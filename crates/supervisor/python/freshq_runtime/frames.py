"""Messages to and from the supervisor; twin of `src/forkserver/frame.rs`.

A frame is, little-endian:

    u32  length of all that follows
    u8   version of this format
    u32  length of the header
    ...  header: a JSON object with a `kind`
    ...  body: raw bytes, whose meaning the header gives

Descriptors that belong to a frame travel with its first byte (SCM_RIGHTS).
"""

import array
import json
import os
import socket
import struct

VERSION = 1
_READ_MIN = 4096
_READ_MAX = 1024 * 1024
FRAME_BYTES_MAX = 512 * 1024 * 1024
_LEAD = struct.Struct("<IBI")
_LEAD_TAIL = _LEAD.size - 4
_FDS_MAX = 24
# A forked process pays for each page that it is the first to touch, so a message takes the shortest way:
# no `json.loads`, which guesses the encoding, and no `json.dumps`, which makes an encoder each time.
_decode = json.JSONDecoder().scan_once


def _encoder():
    encoder = json.JSONEncoder(separators=(",", ":"))
    make = json.encoder.c_make_encoder
    if make is None:
        return encoder.encode
    # What `encode` makes anew for each message.
    ascii_of = json.encoder.encode_basestring_ascii
    parts = make(None, encoder.default, ascii_of, None, ":", ",", False, False, True)
    return lambda header: "".join(parts(header, 0))


_encode = _encoder()


class FrameError(Exception):
    """The other side does not speak this format; there is no way to go on."""


class Closed(Exception):
    """The other side has closed the connection."""


def encode(header, body=b""):
    head = _encode(header).encode()
    return _LEAD.pack(_LEAD_TAIL + len(head) + len(body), VERSION, len(head)) + head + body


def _identity(fd):
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


class Link:
    """One end of a connection to the supervisor."""

    def __init__(self, sock):
        self.sock = sock
        self._data = b""
        self._identity = _identity(sock.fileno())

    def fileno(self):
        return self.sock.fileno()

    def close(self):
        self.sock.close()

    def is_whole(self):
        """Whether the descriptor is still the one of this link: code that closes all it finds takes this with it,
        and what it opens next has the same number."""
        try:
            return _identity(self.sock.fileno()) == self._identity
        except OSError:
            return False

    def send(self, header, body=b""):
        try:
            self.sock.sendall(encode(header, body))
        except (BrokenPipeError, ConnectionResetError):
            raise Closed from None

    def receive(self):
        """Wait for the next frame; returns (header, body)."""
        self._fill(_LEAD.size)
        length, version, head_length = _LEAD.unpack_from(self._data)
        if version != VERSION:
            raise FrameError(f"frame of version {version}, this side speaks version {VERSION}")
        if length > FRAME_BYTES_MAX or head_length > length - _LEAD_TAIL:
            raise FrameError(f"frame of {length} bytes with a header of {head_length}")
        end, body = 4 + length, _LEAD.size + head_length
        self._fill(end)
        data, self._data = self._data, self._data[end:]
        return _decode(data[_LEAD.size : body].decode(), 0)[0], data[body:end]

    def pending(self):
        """Whether bytes are waiting here, beyond what the socket itself shows."""
        return len(self._data) > 0

    def _fill(self, count):
        """Read until `count` bytes are there."""
        chunks, missing = [self._data], count - len(self._data)
        while missing > 0:
            chunk = self._read(min(max(missing, _READ_MIN), _READ_MAX))
            if not chunk:
                raise Closed
            chunks.append(chunk)
            missing -= len(chunk)
        self._data = b"".join(chunks)

    def _read(self, count):
        try:
            return self.sock.recv(count)
        except ConnectionResetError:
            raise Closed from None


class ControlLink(Link):
    """The link of a base or a generation, along which descriptors come."""

    def __init__(self, sock):
        super().__init__(sock)
        self._fds = []

    def close(self):
        """Also what came for others: a forked child keeps nothing of them."""
        super().close()
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def take_fd(self):
        """The next descriptor that came along, in the order they were sent."""
        if not self._fds:
            raise FrameError("a frame came without its descriptor")
        return self._fds.pop(0)

    def _read(self, count):
        fds = array.array("i")
        space = socket.CMSG_LEN(_FDS_MAX * fds.itemsize)
        try:
            data, ancillary, _, _ = self.sock.recvmsg(count, space, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            raise Closed from None
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        self._fds.extend(fds)
        return data
