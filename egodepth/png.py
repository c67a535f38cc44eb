"""PNG, written fast and held against its checksums.

Pillow takes longer to pack a picture than a small network to see it. Here each byte is filtered by the pixel on its
left, and ISA-L deflates: the files are as large as Pillow's at level 1 or 2, in a tenth of the time.
"""

import struct
import zlib

import numpy as np
from isal import isal_zlib

START = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR = 0, 2
SUB = 1
"""The filter: less the same byte of the pixel on the left (PNG specification, section 9)."""

LEVEL = 1


def encode_png(pixels: np.ndarray) -> bytes:
    """A picture as PNG.

    Args:
        pixels: (H, W) uint8 or uint16, grey, or (H, W, 3) uint8, RGB.

    Raises:
        ValueError: another shape or type.
    """
    colour = pixels.ndim == 3
    types = (np.uint8,) if colour else (np.uint8, np.uint16)
    if pixels.ndim < 2 or pixels.shape[2:] not in ((), (3,)) or pixels.dtype not in types:
        raise ValueError(f"expected (H, W) of 8 or 16 bits or (H, W, 3) of 8, found {pixels.shape} {pixels.dtype}")
    height, width = pixels.shape[:2]
    bits = 8 * pixels.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, bits, COLOUR if colour else GREY, 0, 0, 0)
    packed = isal_zlib.compress(_filtered(pixels), LEVEL)
    return START + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _filtered(pixels: np.ndarray) -> np.ndarray:
    """Rows of bytes, each behind the number of its filter."""
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">")).view(np.uint8).reshape(height, -1)
    step = rows.shape[1] // width
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = SUB
    filtered[:, 1 : 1 + step] = rows[:, :step]
    np.subtract(rows[:, step:], rows[:, :-step], out=filtered[:, 1 + step :])
    return filtered


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def check_png(content: bytes) -> None:
    """Hold the chunks of a PNG against their checksums, which Pillow does not for those of the pixels.

    Of 400 flipped bits in a depth map 21 gave other depth without it; 1 ms for a megabyte.

    Raises:
        ValueError: one is wrong, or the file ends before its last chunk.
    """
    if content[: len(START)] != START:
        return  # of another format, whose decoder says so
    place, kind = len(START), b""
    while kind != b"IEND":
        if place + 12 > len(content):
            raise ValueError("it ends before its last chunk")
        length = int.from_bytes(content[place : place + 4], "big")
        end = place + 8 + length
        kind = content[place + 4 : place + 8]
        if end + 4 > len(content):
            raise ValueError("it ends before its last chunk")
        if zlib.crc32(memoryview(content)[place + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            raise ValueError(f"the checksum of its chunk {kind.decode('ascii', 'replace')} is wrong")
        place = end + 4
