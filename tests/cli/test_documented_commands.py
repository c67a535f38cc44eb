"""The commands that README and documentation show are commands that there are, with options that there are."""

import re
import shlex
from pathlib import Path

import pytest

from egodepth.cli.main import COMMANDS, _function
from egodepth.cli.parsing import parse
from egodepth.reproduction.published import published_rows

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


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
        parse(_function(name), words[len(name.split()) :], f"egodepth {name}")


def test_dotted_options_are_named_in_full():
    """In prose too: `--optimiser.decay-epoch` was none."""
    from egodepth.cli.parsing import _options
    from egodepth.cli.recipes import with_recipe
    from egodepth.recipes import RECIPES

    known = set(_options(_function("evaluate"), "egodepth evaluate"))
    for name in ("monodepth2", "fa-depth", "hqdecv2", "manydepth", "rprdepth", "sdfa-net"):
        known |= set(_options(with_recipe(_function("train"), name, RECIPES[name]), "egodepth train"))
    named = {
        option for page in PAGES for option in re.findall(r"(?<![\w-])--[a-z-]+\.[a-z][\w.-]*\w", page.read_text())
    }
    assert named - known == set()


@pytest.mark.parametrize("row", published_rows().values(), ids=lambda row: row.id)
def test_the_options_of_a_published_row_are_read(row):
    needed = [word for option in row.needs for word in (option, "RUN")]
    parse(_function("train"), [row.recipe, "DATA", "--out", "RUN", *row.options, *needed], "egodepth train")
