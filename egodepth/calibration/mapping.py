"""COLMAP's mapping of runs of frames, as a program of its own: `mapping.py SETTINGS.json`.

It imports nothing but pycolmap. In one process with Pillow, whose PNG encoder then works with pycolmap's copy of zlib,
writing a picture corrupts memory (pycolmap 4.2 and Pillow 12).

It writes a line of JSON for each stage, and one for each model that it finds.
"""

import json
import sys
from pathlib import Path

import pycolmap


def main(file: str) -> None:
    settings = json.loads(Path(file).read_text(encoding="utf-8"))
    folder = Path(settings["folder"])
    images, database, threads = folder / "images", folder / "database.db", settings["threads"]

    _say(stage="finding features")
    reader = pycolmap.ImageReaderOptions(camera_model=settings["camera_model"])
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
        options = pycolmap.IncrementalPipelineOptions()
        options.image_names, options.num_threads, options.multiple_models = names, threads, False
        options.min_model_size, options.extract_colors = settings["least"], False
        options.max_runtime_seconds, options.random_seed = settings["seconds_a_run"], 0
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
