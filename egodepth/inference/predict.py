"""The prediction run: read pictures and videos in batches, predict their depth, write it, report.

Whatever ends a run early, Ctrl-C included, leaves only whole files behind.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain, groupby
from pathlib import Path

import numpy as np

from egodepth.data.footage.video import Cut, VideoInfo, read_stretch, read_video, video_info
from egodepth.data.images import bit_depth, read_image
from egodepth.errors import UserError
from egodepth.files import within
from egodepth.geometry.cameras import Camera
from egodepth.inference.clouds import cloud_writer
from egodepth.inference.input_cameras import InputCameras
from egodepth.inference.inputs import ImageInput, Input, VideoInput, expand_inputs, named_path
from egodepth.inference.options import PredictionOptions
from egodepth.inference.pictures import Picture, Source, batches, read_ahead, sequences_of, with_neighbours
from egodepth.inference.points import farthest_of, points_of
from egodepth.inference.predictor import Predictor
from egodepth.inference.steady import Steady
from egodepth.inference.video import FOLDER_FRAMES_PER_SECOND, open_depth_video
from egodepth.inference.writers import SUFFIXES, Format, write_depth
from egodepth.processors import available_processors
from egodepth.progress import progress_bar

log = logging.getLogger("egodepth")

WRITER_THREADS = min(4, available_processors())

Later = Callable[[], np.ndarray]
"""The depth (H, W) of a picture, once it is asked for, in whichever thread."""

MOST_NAMED = 3
"""So many damaged places of a video are named."""


@dataclass(frozen=True)
class Skipped:
    """An input that was not used, or not all of it.

    Attributes:
        path: of the input.
        reason: one line that names the file and says what is wrong with it.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class PredictionReport:
    """What a prediction run did.

    Attributes:
        written: the files that it wrote, in order.
        skipped: the inputs that it could not read, or not all of.
        is_metric: whether the depths are metres; else they are right up to one unknown factor.
        focal_ratios: smallest and largest ratio of the inputs' focal lengths to the training's, by which metres were
            multiplied; None where no camera was known, or none was asked for.
        without_camera: how many pictures were taken to be of the training's camera, because nothing said otherwise.
        done_before: inputs that were left out, because their depth was there already.
        pictures: how many pictures and frames went through the network.
        inputs: how many images and videos there were.
    """

    written: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    is_metric: bool
    focal_ratios: tuple[float, float] | None = None
    without_camera: int = 0
    done_before: int = 0
    pictures: int = 0
    inputs: int = 0


def predict(
    predictor: Predictor,
    inputs: Sequence[str | Path],
    out: Path,
    format: Format,
    batch_size: int = 4,
    scale: float | None = None,
    progress: bool = True,
    bits: int | None = None,
    intrinsics: str | None = None,
    farthest: float | None = None,
    steady: bool = False,
    resume: bool = False,
) -> PredictionReport:
    """Predict the depth of every picture of `inputs` and write it below `out`.

    `npy`, `png16`, `color` and `ply` write one file for each picture, `OUT/name.npy`, and for each frame of a video,
    `OUT/name/000000.npy`. `video` writes `OUT/name.mp4` for each video, whose frames are shown when those of the
    source are, and one for all the pictures of each folder, at 10 frames per second. Files of these names that
    exist already are replaced, others are kept.

    An input that cannot be read is skipped and reported, and so are the broken parts of a video; if no input
    can be read at all (the only file is broken), that is an error.

    Args:
        inputs: images, folders, globs and videos, see `expand_inputs`.
        out: the folder to write to; made if it is missing.
        batch_size: pictures that go through the network at once.
        scale: metres per unit of the network's depth, where the user knows better than the model.
        progress: show a progress bar with the time left on stderr.
        bits: that pictures of more than 8 bits use; none finds out for those of each folder.
        intrinsics: see `InputCameras`.
        steady: join each frame's depth with the one before, so that it does not flicker, see `Steady`.
        resume: leave out inputs whose depth is there already, all of it.
        farthest: of points (`ply`), in metres where the scale is known; by default 80 m, or 8 times the median depth.

    Raises:
        UserError: an input does not exist or none can be read, an output would replace an input, `png16` is
            asked of a model without a scale, the disk is full, or `out` cannot be written to.
    """
    options = PredictionOptions(format, batch_size, scale, bits, intrinsics, farthest, steady)
    return predict_inputs(predictor, expand_inputs(inputs), out, options, progress, resume)


def predict_inputs(
    predictor: Predictor,
    inputs: Sequence[Input],
    out: Path,
    options: PredictionOptions,
    progress: bool = True,
    resume: bool = False,
) -> PredictionReport:
    """`predict` of inputs whose output names are settled already.

    Raises:
        StretchDiffers: see `read_stretch`; the depth that was written may be none of the video's.
    """
    predictor, format = options.applied_to(predictor), options.format
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file, but depth is written to a folder; name another place")
    with progress_bar(progress) as bar:
        task = bar.add_task("Predicting", total=None)
        cameras = InputCameras(inputs, options.intrinsics)
        run = _Run(predictor, inputs, out, options, lambda: bar.advance(task), cameras)
        done = run.leave_out_done(format) if resume else 0
        bar.update(task, total=run.count_pictures())
        if format == "video":
            run.write_videos()
        else:
            run.write_pictures(format)
    if not run.written and not done:
        raise UserError(nothing_readable(run.skipped))
    known = [ratio for ratio in run.ratios.values() if ratio is not None]
    ratios = (min(known), max(known)) if known else None
    without = len(run.ratios) - len(known)
    written, skipped = tuple(run.written), tuple(run.skipped)
    return PredictionReport(written, skipped, predictor.is_metric, ratios, without, done, run.pictures, len(inputs))


class _Run:
    """One prediction run and what it has written and skipped so far."""

    def __init__(
        self,
        predictor: Predictor,
        inputs: Sequence[Input],
        out: Path,
        options: PredictionOptions,
        on_picture: Callable[[], None],
        cameras: InputCameras,
    ) -> None:
        self.options = options
        self._steady: tuple[tuple[Path, int], Steady] | None = None
        self._predictors: dict[tuple[int, int], Predictor] = {}
        self._cameras = cameras
        self.ratios: dict[Path, float | None] = {}
        self._bits: dict[Path, int | None] = {}
        self.predictor = predictor
        self.out = out
        self.on_picture = on_picture
        self.written: list[Path] = []
        self.pictures = 0
        self.skipped: list[Skipped] = []
        self._input_paths = {each.path.resolve() for each in inputs} | {named_path(each.path) for each in inputs}
        self._videos: dict[Path, VideoInfo] = {}
        self._inputs = [each for each in inputs if isinstance(each, ImageInput) or self._inspect(each)]

    @property
    def _ahead(self) -> int:
        """Pictures that are read while earlier ones are predicted."""
        return 2 * self.options.batch_size

    def count_pictures(self) -> int | None:
        """Pictures and frames of all inputs; None where a video does not tell its own."""
        frames = [video.frames for video in self._videos.values()]
        return len(self._inputs) - len(frames) + sum(frames) if all(frames) else None

    def leave_out_done(self, format: Format) -> int:
        """Forget inputs whose depth is there, all of it, and say how many; part of a video's frames is none.

        Every file that is there is whole: files get their names when they are.
        """
        if format == "video":
            done = [
                each
                for sequence, name in sequences_of(self._inputs)
                if self._output_path(name, SUFFIXES[format]).exists()
                for each in sequence
            ]
        else:
            done = [each for each in self._inputs if self._has_all_depth(each, SUFFIXES[format])]
        names = {each.name for each in done}  # one by one, 20,000 pictures would be compared 400 million times
        self._inputs = [each for each in self._inputs if each.name not in names]
        for each in done:
            self._videos.pop(each.path, None)
        return len(done)

    def _has_all_depth(self, each: Input, suffix: str) -> bool:
        if isinstance(each, ImageInput):
            return self._output_path(each.name, suffix).exists()
        frames = self._videos[each.path].frames
        names = [each.name / f"{number:06d}" for number in range(frames)]
        return bool(names) and all(self._output_path(name, suffix).exists() for name in names)

    def write_pictures(self, format: Format) -> None:
        """One file for each picture and each frame."""
        pictures = chain.from_iterable(
            self._read_video(each) if isinstance(each, VideoInput) else self._read_images([each])
            for each in self._inputs
        )
        reduced = self._prepared(pictures, keep=self.options.gives_points)
        # To enlarge a depth and to pack it takes as long as a small network to see it, so they go on beside it. Leaving
        # the pool, also by Ctrl-C, waits for the files that are being written.
        with ThreadPoolExecutor(WRITER_THREADS) as pool, closing(read_ahead(reduced, self._ahead)) as ahead:
            pending: deque[tuple[Path, Future[None]]] = deque()
            for picture, depth in self._predicted(ahead):
                path = self._output_path(picture.source.name, SUFFIXES[format])
                pending.append((path, pool.submit(self._write, path, picture, depth, format)))
                if len(pending) > WRITER_THREADS:
                    self._wait_for(*pending.popleft())
            for path, writing in pending:
                self._wait_for(path, writing)

    def _write(self, path: Path, picture: Picture, depth: Later, format: Format) -> None:
        if self.options.gives_points:
            write = cloud_writer(path, self.predictor.unit)
            write(self._points(picture, depth()))
        else:
            write_depth(path, depth(), format)

    def _points(self, picture: Picture, depth: np.ndarray) -> np.ndarray:
        """Raises UserError: nothing says the picture's camera, without which points have no place."""
        name = picture.source.name
        rays = self._cameras.rays(name, *depth.shape)
        if rays is None:
            raise UserError(
                f"{name}: points need the camera. Give --fov DEGREES, --intrinsics, or camera.json beside it."
            )
        farthest = self.options.farthest or farthest_of(depth, self.predictor.is_metric)
        return points_of(depth, picture.image, rays, farthest)

    def write_videos(self) -> None:
        """One video for each video, and one for the pictures of each folder."""
        for sequence, name in sequences_of(self._inputs):
            path = self._output_path(name, SUFFIXES["video"])
            first = sequence[0]
            if isinstance(first, VideoInput):
                frames = self._frames_of_one_size(first)
                self._write_video(path, frames, self._videos[first.path].frames_per_second)
            else:
                self._write_video(path, self._of_one_size(sequence), FOLDER_FRAMES_PER_SECOND)

    def _wait_for(self, path: Path, writing: Future[None]) -> None:
        writing.result()
        self.written.append(path)
        self.on_picture()

    def _inspect(self, video: VideoInput) -> bool:
        """Learn a video's rate and length, or skip it."""
        try:
            self._videos[video.path] = video_info(video.path)
        except UserError as error:
            self.skipped.append(Skipped(video.path, str(error)))
            return False
        return True

    def _write_video(self, path: Path, frames: Iterator[tuple[Source, np.ndarray]], rate: Fraction) -> None:
        first = next(frames, None)
        if first is None:
            return
        prepared = self._prepared(chain([first], frames), keep=True)
        with open_depth_video(path, rate) as video, closing(read_ahead(prepared, self._ahead)) as ahead:
            for number, (picture, depth) in enumerate(self._predicted(ahead)):
                seconds = picture.source.seconds
                video.add(picture.image, depth(), float(number / rate) if seconds is None else seconds)
                self.on_picture()
        self.written.append(path)

    def _predicted(self, pictures: Iterable[Picture]) -> Iterator[tuple[Picture, Later]]:
        """Send pictures through the network in batches of one form; each comes back with its depth (H, W)."""
        groups = groupby(pictures, key=lambda picture: picture.reduced.shape[:2])
        for batch in chain.from_iterable(batches(group, self.options.batch_size) for _, group in groups):
            predictor = self._fitted(batch[0].height, batch[0].width)
            images, neighbours = [picture.reduced for picture in batch], [picture.neighbours for picture in batch]
            sizes = [(picture.height, picture.width) for picture in batch]
            cameras = [self._camera(picture) for picture in batch]
            steady = [self._joined_with(picture) for picture in batch] if self.options.steady else None
            depths = predictor.enlargements(images, sizes, neighbours, cameras, steady)
            self.pictures += len(batch)
            for picture, depth in zip(batch, depths, strict=True):
                yield picture, partial(self._as_given, picture, depth)

    def _as_given(self, picture: Picture, depth: Later) -> np.ndarray:
        return self._cameras.bent(picture.source.name, depth())

    def _fitted(self, height: int, width: int) -> Predictor:
        """The predictor for pictures of this size: in their own form, where the model keeps it."""
        size = height, width
        if size not in self._predictors:
            self._predictors[size] = self.predictor.fitted_to(height, width)
        return self._predictors[size]

    def _joined_with(self, picture: Picture) -> Steady:
        """What joins a picture's depth with those of its folder, or of its video up to a cut, that came before."""
        sequence = picture.source.sequence
        if self._steady is None or self._steady[0] != sequence:
            camera = self._cameras.camera(picture.source.name, picture.height, picture.width)
            self._steady = sequence, Steady.of_camera(camera, self.predictor.focal)
        return self._steady[1]

    def _camera(self, picture: Picture) -> Camera | None:
        """The camera of a picture, where metres depend on it."""
        if self.predictor.focal is None or not self.predictor.is_metric:
            return None
        camera = self._cameras.camera(picture.source.name, picture.height, picture.width)
        self.ratios[picture.source.name] = None if camera is None else self.predictor.focal_ratio(camera)
        return camera

    def _prepared(self, pictures: Iterable[tuple[Source, np.ndarray]], keep: bool) -> Iterator[Picture]:
        """Reduce pictures at once: a batch then holds small ones alone, unless `keep` asks for the whole."""
        reduced = (
            Picture(source, image if keep else None, self._reduced(source.name, image), *image.shape[:2])
            for source, image in pictures
        )
        for _, sequence in groupby(reduced, key=lambda picture: picture.source.sequence):
            yield from with_neighbours(sequence, self.predictor.time_offsets)

    def _reduced(self, name: Path, image: np.ndarray) -> np.ndarray:
        return self._fitted(*image.shape[:2]).reduce_image(self._cameras.straight(name, image))

    def _read_images(self, images: Sequence[ImageInput]) -> Iterator[tuple[Source, np.ndarray]]:
        for each in images:
            try:
                image = read_image(each.path, self._bit_depth(each.path.parent))
            except UserError as error:
                self.skipped.append(Skipped(each.path, str(error)))
                self.on_picture()
            else:
                yield Source(each.name), image

    def _bit_depth(self, folder: Path) -> int | None:
        """Bits of the pictures of a folder, decided once, so that all of them are read alike."""
        if folder not in self._bits:
            paths = [each.path for each in self._inputs if each.path.parent == folder and isinstance(each, ImageInput)]
            found = self._bits[folder] = self.options.bits or bit_depth(paths)
            if found is not None and self.options.bits is None:
                log.warning("%s: by their largest values the pictures have %d bits; --bits sets it.", folder, found)
        return self._bits[folder]

    def _of_one_size(self, images: Sequence[ImageInput]) -> Iterator[tuple[Source, np.ndarray]]:
        """The pictures that have the first one's size: a video has one size."""
        size: tuple[int, ...] | None = None
        paths = {each.name: each.path for each in images}
        for source, image in self._read_images(images):
            size = size or image.shape[:2]
            if image.shape[:2] == size:
                yield source, image
            else:
                path = paths[source.name]
                found = f"{image.shape[1]}x{image.shape[0]} pixels, but the video is {size[1]}x{size[0]}"
                self.skipped.append(Skipped(path, f"{path}: {found}; put it in a folder of its own"))
                self.on_picture()

    def _read_video(self, video: VideoInput) -> Iterator[tuple[Source, np.ndarray]]:
        """The frames of a video, each of its own size; what cannot be decoded is reported."""
        if video.stretch is not None:
            for count, frame in enumerate(read_stretch(video.path, video.stretch), video.stretch.start):
                yield Source(video.name / f"{count:06d}", frame.seconds), frame.pixels
            return
        count = run = 0
        lost: list[str] = []
        for each in read_video(video.path):
            if isinstance(each, Cut):
                run += 1
                lost += [f"{each.reason}, after {each.seconds:.2f} s"] if each.lost else []
            else:
                yield Source(video.name / f"{count:06d}", each.seconds, run), each.pixels
                count += 1
        if lost:
            reason = f"not all of it can be decoded: {'; '.join(lost[:MOST_NAMED])}"
            reason += f"; and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
            reason += ". What lies up to the next whole key frame is left out. Copy or convert the video again."
            self.skipped.append(Skipped(video.path, f"{video.path}: {reason}"))

    def _frames_of_one_size(self, video: VideoInput) -> Iterator[tuple[Source, np.ndarray]]:
        """The frames of a video that have its first one's size."""
        size: tuple[int, ...] | None = None
        others: Counter[tuple[int, ...]] = Counter()
        for source, image in self._read_video(video):
            size = size or image.shape[:2]
            if image.shape[:2] == size:
                yield source, image
            else:
                others[image.shape[:2]] += 1
                self.on_picture()
        for (height, width), number in others.items():
            found = f"{number} frames of {width}x{height} are left out: a video has one size, here {size[1]}x{size[0]}"
            self.skipped.append(Skipped(video.path, f"{video.path}: {found}. Take --format npy for all of them."))

    def _output_path(self, name: Path, suffix: str) -> Path:
        path = within(self.out, name.with_name(name.name + suffix))
        if {path.resolve(), named_path(path)} & self._input_paths:
            raise UserError(f"{path}: is one of the inputs and would be replaced; choose another --out folder")
        return path


def nothing_readable(skipped: Sequence[Skipped]) -> str:
    """What to say where no input at all can be read."""
    if len(skipped) == 1:
        return skipped[0].reason
    return f"none of the {len(skipped)} inputs can be read; the first is {skipped[0].reason}"
