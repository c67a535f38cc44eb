"""Using a model: `egodepth predict`, `egodepth export`, `egodepth benchmark`."""

import json as json_text
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from egodepth.cli.terminal import (
    Debug,
    Device,
    FieldOfView,
    InputIntrinsics,
    Model,
    ModelOrStarter,
    ScaleOfUse,
    Steadily,
    console,
)
from egodepth.data.configurations import given_intrinsics
from egodepth.deployment.configurations import FormatName, Quantisation
from egodepth.errors import UserError
from egodepth.files import write_text
from egodepth.inference.configurations import BenchmarkConfig, RuntimeName
from egodepth.recipes import RECIPES
from egodepth.recipes.recipe import STARTER

if TYPE_CHECKING:
    from egodepth.inference.benchmark_result import BenchmarkResult
    from egodepth.inference.options import PredictionOptions
    from egodepth.inference.predict import PredictionReport
    from egodepth.models.graph_benchmarking import GraphBenchmark
    from egodepth.models.opening import OpenedModel

Format = Literal["npy", "png16", "color", "ply", "las", "pcd", "video"]

Runtime = RuntimeName

ADDRESS_SIGN = "://"
"""What stands in the address of a file on another machine."""


def predict(
    model: Positional[ModelOrStarter],
    inputs: Annotated[
        Positional[tuple[str, ...]],
        arg(
            metavar="INPUT", help="Images, folders, quoted globs, videos; any size.", help_behavior_hint="(one or more)"
        ),
    ],
    *,
    out: Annotated[str, arg(metavar="DIR", help="Folder to write to.")] = "depth",
    format: Annotated[
        Format, arg(help="float32 array; 16-bit PNG of metres x 256; coloured PNG; points; video of picture and depth.")
    ] = "color",
    batch_size: Annotated[int, arg(help="Pictures that go through the network at once.")] = 4,
    bits: Annotated[
        int | None, arg(help="Bits used in pictures of more than 8 (12 or 14 in 16); found for each folder by default.")
    ] = None,
    intrinsics: InputIntrinsics = None,
    fov: FieldOfView = None,
    farthest: Annotated[float | None, arg(help="Depth at which points end; 80 metres by default.")] = None,
    scale: ScaleOfUse = None,
    steady: Steadily = False,
    resume: Annotated[
        bool, FlagCreatePairsOff, arg(help="Leave out inputs whose depth is in DIR already, all of it.")
    ] = False,
    device: Device = "cpu",
    runtime: Annotated[
        Runtime | None,
        arg(
            help="Engine; by default the fastest in float32 that is installed on a CPU, PyTorch elsewhere. "
            "bfloat16 is faster still, and changes depths by about 0.05 percent."
        ),
    ] = None,
    engine: Annotated[
        Literal["ray"] | None,
        arg(help="ray: on all devices of a Ray cluster; INPUT and DIR may be addresses such as s3://bucket/drives."),
    ] = None,
    address: Annotated[str | None, arg(help="Address of the Ray cluster; without it one is started here.")] = None,
    debug: Debug = False,
) -> int:
    """Predict the depth of images, folders of images, and videos."""
    if _is_input(model):
        model, inputs = STARTER, (model, *inputs)
    if not inputs:
        raise UserError("no INPUT: give an image, a folder, a glob or a video after MODEL.")
    from egodepth.inference.options import PredictionOptions

    camera = given_intrinsics(fov, intrinsics)
    options = PredictionOptions(format, batch_size, scale, bits, camera, farthest, steady)
    if engine is None:
        _check_here(inputs, out, address)
        opened, report = _predicted_here(model, inputs, Path(out), options, device, runtime, resume)
    else:
        opened, report = _predicted_on_cluster(model, inputs, out, options, device, runtime, address, resume)
    predictor = opened.predictor
    for reason in dict.fromkeys(skipped.reason for skipped in report.skipped):
        console.print(f"skipped: {reason}", markup=False)
    known = opened.scale.said() if opened.scale else predictor.unit
    unit = known if scale is None else "metres by --scale"
    files = "file" if len(report.written) == 1 else "files"
    if report.done_before:
        console.print(f"{report.done_before} of {report.inputs} inputs were done before.", markup=False)
    console.print(f"Wrote {len(report.written)} {files} to {out} (depth {unit}).")
    if predictor.focal is not None and report.is_metric:
        console.print(_said_of_cameras(report, predictor.focal))
    if not report.skipped:
        return 0
    count = len({each.path for each in report.skipped})
    print(f"egodepth: {count} of {report.inputs} inputs {'was' if count == 1 else 'were'} skipped.", file=sys.stderr)
    return 1


def _check_here(inputs: tuple[str, ...], out: str, address: str | None) -> None:
    """Raises UserError: this needs the engine that was not asked for."""
    if address is not None:
        raise UserError(f"--address {address}: is that of a Ray cluster. Add --engine ray.")
    if far := next((each for each in (*inputs, out) if ADDRESS_SIGN in each and not Path(each).exists()), None):
        raise UserError(f"{far}: is not on this machine. Add --engine ray, which reads and writes there.")


def _predicted_here(
    model: str,
    inputs: tuple[str, ...],
    out: Path,
    options: "PredictionOptions",
    device: str,
    runtime: Runtime | None,
    resume: bool,
) -> "tuple[OpenedModel, PredictionReport]":
    """The model and what it did, in this process."""
    from egodepth.inference.inputs import expand_inputs
    from egodepth.inference.pictures import count_pictures
    from egodepth.inference.predict import predict_inputs
    from egodepth.models.opening import open_for_use

    expanded = expand_inputs(inputs)  # before the depth is written, perhaps among the inputs
    opened = open_for_use(model, device, runtime, count_pictures(expanded))
    console.print(f"Running {model} on {device} with {opened.predictor.runtime.name}.", markup=False)
    return opened, predict_inputs(opened.predictor, expanded, out, options, resume=resume)


def _predicted_on_cluster(
    model: str,
    inputs: tuple[str, ...],
    out: str,
    options: "PredictionOptions",
    device: str,
    runtime: Runtime | None,
    address: str | None,
    resume: bool,
) -> "tuple[OpenedModel, PredictionReport]":
    """The model and what it did, on a cluster."""
    from egodepth.cluster.predicting import predict_on_cluster
    from egodepth.models.opening import open_for_use, open_model

    # Where it is to run on GPUs, this machine need not have one.
    opened = open_for_use(model, device, runtime) if device == "cpu" else open_model(model)
    console.print(f"Running {model} on every {device} of the Ray cluster.", markup=False)
    return opened, predict_on_cluster(model, opened.predictor, inputs, out, options, device, runtime, address, resume)


def _is_input(model: str) -> bool:
    """Whether what stands in the place of MODEL is an input: a file, a glob, or a folder that holds no model or run.

    What is named like a picture or a film is one also where it is not there, so that this is what is said of it.
    """
    path = Path(model)
    if path.is_dir():
        signs = ("config.json", "run.json", "model/config.json", "*/run.json")
        return not any(found for sign in signs for found in path.glob(sign))
    if path.is_file() or ADDRESS_SIGN in model or any(character in model for character in "*?["):
        return True
    if not path.suffix:
        return False
    from egodepth.data.bags.reading import SUFFIXES as BAG_SUFFIXES
    from egodepth.data.footage.containers import VIDEO_SUFFIXES
    from egodepth.data.images import IMAGE_SUFFIXES

    return path.suffix.lower() in {*IMAGE_SUFFIXES, *VIDEO_SUFFIXES, *BAG_SUFFIXES}


def _said_of_cameras(report: "PredictionReport", focal: float) -> str:
    """Whose camera the metres are for."""
    from egodepth.geometry.cameras import field_of_view_degrees

    training = f"the training's, {field_of_view_degrees(focal):.0f} degrees wide"
    lines = []
    if report.focal_ratios is not None:
        low, high = (f"{ratio:.2f}" for ratio in report.focal_ratios)
        ratio = low if low == high else f"{low} to {high}"
        lines.append(f"Metres are for the inputs' own camera: {ratio} times those of {training}.")
    if report.without_camera:
        some = "Metres" if report.focal_ratios is None else f"Metres of {report.without_camera} pictures"
        lines.append(
            f"{some} are as if taken by a camera like {training}; --fov DEGREES or --intrinsics corrects them."
        )
    return "\n".join(lines)


def export(
    model: Positional[Model],
    out: Annotated[
        Positional[Path],
        arg(metavar="FILE.onnx|DIR", help="An ONNX file, or a folder with the model, an example and code to run it."),
    ],
    *,
    format: Annotated[FormatName, arg(help="Format of a folder, each by its maker's own converter.")] = "onnx",
    height: Annotated[
        int | None, arg(help="Height of the input image; by default the model's own, or in a file any, where it can.")
    ] = None,
    width: Annotated[int | None, arg(help="Width of the input image.")] = None,
    quantize: Annotated[
        Quantisation, arg(help="Of weights and activations; image and depth stay fp32. int8 needs --data.")
    ] = "fp32",
    data: Annotated[
        tuple[str, ...],
        arg(metavar="PICTURES", help="Pictures and videos of the model's use, for the ranges of int8."),
    ] = (),
    debug: Debug = False,
) -> None:
    """Write a model for other programs and devices, held against PyTorch's depth."""
    from egodepth.deployment.folder import export_folder
    from egodepth.deployment.onnx_file import export_onnx
    from egodepth.models.released import ReleasedModel

    is_file = out.suffix == ".onnx"
    if is_file and (format != "onnx" or quantize == "int8" or data):
        raise UserError(f"{out}: a file is ONNX in fp32 or fp16. Give a folder for other formats and for int8.")
    released = ReleasedModel.open(model)
    predictor = released.predictor()
    if is_file:
        scale = released.scale.as_metadata() if released.scale else None
        export_onnx(predictor, out, height, width, quantize, scale)
        console.print(f"Wrote {out}")
        return
    deviation = export_folder(predictor, released.config, out, format, height, width, quantize, data)
    console.print(f"Wrote {out}: {deviation.said()}.", markup=False)


def benchmark(
    models: Annotated[
        Positional[tuple[str, ...]],
        arg(metavar="MODEL", help="Recipes (with random weights), model or run folders, hub ids."),
    ] = ("small-depth",),
    *,
    baseline: Annotated[
        str,
        arg(metavar="MODEL", help="Recipe or model that ratios refer to. An exported one measures exported ones."),
    ] = "monodepth2",
    config: Annotated[BenchmarkConfig, arg(name="")] = BenchmarkConfig(),
    json: Annotated[Path | None, arg(metavar="FILE", help="Write the figures as JSON.")] = None,
    debug: Debug = False,
) -> None:
    """Measure the speed and memory of models against a baseline, in turns within one run."""
    from egodepth.models.opening import has_graph

    models = models or ("small-depth",)
    if has_graph(baseline):
        from egodepth.models.graph_benchmarking import benchmark_graphs

        result: GraphBenchmark | BenchmarkResult = benchmark_graphs(models, baseline, config.rounds)
    else:
        for name in (*models, baseline):
            _check_contender(name)
        from egodepth.models.benchmarking import benchmark_models

        result = benchmark_models(models, baseline, config)
    console.print(result.table(), markup=False)
    if json is not None:
        write_text(json, json_text.dumps(result.to_json(), indent=2) + "\n")
        console.print(f"Wrote {json}")


def _check_contender(name: str) -> None:
    """Raises UserError: the name is no recipe and cannot be a model, and resembles a recipe."""
    if name in RECIPES or "/" in name or Path(name).exists():
        return
    if near := get_close_matches(name, RECIPES, n=1):
        raise UserError(f"{name}: no such recipe or model folder. Did you mean {near[0]}?")
