"""A FlatBuffers builder that writes nothing twice: equal vectors of numbers, equal strings and equal tables are shared.

In FlatBuffers a table refers to its vectors by their distance, so several may refer to one. The code that flatc
generates for Python writes each anew: of a quantized TFLite file every sixth byte was a zero point of zero.
"""

import hashlib
from typing import Any

import flatbuffers

_ALIGNED = 16  # bytes: what TFLite's schema asks for, and runtimes expect of weights


class SharingBuilder(flatbuffers.Builder):
    """Shares what is equal, and begins each vector of bytes at a multiple of 16, which generated code forgets.

    Tables with structs, which TFLite's schemas have none of, are not written.
    """

    head: int

    def __init__(self, initialSize: int = 1024) -> None:
        super().__init__(initialSize)
        self._places: dict[Any, int] = {}
        self._fields: list[tuple[Any, int, Any, Any]] = []
        self._begun = self._stored = 0
        self._shape = (0, 0)
        self._refers = False

    def CreateString(self, s: Any, encoding: str = "utf-8", errors: str = "strict") -> int:
        """Write a string, or return where it stands."""
        content = s.encode(encoding, errors) if isinstance(s, str) else bytes(s)
        if content not in self._places:
            self._refers = True  # its end is that of a vector, which is not looked up once more
            self._places[content] = super().CreateString(content)
        return self._places[content]

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        """Begin a vector."""
        alignment = _ALIGNED if elemSize == 1 else alignment
        self._begun, self._stored, self._shape = self.Offset(), elemSize * numElems, (elemSize, alignment)
        self._refers = False
        return int(super().StartVector(elemSize, numElems, alignment))

    def PrependUOffsetTRelative(self, off: int) -> None:
        """Write a distance to something else; a vector of distances is not compared by its bytes."""
        self._refers = True
        super().PrependUOffsetTRelative(off)

    def EndVector(self, numElems: int | None = None) -> int:
        """End a vector: one of numbers that stands in the buffer already is taken back."""
        place = int(super().EndVector())
        if self._refers:
            return place
        with memoryview(self.Bytes) as content:
            key = (*self._shape, hashlib.sha256(content[self.head : self.head + 4 + self._stored]).digest())
        known = self._places.setdefault(key, place)
        if known != place:
            self.head = len(self.Bytes) - self._begun
        return known

    def StartObject(self, numfields: int) -> None:
        """Begin a table."""
        super().StartObject(numfields)
        self._fields = []

    def PrependSlot(self, flags: Any, o: int, x: Any, d: Any) -> None:
        """Take a number as a table's field."""
        if x != d:
            self._fields.append((flags, o, x, d))

    def PrependUOffsetTRelativeSlot(self, o: int, x: int, d: int) -> None:
        """Take what stands elsewhere as a table's field."""
        if x != d:
            self._fields.append((None, o, x, d))

    def PrependStructSlot(self, v: int, x: int, d: int) -> None:
        """Refuse a struct as a table's field."""
        raise NotImplementedError("Expected tables without structs. Got: one with a struct.")

    def EndObject(self) -> int:
        """Write a table, its widest fields first, which leaves the fewest gaps; or return where an equal one stands."""
        key = ("table", *((flags, o, repr(x)) for flags, o, x, _ in self._fields))
        if key in self._places:
            self.nested = False
            return self._places[key]
        for flags, o, x, d in sorted(self._fields, key=lambda field: -(field[0].bytewidth if field[0] else 4)):
            if flags is None:
                super().PrependUOffsetTRelativeSlot(o, x, d)
            else:
                super().PrependSlot(flags, o, x, d)
        self._places[key] = int(super().EndObject())
        return self._places[key]
