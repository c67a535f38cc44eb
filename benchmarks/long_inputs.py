"""Memory and time of commands over a long video: what grows with its length shows here.

    python -m benchmarks.long_inputs [--frames 20000] [--only COMMAND ...] [--json FILE]

Each command runs in a process of its own, on a video of a wall that slides past at 96x32. The resident memory of the
process and its children is read each half second; what is said is the median of the second tenth of the time, that of
the last tenth and the peak, in MB.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from egodepth.files import write_text
from tests.data.trees import write_video

HEIGHT, WIDTH = 32, 96
EVERY_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--only", nargs="+", metavar="COMMAND", default=[])
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = write_video(Path(folder) / "long.mp4", range(options.frames), (HEIGHT, WIDTH))
        found = {
            name: measured([*words, "--out", str(Path(folder) / name)] if writes else words)
            for name, (words, writes) in commands(video).items()
            if not options.only or name in options.only
        }
    for name, row in found.items():
        print(f"{name:12}", *(f"{key} {value:8.1f}" for key, value in row.items()))
    if options.json is not None:
        write_text(options.json, json.dumps({"frames": options.frames, "rows": found}, indent=2) + "\n")


def commands(video: Path) -> dict[str, tuple[list[str], bool]]:
    """Words of each command by its name, and whether it writes a folder."""
    size = ["--height", str(2 * HEIGHT), "--width", str(2 * WIDTH)]  # the least that networks see
    little = ["--steps", "4", "--batch-size", "2", "--pretrained", "none"]
    return {
        "predict": (["predict", "starter", str(video), "--format", "png16", "--runtime", "onnx"], True),
        "steady": (["predict", "starter", str(video), "--format", "video", "--runtime", "onnx", "--steady"], True),
        "check": (["data", "check", str(video)], False),
        "train": (["train", "monodepth2", str(video), "--fov", "70", *size, *little], True),
    }


def measured(words: list[str]) -> dict[str, float]:
    """Seconds and megabytes of `egodepth WORDS`."""
    start, seen = time.monotonic(), []
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([sys.executable, "-m", "egodepth", *words], stdout=said, stderr=said)
        while process.poll() is None:
            seen.append(resident_mb(process.pid))
            time.sleep(EVERY_S)
        if process.returncode:
            said.seek(0)
            sys.exit(f"egodepth {' '.join(words)}: ended with exit code {process.returncode}: {said.read()}")
    tenth = max(len(seen) // 10, 1)
    return {
        "seconds": time.monotonic() - start,
        "second tenth, MB": statistics.median(seen[tenth : 2 * tenth] or seen),
        "last tenth, MB": statistics.median(seen[-tenth:]),
        "peak, MB": max(seen),
    }


def resident_mb(process: int) -> float:
    """Memory of a process and of all that it started."""
    total, children = 0.0, [process]
    while children:
        place = Path(f"/proc/{children.pop()}")
        try:
            total += int((place / "statm").read_text().split()[1]) * resource.getpagesize() / 1e6
            for task in (place / "task").iterdir():
                children += map(int, (task / "children").read_text().split())
        except OSError:  # it has just ended
            continue
    return total


if __name__ == "__main__":
    main()
