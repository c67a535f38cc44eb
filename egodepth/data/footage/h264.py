"""H.264 numbers its reference frames. A decoder that misses some shows frames made from others and does not say so.

Source: ITU-T H.264, 7.3.2.1.1 (sequence parameter set), 7.3.3 (slice header), 7.4.3 (frame_num).
"""

from collections.abc import Iterator

IDR, SLICE, PARAMETERS = 5, 1, 7
PROFILES_WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
HEADER_BYTES = 512


class ReferenceNumbers:
    """Follows the numbers from packet to packet, in the order of decoding.

    Args:
        extradata: the stream's parameter sets, as MP4 and Matroska keep them (avcC) or with start codes.
    """

    def __init__(self, extradata: bytes | None) -> None:
        extradata = extradata or b""
        self._length_bytes = 1 + (extradata[4] & 3) if extradata[:1] == b"\1" and len(extradata) > 6 else 0
        self._number_bits = 0
        self._planes_apart = False
        self._expected: int | None = None
        if self._length_bytes:
            size = int.from_bytes(extradata[6:8], "big")
            self._read_parameters(extradata[8 : 8 + size])
        else:
            self.misses_some(extradata)

    def misses_some(self, packet: bytes) -> bool:
        """Whether reference frames are missing between the packet before and this one."""
        for unit in units(packet, self._length_bytes):
            kind = unit[0] & 31 if unit else 0
            if kind == PARAMETERS:
                self._read_parameters(unit)
            elif kind in (SLICE, IDR) and self._number_bits:
                return self._follow(unit, kind)
        return False

    def _follow(self, unit: bytes, kind: int) -> bool:
        bits = _Bits(unit)
        try:
            for _ in range(3):  # the first macroblock, the slice's type, the picture parameter set
                bits.number()
            bits.take(2 if self._planes_apart else 0)
            number = bits.take(self._number_bits)
        except IndexError:  # the decoder says what is wrong with this one
            return False
        before, self._expected = self._expected, number if unit[0] >> 5 & 3 else self._expected
        return kind != IDR and before is not None and (number - before) % (1 << self._number_bits) > 1

    def _read_parameters(self, unit: bytes) -> None:
        """Take the length of the numbers from a sequence parameter set; 0 where they need not follow each other."""
        self._number_bits, self._planes_apart = 0, False
        bits = _Bits(unit)
        try:
            profile = bits.take(24) >> 16
            bits.number()
            if profile in PROFILES_WITH_CHROMA:
                if (chroma := bits.number()) == 3:
                    self._planes_apart = bool(bits.take(1))
                bits.number(), bits.number(), bits.take(1)  # the two depths, lossless coding
                if bits.take(1):
                    for place in range(12 if chroma == 3 else 8):
                        if bits.take(1):
                            bits.scaling_list(16 if place < 6 else 64)
            number_bits = bits.number() + 4
            order = bits.number()
            if order == 0:
                bits.number()
            elif order == 1:
                bits.take(1)
                bits.number(), bits.number()
                for _ in range(bits.number()):
                    bits.number()
            bits.number()
            self._number_bits = 0 if bits.take(1) else number_bits  # gaps are allowed, as by layered streams
        except IndexError:
            return


def units(packet: bytes, length_bytes: int) -> Iterator[bytes]:
    """The beginnings of the units of a packet of H.264 or HEVC.

    Args:
        length_bytes: of the length before each unit; 0 where start codes divide them.
    """
    at = 0
    if length_bytes:
        while at + length_bytes < len(packet):
            size = int.from_bytes(packet[at : at + length_bytes], "big")
            at += length_bytes
            yield packet[at : at + min(size, HEADER_BYTES)]
            at += size
        return
    while (at := packet.find(b"\0\0\1", at) + 3) > 2:
        yield packet[at : at + HEADER_BYTES]


class _Bits:
    """Bits of a unit behind its first byte."""

    def __init__(self, unit: bytes) -> None:
        self._bytes = unit[1:].replace(b"\0\0\3", b"\0\0")  # 7.4.1: bytes that keep start codes from arising
        self._at = 0

    def take(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | (self._bytes[self._at >> 3] >> (7 - (self._at & 7)) & 1)
            self._at += 1
        return value

    def number(self) -> int:
        """An unsigned Exp-Golomb number (9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def scaling_list(self, size: int) -> None:
        last = following = 8
        for _ in range(size):
            if following:
                code = self.number()
                following = (last + (code + 1 >> 1 if code & 1 else -(code >> 1))) % 256
            last = following or last
