"""How far depth is off beside objects, where the other camera of the pair does not see what this one sees.

    python -m benchmarks.borders MODEL ... --data DRIVE [--protocol simulated] [--scaling none] [--picture FILE.png]

Stereo training has no evidence in these occlusion shadows, which for the left camera lie on the left of objects. A
model of left targets alone errs there; one of both sides has seen the shadows of right targets on the other side, too,
so the table says which targets a model was trained on. DRIVE has dense ground truth (a simulated drive), from which the
shadows are computed. The table gives abs_rel within them, within as wide a band on the lit side of the same objects,
and everywhere else; the picture shows the frame's part with the widest shadows for each model: depth, and its relative
error.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from benchmarks.regions import lit_sides, shadows
from egodepth.colour import colour_depth, colour_error
from egodepth.data.opening import open_evaluation_frames
from egodepth.errors import UserError
from egodepth.evaluation.evaluate import FrameResult, evaluate
from egodepth.evaluation.protocols import Scaling, protocol_named
from egodepth.models.opening import load
from egodepth.models.released import ReleasedModel

REGIONS = ("shadow", "lit side", "elsewhere")
PART = (160, 320)
"""Height and width of the part of a frame that the picture shows, in pixels."""


@dataclass(frozen=True)
class Borders:
    """Errors in occlusion shadows, model by model.

    Attributes:
        baseline_m: of the pair that the models were trained with.
        frames: how many the picture shows.
        picture: PNG to write.
    """

    models: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="MODEL")]
    data: Path
    protocol: str = "simulated"
    scaling: Scaling = "none"
    baseline_m: float = 0.54
    frames: int = 3
    picture: Path | None = None


def main(options: Borders) -> None:
    kept: dict[str, dict[int, FrameResult]] = {}
    table = Table(title=f"abs_rel, {options.protocol}, scaling {options.scaling}")
    for heading in ("model", "targets", *REGIONS):
        table.add_column(heading, justify="right" if heading in REGIONS else "left")
    for model in options.models:
        kept[model] = evaluated(model, options)
        errors = [region_errors(result, options.baseline_m) for result in kept[model].values()]
        means = (np.concatenate([error[region] for error in errors]).mean() for region in REGIONS)
        table.add_row(Path(model).name, targets_of(model), *(f"{mean:.3f}" for mean in means))
    Console().print(table)
    if options.picture is not None:
        sheet(kept, widest_shadows(kept, options), options).save(options.picture)


def targets_of(model: str) -> str:
    """Which images of the pairs were targets; models from before there was a choice are of both."""
    return ReleasedModel.open(model).config["provenance"].get("sides", "both")


def evaluated(model: str, options: Borders) -> dict[int, FrameResult]:
    """A model's results, by the frames' numbers."""
    predictor, protocol, results = load(model), protocol_named(options.protocol), {}
    frames = open_evaluation_frames(options.data, protocol.frames, time_offsets=predictor.time_offsets)
    evaluate(
        predictor.predict_inverse_depth,
        frames,
        protocol,
        metric_scale=predictor.is_metric,
        scaling=options.scaling,
        on_frame=lambda result: results.update({result.index: result}),
    )
    return results


def regions(result: FrameResult, baseline_m: float) -> dict[str, np.ndarray]:
    """Masks (H, W) of the pixels that count: shadows, as wide a band on the objects beside them, and the rest."""
    if result.frame.camera is None:
        raise UserError(f"{result.frame.name}: its camera is not known. Take data with a calibration.")
    depth = np.where(result.frame.depth > 0, result.frame.depth, np.inf)
    shadow = shadows(depth, float(result.frame.camera.intrinsics[0, 0]), baseline_m)
    lit = lit_sides(shadow)
    return {
        "shadow": result.mask & shadow,
        "lit side": result.mask & lit,
        "elsewhere": result.mask & ~shadow & ~lit,
    }


def region_errors(result: FrameResult, baseline_m: float) -> dict[str, np.ndarray]:
    """Relative errors of the pixels of each region."""
    error = relative_error(result)
    return {name: error[mask] for name, mask in regions(result, baseline_m).items()}


def relative_error(result: FrameResult) -> np.ndarray:
    """(H, W), NaN where no ground truth counts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(result.mask, np.abs(result.depth - result.frame.depth) / result.frame.depth, np.nan)


def widest_shadows(kept: dict[str, dict[int, FrameResult]], options: Borders) -> list[tuple[int, int, int]]:
    """Frame, top and left of the parts that hold most pixels in shadow, one for each frame, the best first."""
    places = []
    for index, result in next(iter(kept.values())).items():
        shadow = regions(result, options.baseline_m)["shadow"].astype(np.int64)
        sums = np.pad(shadow.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        height, width = part_of(shadow.shape)
        counts = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        top, left = np.unravel_index(counts.argmax(), counts.shape)
        places.append((int(counts[top, left]), index, int(top), int(left)))
    return [place[1:] for place in sorted(places, reverse=True)[: options.frames]]


def part_of(sides: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of what is shown of a frame with these sides."""
    return min(PART[0], sides[0]), min(PART[1], sides[1])


def sheet(kept: dict[str, dict[int, FrameResult]], places: list[tuple[int, int, int]], options: Borders) -> Image.Image:
    """Columns: picture with shadows outlined, ground truth, then depth and error of each model; a row for each part."""
    columns = ["picture, shadows in red", "ground truth"]
    columns += [text for model in kept for text in (f"{Path(model).name}: depth", f"{Path(model).name}: error")]
    sides = next(iter(next(iter(kept.values())).values())).depth.shape
    (height, width), bar, gap = part_of(sides), 20, 4
    whole = Image.new("RGB", (len(columns) * (width + gap), bar + len(places) * (height + gap)), (24, 24, 27))
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(13)
    for column, text in enumerate(columns):
        draw.text((column * (width + gap) + 4, 2), text, fill=(235, 235, 235), font=font)
    for row, (index, top, left) in enumerate(places):
        part = np.s_[top : top + height, left : left + width]
        results = [frames[index] for frames in kept.values()]
        frame, shadow = results[0].frame, regions(results[0], options.baseline_m)["shadow"]
        picture = frame.image.copy()
        picture[shadow] = picture[shadow] // 2 + np.array([127, 0, 0], dtype=np.uint8)
        truth = frame.depth[part]
        near = float(1 / truth[truth > 0].min())
        tiles = [picture[part], colour_depth(truth, 0.0, near)]
        for result in results:
            tiles += [colour_depth(result.depth[part], 0.0, near), colour_error(relative_error(result)[part])]
        for column, tile in enumerate(tiles):
            whole.paste(Image.fromarray(tile), (column * (width + gap), bar + row * (height + gap)))
    return whole


if __name__ == "__main__":
    try:
        main(tyro.cli(Borders))
    except UserError as error:
        sys.exit(str(error))
