"""`egodepth import` and `egodepth list`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from egodepth.cli.terminal import Debug, console
from egodepth.recipes import RECIPES, recipe_named


def import_model(
    recipe: Annotated[Positional[str], arg(metavar="RECIPE", help="Recipe of the network; see egodepth list.")],
    published: Annotated[
        Positional[Path], arg(metavar="PATH", help="Folder with the authors' .pth files, or a single file.")
    ],
    *,
    out: Annotated[Path, arg(metavar="MODEL", help="Model folder to write.")],
    debug: Debug = False,
) -> None:
    """Convert a published checkpoint into a model folder."""
    recipe_named(recipe)  # a misspelt one is refused before PyTorch is imported
    from egodepth.models.importing import import_published

    imported = import_published(recipe, published, out)
    for key in imported.unused:
        console.print(f"not used: {key}", markup=False)
    console.print(f"Wrote {out}")


def list_recipes(*, debug: Debug = False) -> None:
    """List the recipes, with the cost of their networks."""
    from egodepth.recipes.describing import describe

    rows = [("recipe", "parameters", "MACs", "size", "modes", "source")]
    for each in map(describe, RECIPES):
        cost = f"{each.parameters / 1e6:.2f} M", f"{each.macs / 1e9:.2f} G"
        rows.append((each.name, *cost, f"{each.height}x{each.width}", ", ".join(each.modes), each.source))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, parameters, macs, size, modes, source in rows:
        cells = f"{name:{widths[0]}}  {parameters:>{widths[1]}}  {macs:>{widths[2]}}  {size:{widths[3]}}"
        line = f"{cells}  {modes:{widths[4]}}  {source}"
        if console.is_terminal:  # which would wrap long sources
            line = line[: console.width]
        console.print(line, markup=False)
