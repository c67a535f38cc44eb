"""What README and documentation show: commands that there are, with options that there are, on layouts that are read.

The pages for footage are run as they stand, on files of the names that they show, for a step each.
"""

import json
import re
import shlex
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from egodepth.cli.main import COMMANDS, command_function
from egodepth.cli.parsing import parse
from egodepth.reproduction.published import published_rows
from tests.command_line import TINY, run
from tests.data.trees import write_frames, write_video
from tests.models.foreign_models import save_foreign

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / "egodepth" / name / "README.md" for name in ("starter", "starter-large")),
    ROOT / "integrations" / "ros2" / "README.md",
]


def commands(page: Path) -> list[str]:
    """The commands of a page's code blocks, without what a shell makes of their output."""
    text = page.read_text().replace("\\\n", " ")
    lines = re.findall(r"(?m)^    egodepth ([a-z].*)$", text)
    return [re.split(r"\s+(?:#|\||&&|;|>)", line)[0] for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_parsed(page):
    for command in commands(page):
        words = shlex.split(command)
        name = words[0] if words[0] in COMMANDS else " ".join(words[:2])
        parse(command_function(name), words[len(name.split()) :], f"egodepth {name}")
        if name == "submit":
            inner = words[next(place for place, word in enumerate(words) if place and word in COMMANDS) :]
            parse(command_function(inner[0]), inner[1:], f"egodepth {inner[0]}")


def test_dotted_options_are_named_in_full():
    """In prose too: `--optimiser.decay-epoch` was none."""
    from egodepth.cli.parsing import _options
    from egodepth.cli.recipes import with_recipe
    from egodepth.recipes import RECIPES

    known = set(_options(command_function("evaluate"), "egodepth evaluate"))
    for name in ("monodepth2", "fa-depth", "hqdecv2", "manydepth", "rprdepth", "sdfa-net"):
        known |= set(_options(with_recipe(command_function("train"), name, RECIPES[name]), "egodepth train"))
    named = {
        option for page in PAGES for option in re.findall(r"(?<![\w-])--[a-z-]+\.[a-z][\w.-]*\w", page.read_text())
    }
    assert named - known == set()


@pytest.mark.parametrize("row", published_rows().values(), ids=lambda row: row.id)
def test_the_options_of_a_published_row_are_read(row):
    needed = [word for option in row.needs for word in (option, "RUN")]
    parse(command_function("train"), [row.recipe, "DATA", "--out", "RUN", *row.options, *needed], "egodepth train")


# --- the pages for footage, run from the page itself ------------------------------------------------------------------

FOOTAGE_PAGES = [ROOT / "docs" / "training-on-your-own-video.md"]
SHORT = [
    *("--height", "64", "--width", "96", "--batch-size", "2", "--pretrained", "none", "--workers", "0"),
    *("--network.encoder", TINY, "--pose.encoder", TINY),
]
FROM_STARTER = ["--height", "64", "--width", "96", "--batch-size", "2", "--workers", "0"]
BOARD = 9, 6


def footage_of_the_page(folder: Path, text: str) -> None:
    """The videos, folders and trees that a page speaks of, tiny; their cameras are those of the page."""
    for name in ("drive.mp4", "a.mp4", "clips/one.mp4", "clips/two.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_video(folder / name, range(24))
    write_board_video(folder / "boards.mp4", BOARD)
    write_frames(folder / "frames", range(24))
    layout = re.findall(r"(?m)^    (DATA/\S+)$", text)
    calibration = re.search(r"(?m)(^    S_rect_02: .*\n(?:    [A-Z].*\n)+)", text)[1]
    numbers = {"W": "96", "H": "48", "fx": "60", "fy": "60", "cx": "47.5", "cy": "23.5", "-B": "-32"}
    words = [[numbers.get(word, word) for word in line.split()] for line in calibration.splitlines()]
    for path in layout:
        place = folder / path
        if place.suffix == ".jpg":
            write_frames(place.parent, range(24))
            for number, frame in enumerate(sorted(place.parent.iterdir(), key=lambda file: int(file.stem))):
                Image.open(frame).save(place.with_name(f"{number:010d}.jpg"))
                frame.unlink()
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("".join(f"{' '.join(line)}\n" for line in words))


def write_board_video(file: Path, board: tuple[int, int]) -> None:
    """A chessboard that is seen from all sides by a camera of 60 degrees."""
    pictures = [board_seen(*board, turn) for turn in range(12)]
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 8_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def board_seen(columns: int, rows: int, turn: int, height: int = 240, width: int = 480) -> np.ndarray:
    """A board with so many inner corners, tilted in a direction that `turn` chooses."""
    focal = width / 2 / np.tan(np.radians(30))
    camera = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    angle = 2 * np.pi * turn / 12
    rotation, _ = cv2.Rodrigues(0.5 * np.array([np.cos(angle), np.sin(angle), 0.1]))
    squares = np.kron(np.indices((rows + 1, columns + 1)).sum(0) % 2, np.ones((40, 40))) * 255
    flat = np.pad(squares, 40, constant_values=255).astype(np.uint8)
    # From pixels of the drawing to squares about the middle of the board, then into the picture.
    to_board = np.array([[1 / 40, 0, -(columns + 3) / 2], [0, 1 / 40, -(rows + 3) / 2], [0, 0, 1]])
    place = np.column_stack([rotation[:, 0], rotation[:, 1], [np.sin(angle), np.cos(angle), 2.2 * columns]])
    seen = cv2.warpPerspective(flat, camera @ place @ to_board, (width, height), borderValue=200, flags=cv2.INTER_AREA)
    return np.repeat(cv2.GaussianBlur(seen, (3, 3), 0)[..., None], 3, axis=2)


@pytest.mark.parametrize("page", FOOTAGE_PAGES, ids=lambda page: page.stem)
def test_a_page_for_footage_does_what_it_says(page, tmp_path, monkeypatch, capsys):
    text = page.read_text()
    footage_of_the_page(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    entries = json.loads(re.search(r"(?m)^```json\n(.*)\n```", text)[1])
    (tmp_path / "frames" / "camera.json").write_text(json.dumps(entries | {"width": 1920, "height": 960, "cy": 480}))
    assert run("data", "check", "frames") == 0
    assert run("data", "check", "DATA") == 0
    assert run("data", "check", "clips") == 0
    for command in page_commands(text):
        words = shlex.split(command)
        if words[0] == "train":
            words += [*(FROM_STARTER if words[1].startswith("video") else SHORT), "--steps", "1"]
            out = Path(words[words.index("--out") + 1])
            if "--resume" not in words and out.exists():  # another way to make the same run
                shutil.rmtree(out)
        if words[0] == "predict":
            words += ["--runtime", "torch"]  # the default one first spends seconds on an export
        if "--intrinsics" in words:  # of the page's 1920x1080
            words[words.index("--intrinsics") + 1] = "58.5,58.5,47.5,23.5"
        if "--self" in words:  # a matter of minutes, tested in tests/calibration
            continue
        assert run(*words) == 0, f"{command}: {capsys.readouterr().err}"


def page_commands(text: str) -> list[str]:
    """The commands of a page in its order, in lists too."""
    lines = re.findall(r"(?m)^ {4,6}egodepth ([a-z].*)$", text.replace("\\\n", " "))
    return [re.split(r"\s+(?:#|\||&&|;|>)", line)[0] for line in lines]


TEACHERS_PAGE = ROOT / "docs" / "teachers.md"


def test_the_program_of_the_page_for_teachers_writes_maps_that_its_command_takes(tmp_path, monkeypatch):
    model = save_foreign("dpt", tmp_path / "model")
    text = TEACHERS_PAGE.read_text()
    monkeypatch.chdir(tmp_path)
    write_frames(tmp_path / "frames", range(8), (48, 96))
    [program] = re.findall(r"(?ms)^```python\n(.*?)\n```", text)
    exec(re.sub(r'model="[^"]+"', f"model={str(model)!r}", program), {})
    [command] = [each for each in page_commands(text) if " frames " in each]
    assert run(*shlex.split(command), "--batch-size", 2, "--workers", 0, "--steps", 1) == 0
