"""COLMAP's mapping of runs of frames, as a program of its own: `mapping.py SETTINGS.json`.

It imports nothing but pycolmap. In one process with Pillow, whose PNG encoder then works with pycolmap's copy of zlib,
writing a picture corrupts memory (pycolmap 4.2 and Pillow 12).

It writes a line of JSON for each stage, and one for each model that it finds.
"""

import json
import sys
from pathlib import Path

import pycolmap

FIRST_FOCAL = 0.8
"""In widths of the picture: 64 degrees across. COLMAP's 1.2, of photographs, is far from what vehicles carry."""

FOCAL_LIMITS = (0.25, 3.0)
"""In widths; a run that leaves them has lost its way."""


def main(file: str) -> None:
    settings = json.loads(Path(file).read_text(encoding="utf-8"))
    folder = Path(settings["folder"])
    images, database, threads = folder / "images", folder / "database.db", settings["threads"]

    _say(stage="finding features")
    reader = pycolmap.ImageReaderOptions(camera_model=settings["camera_model"])
    reader.default_focal_length_factor = FIRST_FOCAL
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.num_threads, extraction.use_gpu = threads, False
    extraction.max_image_size = settings["largest_side"]
    extraction.sift.max_num_features = settings["features"]
    extraction.sift.first_octave = 0  # the picture is not doubled: four times as fast, and the focal length is the same
    single = pycolmap.CameraMode.SINGLE
    pycolmap.extract_features(
        database, images, camera_mode=single, reader_options=reader, extraction_options=extraction
    )

    _say(stage="matching")
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads, matching.use_gpu = threads, False
    pairing = pycolmap.SequentialPairingOptions(overlap=settings["overlap"], quadratic_overlap=False)
    pycolmap.match_sequential(database, matching_options=matching, pairing_options=pairing)

    for number, names in enumerate(settings["runs"]):
        _say(stage=f"mapping run {number + 1} of {len(settings['runs'])}")
        options = pycolmap.IncrementalPipelineOptions()
        options.image_names, options.num_threads, options.multiple_models = names, threads, False
        options.min_model_size, options.extract_colors = settings["least"], False
        options.max_runtime_seconds, options.random_seed = settings["seconds_a_run"], 0
        options.min_focal_length_ratio, options.max_focal_length_ratio = FOCAL_LIMITS
        # A camera on a vehicle moves along its axis, and little between two frames. With COLMAP's own limits, which are
        # for photographs, one of four runs of a KITTI drive was mapped; with these three were, to 0.3 % of the focal
        # length in two of them.
        options.mapper.init_max_forward_motion = 1.0
        options.mapper.init_min_tri_angle = 4.0
        options.mapper.init_min_num_inliers = 60
        options.mapper.abs_pose_min_num_inliers = 20
        sparse = folder / f"sparse{number}"
        sparse.mkdir()
        for model in pycolmap.incremental_mapping(database, images, sparse, options=options).values():
            [camera] = model.cameras.values()
            _say(
                run=number,
                registered=model.num_reg_images(),
                frames=len(names),
                error_px=model.compute_mean_reprojection_error(),
                observations=model.compute_num_observations(),
                model=camera.model.name,
                parameters=camera.params.tolist(),
            )


def _say(**entries: object) -> None:
    print(json.dumps(entries), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
