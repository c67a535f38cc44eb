"""What `--help` shows: something for each command, short where there is much to show, whole on request."""

import re
from typing import get_args

import pytest

from egodepth import __version__
from egodepth.cli.main import COMMANDS, GROUPS
from egodepth.cli.predict import Format, Runtime
from egodepth.recipes import RECIPES
from tests.command_line import run


@pytest.fixture(autouse=True)
def narrow_terminal(monkeypatch):
    """On a wide one tyro puts boxes side by side."""
    monkeypatch.setenv("COLUMNS", "80")


def printed(capsys, *words: str) -> str:
    assert run(*words) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def options(text: str) -> set[str]:
    """The options that a help lists, each at the start of a line."""
    lines = re.findall(r"(?m)^[│ ]+(--?[a-z].*)$", text)
    return {option for line in lines for option in re.findall(r"--[a-z][\w.-]*", line)}


def test_the_first_help_lists_every_command_with_what_it_does(capsys):
    text = printed(capsys, "--help")
    for name in [*(name for name in COMMANDS if " " not in name), *GROUPS]:
        assert re.search(rf"(?m)^  {name} +\w.*\.$", text), name
    assert printed(capsys, "--version") == f"egodepth {__version__}\n"


@pytest.mark.parametrize("group", GROUPS)
def test_the_help_of_a_group_lists_its_commands(group, capsys):
    text = printed(capsys, group, "--help")
    for name in COMMANDS:
        if name.startswith(f"{group} "):
            assert re.search(rf"(?m)^  {name.split()[1]} +\w.*\.$", text), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    assert f"usage: egodepth {name}" in printed(capsys, *name.split(), "--help")


@pytest.mark.parametrize("command", ["train", "data pack"])
def test_a_command_on_recipes_first_shows_the_recipes_and_an_example_on_one_screen(command, capsys):
    text = printed(capsys, *command.split(), "--help")
    for name in RECIPES:
        assert re.search(rf"[ \n]{name}[,\n]", text), name
    assert f"example: egodepth {command} monodepth2 DATA --out " in text
    assert len(text.splitlines()) <= 24


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_help_of_a_recipe_shows_the_usual_options_that_it_has(recipe, capsys):
    text = printed(capsys, "train", recipe, "--help")
    usual = {"--out", "--height", "--width", "--steps", "--batch-size", "--pretrained", "--from", "--intrinsics"}
    usual |= {"--data.split", "--resume", "--devices"}
    assert usual <= options(text)
    assert ("--mode" in options(text)) == hasattr(RECIPES[recipe], "mode")
    assert len(options(text)) <= 20
    assert f"Example: egodepth train {recipe} DATA --out runs/first" in text
    assert "--help-all shows every one" in text


def test_the_usual_options_have_the_recipes_own_defaults_and_the_same_help_as_among_all(capsys):
    short, whole = (printed(capsys, "train", "small-depth", asked) for asked in ("--help", "--help-all"))
    assert re.search(r"--height INT.*\(default: 128\)", short.replace("\n", " "))
    assert options(short) <= options(whole)
    assert {"--photometric.auto-mask", "--photometric.no-auto-mask", "--seed", "--data.stride"} <= options(whole)
    assert "optimiser options" in whole


def test_the_help_of_a_pack_leaves_out_what_training_alone_reads(capsys):
    text = printed(capsys, "data", "pack", "monodepth2", "--help")
    assert {"--out", "--mode", "--height", "--width", "--data.split"} <= options(text)
    assert not {"--steps", "--pretrained", "--resume"} & options(text)
    assert "--optimiser.epochs" in options(printed(capsys, "data", "pack", "monodepth2", "--help-all"))


def test_the_command_line_offers_what_the_library_has():
    from egodepth.evaluation.names import DepthProtocol
    from egodepth.evaluation.protocols import PROTOCOLS
    from egodepth.inference import configurations, writers

    assert get_args(Format) == get_args(writers.Format)
    assert set(get_args(Runtime)) <= set(get_args(configurations.RuntimeName))
    assert get_args(DepthProtocol) == tuple(PROTOCOLS)
