"""Journal entries of one attempt, kept small until the attempt is over."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from struct import Struct
from typing import get_args

from shared.journal import TERMINAL_KINDS, EntryKind, NewEntry

#: Form and kind, number of the last delta, tokens, bytes of the frame; the token ids and the frame follow.
_RECORD = Struct("=BIII")
_KINDS: tuple[EntryKind, ...] = get_args(EntryKind)
_DELTA = _KINDS.index("delta")
_ID_BYTES = array("I").itemsize
#: How nearly every delta's frame begins and ends. Both follow from the entry, so such a frame is kept without them;
#: one that is written otherwise is kept whole.
_HEAD = b'{"type":"generation.delta","generation_id":"%b","seq":%d,"text":'
_TAIL = b',"channel":"answer"}'
_WITHOUT_HEAD = 0x40
_WITHOUT_TAIL = 0x80
_KIND_BITS = 0x3F


class KeptEntries:
    """What `add` got, one after the other in one buffer: some twenty bytes a delta, where objects take hundreds.

    Every entry comes back as it was, its frame byte for byte.
    """

    __slots__ = ("_attempt", "_buffer", "_count", "_generation_id", "has_end")

    def __init__(self, generation_id: str, attempt: int) -> None:
        self._generation_id = generation_id
        self._attempt = attempt
        self._buffer = bytearray()
        self._count = 0
        self.has_end = False
        """Whether the last entry ends the generation."""

    def __len__(self) -> int:
        return self._count

    def add(self, entry: NewEntry) -> None:
        """Keep an entry of this attempt behind the others."""
        form, frame = _KINDS.index(entry.kind), entry.frame
        if form == _DELTA:
            head = self._head(entry.seq)
            if frame.startswith(head):
                frame = frame[len(head) :]
                form |= _WITHOUT_HEAD
            if frame.endswith(_TAIL):
                frame = frame[: -len(_TAIL)]
                form |= _WITHOUT_TAIL
        token_ids = array("I", entry.token_ids)
        self._buffer += _RECORD.pack(form, entry.seq, len(token_ids), len(frame)) + token_ids.tobytes() + frame
        self._count += 1
        self.has_end = entry.kind in TERMINAL_KINDS

    def after(self, count: int) -> Iterator[NewEntry]:
        """The entries behind the first `count`, in their order."""
        at = 0
        for number in range(self._count):
            form, seq, tokens, length = _RECORD.unpack_from(self._buffer, at)
            ids_at = at + _RECORD.size
            frame_at = ids_at + tokens * _ID_BYTES
            at = frame_at + length
            if number < count:
                continue
            token_ids = array("I", bytes(self._buffer[ids_at:frame_at]))
            frame = bytes(self._buffer[frame_at:at])
            if form & _WITHOUT_HEAD:
                frame = self._head(seq) + frame
            if form & _WITHOUT_TAIL:
                frame += _TAIL
            kind = _KINDS[form & _KIND_BITS]
            yield NewEntry(self._generation_id, self._attempt, kind, seq, tuple(token_ids), frame)

    def _head(self, seq: int) -> bytes:
        return _HEAD % (self._generation_id.encode(), seq)
