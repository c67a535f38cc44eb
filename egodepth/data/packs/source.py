"""What a pack was made of: the files of its source as they were, which tell whether they have changed since."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from egodepth.data.bags import reading as bags
from egodepth.data.calibrations import reading as calibrations
from egodepth.data.calibrations.finding import files_beside
from egodepth.data.footage.containers import VIDEO_SUFFIXES, is_video
from egodepth.data.images import IMAGE_SUFFIXES
from egodepth.errors import UserError
from egodepth.files import read_text

SOURCE_FILE = "source.txt"

SOURCE_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | set(bags.SUFFIXES) | set(calibrations.SUFFIXES)

# Fetching ground truth for an evaluation must not make a pack stale.
EVALUATION_FOLDERS = frozenset({"disparity", "oxts", "point_cloud", "proj_depth", "velodyne_points"})


def source_identity(sources: Sequence[Path], intrinsics: str) -> list[str]:
    """One line for each file that training could read, `<bytes> <nanoseconds of its last change> <name>`, sorted.

    Hidden files, and folders that evaluation alone reads, do not count.

    Args:
        intrinsics: of the recipe; a file counts, wherever it lies.
    """
    lines = []
    for source in sources:
        for file in (source, *files_beside(source)) if source.is_file() else _walk(source):
            status = file.stat()
            # The names of one source alone are as they are within it.
            within = source.parent if source.is_file() or len(sources) > 1 else source
            lines.append(f"{status.st_size} {status.st_mtime_ns} {file.relative_to(within).as_posix()}")
    camera = _file_of(intrinsics)
    if camera is not None and camera.is_file():
        status = camera.stat()
        lines.append(f"{status.st_size} {status.st_mtime_ns} --intrinsics {camera.name}")
    return sorted(lines)


def check_source(folder: Path, manifest: Mapping[str, Any], remedy: str) -> None:
    """Hold the source of a pack against what it was; one that is not on this machine is not missed.

    Raises:
        UserError: it has changed.
    """
    sources = [Path(source) for source in (manifest["source"], *manifest.get("beside", ()))]
    intrinsics = manifest["options"].get("intrinsics", "calibrated")
    camera = _file_of(intrinsics)
    if not all(file.exists() for file in (*sources, *(() if camera is None else (camera,)))):
        return
    now = source_identity(sources, intrinsics)
    if identity_digest(now) == manifest["source_identity"]:
        return
    then = read_text(folder / SOURCE_FILE).splitlines() if (folder / SOURCE_FILE).is_file() else []
    written = [line.encode(errors="backslashreplace").decode() for line in now]
    names = sorted({line.split(" ", 2)[-1] for line in set(written) ^ set(then)})
    example = f" (the first: {names[0]})" if names else ""
    raise UserError(f"{folder}: is stale: {len(names)} files of {sources[0]} have changed since{example}. {remedy}")


def _file_of(intrinsics: str) -> Path | None:
    """The file that a recipe's intrinsics name; it is whole, for a pack is read from anywhere."""
    file = Path(intrinsics.partition("#")[0])
    return file if file.is_absolute() else None


def identity_digest(identity: Sequence[str]) -> str:
    """The digest of what `source_identity` gives; a name need not be UTF-8."""
    return digest_of("\n".join(identity).encode(errors="surrogatepass"))


def digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):  # Path.walk came with Python 3.12
        folders[:] = [name for name in folders if name not in EVALUATION_FOLDERS and not name.startswith(".")]
        files = [Path(place, name) for name in names if not name.startswith(".")]
        known = [file for file in files if file.suffix.lower() in SOURCE_SUFFIXES]
        yield from known
        if Path(place) == folder and not any(file.suffix.lower() in IMAGE_SUFFIXES for file in known):
            # In a folder of videos the content says what is one, whatever its name.
            yield from (file for file in files if file not in known and is_video(file))
