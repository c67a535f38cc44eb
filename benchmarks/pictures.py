"""Where models are off, by region of the picture: a table, and a sheet of pictures that shows it.

    python -m benchmarks.pictures RUN=NAME ... --data DRIVE [--regions borders|traffic|thin] [--picture FILE.png]

DRIVE has dense ground truth and poses (a simulated drive). The regions:

- borders: what the other camera of a pair does not see. Stereo training has no evidence in these occlusion shadows,
  which for the left camera lie on the left of objects. Beside them as wide a band on the lit side of the same objects.
- traffic: what moves, found from exact depth and motion.
- thin: poles, trunks and signs, which stand out before what is seen on both sides of them.

The picture shows, of each of as many stretches of frames, the part that has most of the region: depth of each model,
and its relative error. Without regions, and for data of any kind, it shows whole frames, evenly chosen.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from benchmarks.region_masks import RegionKind, region_masks, relative_error
from benchmarks.single_frame import single_frame
from egodepth.colour import colour_depth, colour_error
from egodepth.data.opening import open_evaluation_frames
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import FrameResult
from egodepth.evaluation.protocols import Scaling, protocol_named
from egodepth.inference.predictor import Predictor
from egodepth.models.evaluating import evaluate_predictor
from egodepth.models.opening import load

PART = (160, 320)
"""Height and width of the part of a frame that the picture shows, in pixels."""

Results = dict[int, FrameResult]
"""A model's, by the frames' numbers."""
Masks = dict[int, dict[str, np.ndarray]]
"""Regions (H, W) by the frames' numbers."""
Part = tuple[int, int, int]
"""Frame, top and left."""


@dataclass(frozen=True)
class Pictures:
    """Errors by region, model by model.

    Attributes:
        models: each with the name that it has in table and picture.
        one_frame: show networks of several frames by their single-frame part, too.
        frames: how many the picture shows.
        picture: PNG to write.
    """

    models: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN=NAME")]
    data: Path
    regions: RegionKind | None = None
    protocol: str = "simulated"
    scaling: Scaling = "none"
    one_frame: bool = False
    frames: int = 3
    picture: Path | None = None


def main(options: Pictures) -> None:
    kept: dict[str, Results] = {}
    masks: Masks = {}
    for word in options.models:
        run, _, given = word.partition("=")
        name, predictor = given or Path(run).name, load(run)
        predictors = {name: predictor}
        if options.one_frame and predictor.time_offsets:
            predictors[f"{name}, one frame"] = single_frame(Path(run))
        for caption, predictor in predictors.items():
            kept[caption] = evaluated(predictor, options, masks)
    if options.regions is not None:
        Console().print(errors_table(kept, masks, f"abs_rel, {options.protocol}, scaling {options.scaling}"))
    if options.picture is not None:
        sheet(kept, masks, options.frames).save(options.picture)


def evaluated(predictor: Predictor, options: Pictures, masks: Masks) -> Results:
    """A model's results, by the frames' numbers; regions are found with the first model."""
    protocol, results = protocol_named(options.protocol), {}
    frames = open_evaluation_frames(options.data, protocol.frames, time_offsets=predictor.time_offsets)

    def look(result: FrameResult) -> None:
        results[result.index] = result
        if options.regions is not None and result.index not in masks:
            masks[result.index] = region_masks(options.regions, result, frames, options.data)

    evaluate_predictor(predictor, frames, protocol, options.scaling, on_frame=look)
    return results


def errors_table(kept: dict[str, Results], masks: Masks, title: str) -> Table:
    """Mean relative error of all pixels of each region."""
    regions = tuple(next(iter(masks.values())))
    table = Table(title=title)
    for heading in ("model", *regions):
        table.add_column(heading, justify="right" if heading in regions else "left")
    for name, results in kept.items():
        errors = {index: relative_error(results[index]) for index in masks}
        cells = []
        for region in regions:
            found = np.concatenate([errors[index][masks[index][region]] for index in masks])
            cells.append(f"{found.mean():.3f}" if len(found) else "none")
        table.add_row(name, *cells)
    return table


# --- what is shown ---------------------------------------------------------------------------------------------------


def parts_shown(results: Results, masks: Masks, count: int) -> list[Part]:
    """Of as many stretches of frames, the part that holds most of the first region; or whole frames."""
    if not masks:
        numbers = sorted(results)
        return [(numbers[place], 0, 0) for place in np.linspace(0, len(numbers) - 1, count).round().astype(int)]
    places: dict[int, tuple[int, int, int, int]] = {}
    for index, regions in masks.items():
        region = next(iter(regions.values())).astype(np.int64)
        sums = np.pad(region.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        height, width = _within(PART, region.shape)
        counts = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        top, left = np.unravel_index(counts.argmax(), counts.shape)
        places[index] = int(counts[top, left]), index, int(top), int(left)
    stretches = np.array_split(sorted(places), min(count, len(places)))
    return [max(places[index] for index in stretch)[1:] for stretch in stretches]


def sheet(kept: dict[str, Results], masks: Masks, count: int) -> Image.Image:
    """Columns: picture with the region in red, ground truth, depth and error of each model; a row for each part."""
    first = next(iter(kept.values()))
    parts = parts_shown(first, masks, count)
    sides = first[parts[0][0]].depth.shape
    height, width = _within(PART, sides) if masks else sides
    columns = [f"picture, {next(iter(masks[parts[0][0]]))} in red" if masks else "picture", "ground truth"]
    columns += [text for name in kept for text in (f"{name}: depth", f"{name}: error")]
    bar, gap = 20, 4
    whole = Image.new("RGB", (len(columns) * (width + gap), bar + len(parts) * (height + gap)), (24, 24, 27))
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(13)
    for column, text in enumerate(columns):
        draw.text((column * (width + gap) + 4, 2), text, fill=(235, 235, 235), font=font)
    for row, (index, top, left) in enumerate(parts):
        part = np.s_[top : top + height, left : left + width]
        region = next(iter(masks[index].values())) if masks else None
        for column, tile in enumerate(_tiles([results[index] for results in kept.values()], region)):
            whole.paste(Image.fromarray(tile[part]), (column * (width + gap), bar + row * (height + gap)))
    return whole


def _tiles(results: Sequence[FrameResult], region: np.ndarray | None) -> list[np.ndarray]:
    """All that is shown of a frame, (H, W, 3) uint8 each."""
    frame = results[0].frame
    picture = frame.image.copy()
    if region is not None:
        picture[region] = picture[region] // 2 + np.array([127, 0, 0], dtype=np.uint8)
    near = float(1 / np.quantile(frame.depth[frame.depth > 0], 0.01))
    tiles = [picture, colour_depth(frame.depth, 0.0, near)]
    for result in results:
        tiles += [colour_depth(result.depth, 0.0, near), colour_error(relative_error(result))]
    return tiles


def _within(part: tuple[int, int], sides: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a part that is no larger than what it is a part of."""
    return min(part[0], sides[0]), min(part[1], sides[1])


if __name__ == "__main__":
    try:
        main(tyro.cli(Pictures))
    except UserError as error:
        sys.exit(str(error))
