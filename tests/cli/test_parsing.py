"""What a command line means: the spellings of options that have always worked."""

import pytest

from egodepth.cli.data import pack
from egodepth.cli.evaluate import evaluate
from egodepth.cli.parsing import parse
from egodepth.cli.prior import build, select
from egodepth.cli.train import train
from egodepth.recipes import RECIPES, prior_guided


def recipe_of(*words: str):
    return parse(train, [*words[:1], "DATA", "--out", "RUN", *words[1:]], "egodepth train").keywords["recipe"]


def test_a_recipe_without_options_is_the_recipe_itself():
    for name in RECIPES:
        more = ["--teacher", "MODEL"] if name == "fa-depth" else []
        found = recipe_of(name, *more)
        assert type(found) is type(RECIPES[name])
        if not more:
            assert found == RECIPES[name]


@pytest.mark.parametrize(
    ("words", "path", "value"),
    [
        (["monodepth2", "--photometric.no-auto-mask"], "photometric.auto_mask", False),
        (["monodepth2", "--photometric.no-align-corners"], "photometric.align_corners", False),
        (["small-depth", "--etm"], "etm", True),
        (["small-depth", "--no-etm"], "etm", False),
        (["rprdepth", "--all"], "all", True),
        (["monodepth2", "--data.split", "eigen_zhou"], "data.split", "eigen_zhou"),
        (["monodepth2", "--from", "runs/m"], "start_from", "runs/m"),
        (["monodepth2", "--batch_size", "3"], "training.batch_size", 3),
        (["monodepth2", "--optimiser.decay-epochs"], "optimiser.decay_epochs", ()),
        (["sdfa-net", "--augmentation.crop", "64", "96"], "augmentation.crop", (64, 96)),
    ],
)
def test_an_option_sets_its_field(words, path, value):
    found = recipe_of(*words)
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_an_option_that_repeats_collects_its_values():
    also = recipe_of("monodepth2", "--also", "a", "--also", "b").data.also
    assert [str(path) for path in also] == ["a", "b"]


def test_flags_of_commands_are_bare():
    assert parse(train, ["monodepth2", "D", "--out", "R", "--resume"], "egodepth train").keywords["resume"] is True
    words = ["MODEL", "DATA", "--protocol", "eigen", "--post-process", "--debug", "--data.split", "eigen"]
    keywords = parse(evaluate, words, "egodepth evaluate").keywords
    assert keywords["post_process"] is True
    assert keywords["data"].split == "eigen"


def test_a_pack_knows_its_recipe():
    ready = parse(pack, ["diffnet", "D", "--out", "P"], "egodepth data pack")
    assert ready.keywords["recipe"] == RECIPES["diffnet"]


def test_the_defaults_of_a_prior_are_those_of_its_recipe():
    built = parse(build, ["T", "D", "--out", "P"], "egodepth prior build").keywords
    assert (built["images"], built["pixels_per_image"]) == (prior_guided.IMAGES, prior_guided.PIXELS_PER_IMAGE)
    assert parse(select, ["R", "D", "--out", "P"], "egodepth prior select").keywords["keep"] == prior_guided.KEEP
