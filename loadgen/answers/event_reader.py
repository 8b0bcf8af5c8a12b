"""A stream of bytes cut into server-sent events: the time it takes grows with the bytes, however they were split."""

from __future__ import annotations

from loadgen.answers.stream_end import is_done, named_error, parse

BOM = b"\xef\xbb\xbf"
MOST_BYTES = 2**24  # of one event, or of an answer that is no stream: thousands of times what a chunk has


class EventReader:
    """Cuts a stream of bytes into events.

    Lines may end in LF, CRLF or CR, comments and other fields are passed over, and data over several lines is joined, as
    the HTML standard has it for server-sent events; so is a byte order mark at the start. `error:` lines, which llama.cpp's
    server writes, are events too. The data of an event called `error`, and of such a line, is returned as `{"error": data}`.
    An event of more than `MOST_BYTES` becomes such an error, and the part received is dropped.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of a line whose end has not come; joined once, when it has
        self._piece_bytes = self._data_bytes = 0
        self._data: list[bytes] = []
        self._name = b""
        self._after_cr = False  # a LF that comes next belongs to the CR before it
        self._begun = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Data of the events that these bytes complete."""
        if (whole := self.single(chunk)) is not None:
            return [whole]
        if self._after_cr and chunk:
            self._after_cr, chunk = False, chunk.removeprefix(b"\n")
        if not self._begun:
            chunk, self._pieces = b"".join([*self._pieces, chunk]), []
            if len(chunk) < len(BOM) and BOM.startswith(chunk):
                self._pieces = [chunk] if chunk else []
                return []
            self._begun, chunk = True, chunk.removeprefix(BOM)
        found = self._add(chunk)
        if self._piece_bytes + self._data_bytes > MOST_BYTES:
            self._pieces, self._data, self._name = [], [], b""
            self._piece_bytes = self._data_bytes = 0
            found.append(named_error(b"an event is longer than %d bytes" % MOST_BYTES))
        return found

    def single(self, chunk: bytes) -> bytes | None:
        """Data of the one event that these bytes are, as nearly all servers write; None, and nothing is read, if they are not."""
        if chunk[:6] != b"data: " or chunk[-2:] != b"\n\n" or self._pieces or self._data or self._name:
            return None
        whole = chunk[6:-2]
        if b"\n" in whole or b"\r" in whole:
            return None
        self._begun, self._after_cr = True, False
        return whole

    def end(self) -> list[bytes]:
        """Data of a last event without its blank line, if it is whole; nothing more will come."""
        return [data for data in self.feed(b"\n\n") if is_done(data) or _is_json(data)]

    def _add(self, chunk: bytes) -> list[bytes]:
        if b"\n" not in chunk and b"\r" not in chunk:
            if chunk:
                self._pieces.append(chunk)
                self._piece_bytes += len(chunk)
            return []
        self._after_cr = chunk.endswith(b"\r")
        lines = split_lines(b"".join([*self._pieces, chunk]) if self._pieces else chunk)
        rest = lines.pop()
        self._pieces, self._piece_bytes = [rest] if rest else [], len(rest)
        found = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._data_bytes += len(line)
            elif line.startswith(b"error:"):
                self._data.append(named_error(line[6:]))
                self._data_bytes += len(line)
            elif line.startswith(b"event:"):
                self._name = line[6:].strip()
            elif not line:
                data = b"\n".join(self._data)
                found += [named_error(data) if self._name == b"error" else data] if self._data else []
                self._data, self._name, self._data_bytes = [], b"", 0
        return found


def split_lines(text: bytes) -> list[bytes]:
    """Lines without their ends; the last has none yet, and may be empty."""
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


def _is_json(data: bytes) -> bool:
    try:
        parse(data)
    except ValueError:
        return False
    return True
