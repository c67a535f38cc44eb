"""COLMAP's mapping of runs of frames, as a program of its own: `mapping.py SETTINGS.json`.

It imports nothing but pycolmap. In one process with Pillow, writing a PNG aborted with corrupted memory once pycolmap
was imported (pycolmap 4.2.1, Pillow 13.0).

It writes a line of JSON for each stage, and one for each model that it finds.
"""

import json
import shutil
import sys
from pathlib import Path

import pycolmap

FIRST_FOCALS = (0.8, 0.55, 1.15)
"""In widths of the picture: 64, 85 and 47 degrees across. COLMAP's 1.2 is for photographs."""

FOCAL_LIMITS = (0.25, 3.0)
"""In widths; a run that leaves them has lost its way."""

WHOLE_SHARE = 0.6
"""When this share of a run's frames is placed, no other first focal length is tried."""

ITERATIONS = 100


def main(file: str) -> None:
    settings = json.loads(Path(file).read_text(encoding="utf-8"))
    folder = Path(settings["folder"])
    images, database, threads = folder / "images", folder / "database.db", settings["threads"]

    _say(stage="finding features")
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.num_threads, extraction.use_gpu = threads, False
    extraction.max_image_size = settings["largest_side"]
    extraction.sift.max_num_features = settings["features"]
    extraction.sift.first_octave = 0  # the picture is not doubled: four times as fast
    extraction.sift.peak_threshold = 0.003  # of 0.0067: roads have little texture
    reader = pycolmap.ImageReaderOptions(camera_model="SIMPLE_RADIAL")
    single = pycolmap.CameraMode.SINGLE
    pycolmap.extract_features(
        database, images, camera_mode=single, reader_options=reader, extraction_options=extraction
    )

    _say(stage="matching")
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads, matching.use_gpu = threads, False
    verification = pycolmap.TwoViewGeometryOptions()
    # Bonnets and captions move with the camera.
    verification.filter_stationary_matches = True
    verification.stationary_matches_max_error = 1.0
    pairing = pycolmap.SequentialPairingOptions(overlap=settings["overlap"], quadratic_overlap=False)
    pycolmap.match_sequential(
        database, matching_options=matching, pairing_options=pairing, verification_options=verification
    )

    for number, names in enumerate(settings["runs"]):
        _say(stage=f"mapping run {number + 1} of {len(settings['runs'])}")
        model = _mapped(folder, names, settings)
        if model is not None:
            _say(run=number, frames=len(names), **_measured(model))


def _mapped(folder: Path, names: list[str], settings: dict) -> "pycolmap.Reconstruction | None":
    """A run as a model, first with a guessed camera and then with the camera free.

    With the camera free from the start, two frames of a camera that drives along its axis fit any: of four runs of a
    highway one was mapped, and of a KITTI drive three.
    """
    images, database, sparse = folder / "images", folder / "database.db", folder / "sparse"
    best = None
    for factor in FIRST_FOCALS:
        _set_camera(database, factor)
        shutil.rmtree(sparse, ignore_errors=True)
        sparse.mkdir()
        found = pycolmap.incremental_mapping(database, images, sparse, options=_options(names, settings, free=False))
        if not found or found[0].num_reg_images() < settings["least"]:
            continue
        free = _options(names, settings, free=True)
        freed = pycolmap.incremental_mapping(database, images, sparse / "free", options=free, input_path=sparse / "0")
        model = max(freed.values(), key=lambda each: each.num_reg_images(), default=None)
        if model is not None and (best is None or model.num_reg_images() > best.num_reg_images()):
            best = model
        if best is not None and best.num_reg_images() >= WHOLE_SHARE * len(names):
            break
    return best


def _options(names: list[str], settings: dict, free: bool) -> "pycolmap.IncrementalPipelineOptions":
    options = pycolmap.IncrementalPipelineOptions()
    options.image_names, options.num_threads, options.multiple_models = names, settings["threads"], False
    options.min_model_size, options.extract_colors = settings["least"], False
    options.max_runtime_seconds, options.random_seed = settings["seconds_a_run"], 0
    options.min_focal_length_ratio, options.max_focal_length_ratio = FOCAL_LIMITS
    options.ba_refine_focal_length = options.ba_refine_extra_params = free
    options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = free
    # COLMAP's own limits are for photographs: a camera on a vehicle moves along its axis, and little between frames.
    options.mapper.init_max_forward_motion = 1.0
    options.mapper.init_min_tri_angle = 4.0
    options.mapper.init_min_num_inliers = 60
    options.mapper.abs_pose_min_num_inliers = 20
    return options


def _set_camera(file: Path, factor: float) -> None:
    database = pycolmap.Database.open(file)
    [camera] = database.read_all_cameras()
    camera.params = [factor * camera.width, camera.width / 2, camera.height / 2, 0.0]
    database.update_camera(camera)
    database.close()


def _measured(model: "pycolmap.Reconstruction") -> dict:
    """A model's camera once all of it fits best, and the covariance of its focal length and k1; none where unknown."""
    config = pycolmap.BundleAdjustmentConfig()
    for image in model.reg_image_ids():
        config.add_image(image)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_principal_point, options.print_summary = False, False
    options.ceres.solver_options.max_num_iterations = ITERATIONS
    adjuster = pycolmap.create_default_ceres_bundle_adjuster(options, config, model)
    adjuster.solve()
    wanted = pycolmap.BACovarianceOptions()
    wanted.params = pycolmap.BACovarianceOptionsParams.ALL
    [camera] = model.cameras.values()
    found = pycolmap.estimate_ba_covariance(wanted, model, adjuster)
    covariance = None if found is None else found.get_other_params_cov(camera.params)
    return {
        "registered": model.num_reg_images(),
        "error_px": model.compute_mean_reprojection_error(),
        "observations": model.compute_num_observations(),
        "focal_px": camera.params[0],
        "k1": camera.params[3],
        "covariance": None if covariance is None else covariance.tolist(),
    }


def _say(**entries: object) -> None:
    print(json.dumps(entries), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
