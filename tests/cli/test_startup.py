"""What a command imports: help, lists and refusals need none of the heavy libraries, and prediction not all of them.

Imports are looked at, not times: a machine that is busy makes no test fail.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from egodepth.cli.main import COMMANDS
from egodepth.models.released import deployed, released_recipe, save_model
from egodepth.recipes import recipe_named

HEAVY = ("torch", "lightning", "timm", "torchmetrics", "torchvision", "av", "matplotlib", "ray", "fsspec", "submitit")

PROBE = """
import sys
from egodepth.cli.main import main
for words in sys.argv[2:]:
    try:
        main(words.split())
    except SystemExit as stop:
        assert stop.code in (None, 0, 2), words
    loaded = [name for name in sys.argv[1].split() if name in sys.modules]
    if loaded:
        sys.exit(f"egodepth {words} imports {', '.join(loaded)}")
"""

TRAIN = "train monodepth2 DATA --out RUN"


def imports_none_of(libraries: tuple[str, ...], *commands: str) -> None:
    """Run commands one after the other in a fresh interpreter; the first that imports one of the libraries fails."""
    words = [sys.executable, "-c", PROBE, " ".join(libraries), *commands]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr.splitlines()[-1]


def test_help_lists_and_the_version_import_nothing_heavy():
    helps = [f"{name} --help" for name in COMMANDS]
    more = ["train monodepth2 --help", "train rprdepth --help-all", "data pack diffnet --help"]
    imports_none_of(HEAVY, "--version", "--help", "data --help", "prior --help", *helps, *more, "list")


def test_mistakes_on_the_command_line_import_nothing_heavy():
    imports_none_of(
        HEAVY,
        "",
        "tran",
        "data chek",
        "train monodepth3 DATA",
        "import monodepth3 PATH --out MODEL",
        "benchmark smal-depth",
        "train monodepth2",
        "evaluate MODEL",
        "predict MODEL --out DIR",
        "reproduce ROW",
        f"{TRAIN} --heigth 64",
        f"{TRAIN} --steps abc",
        f"{TRAIN} --mode sterio",
        f"{TRAIN} --also a b",
        f"{TRAIN} --bidirectional.depth-weight 7",
        "evaluate MODEL DATA --protocol eigem",
        "predict MODEL INPUT --out DIR --format gif",
        "simulate OUT --frames 2",
    )


@pytest.fixture(scope="module")
def small_depth(tmp_path_factory) -> Path:
    """A released SmallDepth with random weights."""
    recipe = recipe_named("small-depth")
    torch.manual_seed(0)
    network = deployed(recipe.network.build().eval(), recipe.network)
    folder = tmp_path_factory.mktemp("released") / "model"
    save_model(folder, "small-depth", released_recipe(recipe), {"depth": network}, None, {}, folded=True)
    return folder


def test_prediction_imports_no_library_that_its_network_does_without(small_depth, tmp_path):
    Image.new("RGB", (96, 64), (90, 120, 30)).save(tmp_path / "image.png")
    predict = f"predict {small_depth} {tmp_path / 'image.png'} --out {tmp_path / 'depth'} --runtime torch"
    imports_none_of(("lightning", "torchmetrics", "tensorboard", "timm", "ray", "fsspec"), predict)
    assert (tmp_path / "depth" / "image.png").is_file()
