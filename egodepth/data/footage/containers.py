"""Video files opened as files: FFmpeg's demuxer says what is a video, and reads that one file and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from egodepth.data.bags.reading import is_bag
from egodepth.data.images import MOST_PIXELS
from egodepth.errors import UserError

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv"})
"""Names that promise a video, so that a broken file is reported as such. Others are asked what they hold."""
SCRIPT_SUFFIX = ".ts"
"""MPEG transport streams and TypeScript share it, so the name alone promises nothing."""

# Containers and raw streams that hold pictures in time themselves. What is not here: playlists (HLS, concat, DASH),
# which open other files, images (image2, the `_pipe` formats), and text, which FFmpeg plays as a terminal (tty).
DEMUXERS = (
    "mov,matroska,avi,mpegts,mpegtsraw,mpeg,asf,flv,live_flv,ogg,mxf,mxf_opatom,dv,nut,ivf,rm,gxf,wtv,nsv,swf,vivo,nuv,"
    "h261,h263,h264,hevc,vvc,m4v,mpegvideo,obu,av1,cavsvideo,dirac,vc1,yuv4mpegpipe,mlv,cine,r3d,dhav"
)
PICTURE_BRANDS = ("heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1", "avif", "avis", "crx ")
"""MP4 brands of single photographs."""

START_BYTES = 4096
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
BOXES_LOOKED_AT = 10_000


def is_video(path: Path) -> bool:
    """Whether a file is named as a video, or is one whatever its name; a bag of ROS counts as one."""
    if is_bag(path):
        return True
    if not path.is_file():
        return False
    suffix = path.suffix.lower()
    promises = suffix in VIDEO_SUFFIXES and (suffix != SCRIPT_SUFFIX or path.stat().st_size == 0)
    return promises or _holds_video(path)


def _holds_video(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
        if not start or _is_text(start):
            return False
        with open_video(path):
            return True
    except (UserError, OSError):
        return False


def _is_text(start: bytes) -> bool:
    """Spares the demuxer what it would take for a playlist or subtitles."""
    try:
        return "\0" not in start.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > START_BYTES - 4 and len(start) == START_BYTES  # a letter that the last byte cuts


@contextmanager
def open_video(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """A video and its stream of moving pictures.

    Raises:
        UserError: the file is missing, empty or no video.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Check the path.")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: is empty (0 bytes). Copy or record it again.")
    try:
        # By its protocol a name such as 10:20:30.mp4 is a file and no address.
        options = {"protocol_whitelist": "file", "format_whitelist": DEMUXERS}
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: is not a video that can be decoded ({reason}). Convert it to MP4.") from error
    with container:
        moving = [each for each in container.streams.video if not each.disposition & each.disposition.attached_pic]
        if not moving or container.metadata.get("major_brand", "") in PICTURE_BRANDS:
            raise UserError(f"{path}: has no video stream. Give a video file.")
        stream = moving[0]
        if stream.codec_context is None:
            raise UserError(f"{path}: has a codec that is not known here. Convert it to MP4 with H.264.")
        stream.thread_type = "AUTO"
        if stream.width * stream.height > MOST_PIXELS:
            raise UserError(
                f"{path}: has frames of {stream.width}x{stream.height} pixels, more than {MOST_PIXELS // 1_000_000} "
                "million. Shrink it first."
            )
        # Frames may be larger than the container says.
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        yield container, stream


def missing_bytes(path: Path) -> int:
    """By how many bytes a file is shorter than its container says; 0 where it is whole or does not say."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(START_BYTES)
        if start[:4] == b"RIFF":
            # The sizes in a RIFF file that was never finished are 0.
            promised = 8 + int.from_bytes(start[4:8], "little")
        elif start[:4] == EBML:
            promised = _matroska_bytes(start)
        elif start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            promised = 0
            for _ in range(BOXES_LOOKED_AT):
                file.seek(promised)
                head = file.read(16)
                length = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4], "big")
                if len(head) < 8 or length < 8:  # the end, or a box that goes on to it
                    break
                promised += length
        else:
            promised = 0
    return max(0, promised - size)


def _matroska_bytes(start: bytes) -> int:
    """Where the segment of a Matroska file ends; 0 for one of unknown length, as recorded live."""
    at = start.find(SEGMENT) + len(SEGMENT)
    if at < len(SEGMENT) or at >= len(start) or not start[at]:
        return 0
    length = 9 - start[at].bit_length()  # of the number, which its leading zeros tell
    number = int.from_bytes(start[at : at + length], "big") & ((1 << 7 * length) - 1)
    return 0 if number == (1 << 7 * length) - 1 else at + length + number
