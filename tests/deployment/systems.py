"""Which systems each format takes: the table of docs/deploy.md, made by exporting each and comparing its depths.

`python -m tests.deployment.systems ncnn litert` writes these columns anew, by default all.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from egodepth.deployment.configurations import FormatName
from egodepth.deployment.folder import export_folder
from egodepth.deployment.formats import FORMATS
from egodepth.errors import UserError
from egodepth.inference.network_predictor import NetworkPredictor
from egodepth.inference.predictor import ModelFacts
from tests.inference.deployed_networks import HEIGHT, WIDTH, StageOfHQDecv2, one_recipe_per_network, seeded_network

PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"
START, END = "<!-- made by tests/deployment/systems.py -->\n\n", "\n<!-- end -->"

TITLES = {
    "monodepth2": "Monodepth2",
    "dna-depth-b0": "DNA-Depth",
    "diffnet": "DIFFNet",
    "small-depth": "SmallDepth (FA-Depth, starter)",
    "hqdecv2": "HQDecv2",
    "manydepth": "ManyDepth",
    "rprdepth": "RPrDepth",
    "sdfa-net": "SDFA-Net",
}
"""What the page calls each kind of network, by its first recipe."""

CHECKED: list[FormatName] = [form for form, record in FORMATS.items() if record.run is not None]
"""The formats of the table: Core ML runs on Apple's systems alone, so that nothing can be said of its depths here."""


def taken(name: str, form: FormatName) -> str:
    """`yes`, or `no` where the export is refused."""
    predictor = NetworkPredictor(network(name), ModelFacts(HEIGHT, WIDTH, 5.4, recipe=name))
    with tempfile.TemporaryDirectory() as place:
        try:
            export_folder(predictor, {}, Path(place) / "model", form)
        except UserError as error:
            if not str(error).startswith(FORMATS[form].title):
                raise
            print(f"{name}: {error}", flush=True)
            return "no"
    return "yes"


def network(name: str) -> nn.Module:
    """Small, with every kind of block."""
    if name != "hqdecv2":
        return seeded_network(name)
    torch.manual_seed(0)  # the whole takes the exporter two minutes
    return StageOfHQDecv2().eval()


def said(page: str) -> dict[tuple[str, str], str]:
    """The cells of the page's table, by recipe and format."""
    heading, _, *lines = page.partition(START)[2].partition(END)[0].strip().splitlines()
    names = {title: name for name, title in TITLES.items()}
    _, *forms = _cells(heading)
    return {
        (names[title], form.strip("`")): cell
        for title, *cells in map(_cells, lines)
        for form, cell in zip(forms, cells, strict=True)
    }


def table(cells: dict[tuple[str, str], str]) -> str:
    """The table of such cells."""
    lines = [["system", *(f"`{form}`" for form in CHECKED)]]
    lines += [[title, *(cells.get((name, form), "") for form in CHECKED)] for name, title in TITLES.items()]
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([rows[0], "|---" * len(lines[0]) + "|", *rows[1:]]) + "\n"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def write_table(page: Path, forms: Sequence[FormatName]) -> None:
    """Try all systems in some formats, and write what was found as it comes."""
    for form in forms:
        FORMATS[form].require("fp32")
        for name in one_recipe_per_network():
            found = taken(name, form)
            text = page.read_text(encoding="utf-8")
            before, _, rest = text.partition(START)
            cells = said(text) | {(name, form): found}
            page.write_text(before + START + table(cells) + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    write_table(PAGE, sys.argv[1:] or CHECKED)
