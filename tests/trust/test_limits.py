"""Files that claim more than they hold, and what is left of processes that were killed."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from egodepth.checked_json import Number, Object, Text, read_checked, sealed
from egodepth.cli.ending import advice_on_resources
from egodepth.data.ddad.points import read_points
from egodepth.data.images import MOST_PIXELS, read_image
from egodepth.data.make3d.frames import read_grid
from egodepth.errors import LONGEST_MESSAGE, UserError
from egodepth.files import remove_leftovers, replacing, within
from egodepth.networks.model_config import read_config
from egodepth.networks.weights import read_weights
from tests.data.trees import element
from tests.trust.inputs import MADE

SHAPE = Object({"size": Number(1, 10), "name": Text()})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "its content is a list of 1, expected an object"),
        ('{"size": 3}', "name is missing"),
        ('{"size": 11, "name": "a"}', "size is 11, expected a number from 1 to 10"),
        ('{"size": 1e400, "name": "a"}', "size is not finite"),
        ('{"size": NaN, "name": "a"}', "NaN is no number"),
        ('{"size": true, "name": "a"}', "size is true, expected a number"),
        ("[" * 100_000, "levels within each other"),
        ('{"size": 1, "name": ' + "[" * 40 + "]" * 40 + "}", "levels within each other"),
        (" " * 2000, "has 2000 bytes, where 1000 are the most"),
    ],
)
def test_json_is_refused_by_file_and_key(content, said, tmp_path):
    file = tmp_path / "own.json"
    file.write_text(content)
    with pytest.raises(UserError, match=said) as refused:
        read_checked(file, SHAPE, "Write it again.", largest_bytes=1000 if content.isspace() else 10**6)
    assert str(refused.value).startswith(str(file))


def test_a_sealed_file_that_was_edited_is_refused(tmp_path):
    file = tmp_path / "own.json"
    file.write_text(json.dumps(sealed({"size": 3, "name": "a"})))
    assert read_checked(file, SHAPE, "Write it again.") == {"size": 3, "name": "a"}
    file.write_text(file.read_text().replace('"size": 3', '"size": 4'))
    with pytest.raises(UserError, match="its digest is another one"):
        read_checked(file, SHAPE, "Write it again.")


def test_a_network_of_a_billion_channels_is_refused_before_it_is_built(tmp_path):
    config = json.loads((MADE / "finished" / "config.json").read_text())
    config["network"]["widths"][2] = 10**9
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config\.json: network\.widths\[2\] is 1000000000, expected .* to 4096"):
        read_config(tmp_path)


def test_a_config_is_checked_without_pytorch():
    code = "import sys, egodepth.networks.model_config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Storage:
    """Pickles as a call of a class of PyTorch that takes 4 GB for a number."""

    def __init__(self, kind: object) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple:
        return self.kind, (4_000_000_000,)


@pytest.mark.parametrize("kind", [bytearray, torch.FloatStorage, torch.FloatTensor])
def test_a_pickle_that_asks_for_memory_is_not_opened(kind, tmp_path):
    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"a": Storage(kind)}, protocol=2))
    torch.save({"a": torch.zeros(1)}, tmp_path / "archive.pth")
    with zipfile.ZipFile(tmp_path / "archive.pth") as whole, zipfile.ZipFile(tmp_path / "forged.pth", "w") as forged:
        for entry in whole.infolist():
            is_pickle = entry.filename.endswith("data.pkl")
            content = (tmp_path / "weights.pth").read_bytes() if is_pickle else whole.read(entry)
            forged.writestr(entry, content)
    for name in ("weights.pth", "forged.pth"):
        with pytest.raises(UserError, match=rf"{name}: holds pickled Python objects besides tensors"):
            read_weights(tmp_path / name)


def test_an_archive_that_unpacks_to_more_than_it_holds_is_not_opened(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000_000))
    with pytest.raises(UserError, match=r"bomb\.pth: .*claims 10000000 bytes inside"):
        read_weights(tmp_path / "bomb.pth")


def test_arrays_that_claim_more_than_memory_are_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6, 2)})
    (tmp_path / "cloud.npy").write_bytes(header.getvalue())
    with pytest.raises(UserError, match=r"cloud\.npy: .*its header claims an array"):
        read_points(tmp_path / "cloud.npy")
    with zipfile.ZipFile(tmp_path / "cloud.npz", "w") as archive:
        archive.writestr("data.npy", header.getvalue())
    with pytest.raises(UserError, match=r"cloud\.npz: .*its header claims an array"):
        read_points(tmp_path / "cloud.npz")
    packed = zlib.compress(element(14, bytes(70_000_000)))
    head = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    (tmp_path / "grid.mat").write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(UserError, match=r"grid\.mat: is damaged .*more than \d+ bytes are packed into it"):
        read_grid(tmp_path / "grid.mat")


def test_a_picture_beyond_all_cameras_is_refused_before_it_is_decoded(tmp_path):
    side = 12_000
    assert side * side > MOST_PIXELS
    Image.new("1", (side, side)).save(tmp_path / "large.png")
    with pytest.raises(UserError, match=r"large\.png: has (12000x12000 pixels, )?more than 100 million"):
        read_image(tmp_path / "large.png")


def test_messages_keep_control_characters_and_long_text_from_the_terminal():
    said = str(UserError(f"a\x1b[31m\n\u202eb.mp4: {'x' * 9000}. Rename it."))
    assert said.startswith(r"a\x1b[31m\n\u202eb.mp4: xxx")
    assert said.endswith("x. Rename it.")
    assert len(said) < LONGEST_MESSAGE + 10


@pytest.mark.parametrize("name", ["..", "a/../../b", "/etc/b", ".", "a\0b", "x" * 300, 3])
def test_a_name_that_leads_out_of_a_folder_is_no_output(name, tmp_path):
    with pytest.raises(UserError):
        within(tmp_path, name)
    assert within(tmp_path, "a/..b.png") == tmp_path / "a/..b.png"


KILLED = """
import os, sys
from pathlib import Path
from egodepth.files import replacing
folder = Path(sys.argv[1])
with replacing(folder / "last.ckpt") as file, replacing(folder / "model") as model:
    file.write_text("half"); model.mkdir(); (model / "half").touch()
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_removed_by_the_next_and_that_of_others_stays(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    with replacing(tmp_path / "mine") as mine:
        mine.write_text("being written")
        machine, process, _ = mine.name.split(".")[2].split("-")
        assert process == str(os.getpid())
        other = tmp_path / f".theirs.{int(machine, 16) ^ 1:08x}-999999-00000000.png"
        other.touch()
        remove_leftovers.cache_clear()
        remove_leftovers(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {mine.name, other.name}


def test_a_folder_that_was_moved_aside_and_never_replaced_gets_its_name_back(tmp_path):
    with replacing(tmp_path / "x") as temporary:
        temporary.touch()
        machine = temporary.name.split(".")[2].split("-")[0]
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    aside = tmp_path / f".model.{machine}-{int(ended.stdout)}-00000000.old"
    aside.mkdir()
    remove_leftovers.cache_clear()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"x", "model"}


def test_want_of_memory_says_what_to_lower_and_other_errors_stay_what_they_are():
    assert "--batch-size" in advice_on_resources(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "train")
    allocator = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    assert "smaller pictures" in advice_on_resources(RuntimeError(allocator), "predict")
    assert "disk is full" in advice_on_resources(OSError(28, "No space left on device"), "train")
    assert "ulimit" in advice_on_resources(OSError(24, "Too many open files"), "evaluate")
    assert advice_on_resources(ValueError("shapes differ"), "train") is None
