"""`egodepth prior`: the references of RPrDepth."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from egodepth.cli.terminal import Debug, console
from egodepth.data.configurations import as_intrinsics, given_intrinsics
from egodepth.recipes.prior_guided import IMAGES, KEEP, PIXELS_PER_IMAGE

INTRINSICS_HELP = "Camera, as in egodepth train: calibrated, fixed, fx,fy,cx,cy in native pixels, or a file"

FOV_HELP = "Horizontal field of view in degrees, in place of intrinsics: square pixels, centre in the middle."

Prior = Annotated[Path, arg(metavar="PRIOR", help="A .safetensors file to write; an interrupted one is continued.")]

Teacher = Annotated[
    Positional[str],
    arg(
        metavar="TEACHER",
        help="Model or run folder, hub id, or a depth model of transformers: hf:owner/name, hf:FOLDER.",
    ),
]

Run = Annotated[Positional[Path], arg(metavar="RUN", help="Run folder of egodepth train rprdepth.")]


def build(
    teacher: Teacher,
    data: Annotated[Positional[Path], arg(metavar="DATA", help="Training data.")],
    *,
    out: Prior,
    images: Annotated[int, arg(help="Training images to draw.")] = IMAGES,
    pixels_per_image: Annotated[int, arg(help="Pixels to sample in each image.")] = PIXELS_PER_IMAGE,
    split: Annotated[str | None, arg(help="Folder in DATA/splits, or a path to split lists.")] = None,
    seed: Annotated[int, arg(help="Seed of the drawing and sampling.")] = 0,
    intrinsics: Annotated[str, arg(help=f"{INTRINSICS_HELP}.")] = "calibrated",
    fov: Annotated[float | None, arg(help=FOV_HELP)] = None,
    debug: Debug = False,
) -> None:
    """Write a teacher's reference set: its features and depths at sampled pixels of the training images."""
    from egodepth.prior.pipeline import build_prior, prior_settings

    settings = prior_settings(split, seed, as_intrinsics(fov, intrinsics))
    references = build_prior(teacher, data, out, images, pixels_per_image, settings)
    console.print(f"Wrote {out}: {len(references)} reference pixels.")


def select(
    run_folder: Run,
    data: Annotated[
        Positional[Path],
        arg(metavar="DATA", help="The run's training data; attention is measured on its validation frames."),
    ],
    *,
    out: Prior,
    keep: Annotated[int, arg(help="References to keep.")] = KEEP,
    images: Annotated[int | None, arg(help="Validation frames to use; all by default.")] = None,
    intrinsics: Annotated[str | None, arg(help=f"{INTRINSICS_HELP}; the run's own by default.")] = None,
    fov: Annotated[float | None, arg(help=FOV_HELP)] = None,
    debug: Debug = False,
) -> None:
    """Keep the references that a trained RPrDepth attends to most."""
    from egodepth.prior.pipeline import select_prior_of_run

    camera = given_intrinsics(fov, intrinsics)
    references = select_prior_of_run(run_folder, data, out, keep, images, camera)
    console.print(f"Wrote {out}: {len(references)} reference pixels.")


def cluster(
    run_folder: Run,
    *,
    out: Annotated[Path, arg(metavar="MODEL", help="Folder for the released model.")],
    keep: Annotated[int, arg(help="Number of clusters.")] = 1000,
    debug: Debug = False,
) -> None:
    """Release a trained RPrDepth with clusters in place of its references: several times faster on a CPU."""
    from egodepth.prior.pipeline import release_clustered

    count = release_clustered(run_folder, out, keep)
    console.print(f"Wrote {out} (the model): {count} clusters.")
