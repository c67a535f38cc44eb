"""The page itself: what stands where, and what happens when. Needs Gradio, the extra `web`."""

from importlib.resources import as_file, files
from pathlib import Path

import gradio as gr

from egodepth.errors import UserError
from egodepth.web.answers import DEGREES, UNKNOWN_DEGREES, Answer, Job
from egodepth.web.limits import WebLimits
from egodepth.web.reading import TAKEN
from egodepth.web.sessions import Session, Sessions
from egodepth.web.worker import ShownModel, Worker

EXAMPLES = "examples"

FEW_SECONDS, AGE_S = 10, 30
"""How often Gradio's own copies of uploads are looked through, and the age at which they go."""

CSS = """
.gradio-container { max-width: 1200px !important; margin: 0 auto !important; }
.plot { position: relative; touch-action: pan-y; cursor: crosshair; line-height: 0; min-height: 1px; }
.plot img { width: 100%; border-radius: 6px; }
.cross { position: absolute; width: 18px; height: 18px; margin: -9px 0 0 -9px; border-radius: 50%;
  border: 2px solid white; box-shadow: 0 0 0 1px black; pointer-events: none; }
.readings output { display: block; font-size: 1.5rem; font-weight: 600; line-height: 2.2rem; min-height: 2.2rem;
  font-variant-numeric: tabular-nums; }
#examples .grid-wrap { min-height: 0; max-height: none; overflow: hidden; }
#examples .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)); }
footer { display: none !important; }
"""

READINGS = """
<div class="readings">
  <output aria-live="polite" data-empty="Give a picture first." data-ready="Point at the picture."></output>
  <div class="plot">
    <img alt="Depth in colours: near is bright, far is dark" hidden><div class="cross" hidden></div>
  </div>
</div>
"""

THEME = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
"""The look, in the browser's own fonts: others would be asked for elsewhere."""


SEEN_FROM = 90, 72
"""Degrees around and from above at which points are looked at: from behind the camera and a little above it."""

PROGRESS = gr.Progress()
"""Gradio puts the visitor's own in its place."""

DOWNLOAD = {"interactive": False, "size": "sm", "min_width": 90}


def refusing_addresses(field: gr.File) -> gr.File:
    """A field for files that takes none which this machine would have to fetch first: Gradio follows addresses.

    Not a class of its own: Gradio would write a file of its types beside this one.
    """
    move = field.async_move_resource_to_block_cache

    async def move_own(path: str | Path | None) -> str | None:
        if path is not None and "://" in str(path):
            raise gr.Error("Upload the file itself, not an address.", print_exception=False)
        return await move(path)

    field.async_move_resource_to_block_cache = move_own
    return field


class Handlers:
    """What the page's events do."""

    def __init__(self, worker: Worker, sessions: Sessions, examples: list[Path]) -> None:
        self._worker = worker
        self._sessions = sessions
        self._examples = examples

    def take_upload(self, file: str | None, request: gr.Request) -> None:
        """An upload is there. What the visitor had before goes."""
        if file is None:
            raise gr.Error("Choose a file first.", print_exception=False)
        self._take(request, Path(file))

    def take_example(self, chosen: gr.SelectData, request: gr.Request) -> None:
        """An example was clicked, of which only the number comes from the browser. The field for files is emptied."""
        self._take(request, self._examples[int(chosen.index) % len(self._examples)])

    def answer_new(self, request: gr.Request, progress: gr.Progress = PROGRESS) -> tuple:
        """Answer what was uploaded, with the field of view that it states."""
        return self._answered(request, None, progress)

    def answer_again(self, degrees: float, request: gr.Request, progress: gr.Progress = PROGRESS) -> tuple:
        """Answer the same picture for another field of view."""
        return self._answered(request, degrees, progress)

    def answer_frame(
        self, number: float, degrees: float, request: gr.Request, progress: gr.Progress = PROGRESS
    ) -> tuple:
        """Answer another frame of a video."""
        session = self._found(request)
        if session.frames:
            chosen = min(max(0, round(number) - 1), len(session.frames) - 1)
            session.looked_at = Path(session.frames[chosen][0])
        return self._answered(request, degrees, progress)

    def forget(self, request: gr.Request) -> None:
        """The page was left, or its upload taken away."""
        self._sessions.forget(request.session_hash)

    def _take(self, request: gr.Request, file: Path) -> None:
        try:
            self._sessions.take(request.session_hash, file)
        except UserError as error:
            raise _shown(error) from None

    def _found(self, request: gr.Request) -> Session:
        try:
            return self._sessions.find(request.session_hash)
        except UserError as error:
            raise _shown(error) from None

    def _answered(self, request: gr.Request, degrees: float | None, progress: gr.Progress) -> tuple:
        session = self._found(request)
        job = Job(str(session.folder), str(session.looked_at), degrees)
        try:
            answer = self._worker.answer(job, lambda share: progress(share, desc="Frames"))
        except UserError as error:
            self._sessions.forget(request.session_hash)
            raise _shown(error) from None
        finally:
            session.upload.unlink(missing_ok=True)
        if answer.frames:
            session.frames = answer.frames
            session.looked_at = Path(answer.frames[len(answer.frames) // 2][0])
        elif not session.frames:
            session.looked_at = Path(answer.picture)
        return _updates(answer, session.frames)


def _updates(answer: Answer, frames: tuple[tuple[str, float], ...]) -> tuple:
    """The values of the page's outputs, in the order in which `build_page` lists them."""
    readings = answer.readings | {"url": f"/gradio_api/file={answer.coloured}"}
    video = gr.Video(value=answer.video, visible=True) if answer.video else gr.skip()
    if not frames:
        video = gr.Video(value=None, visible=False)
    number = gr.skip()
    if answer.frames:
        number = gr.Slider(value=len(frames) // 2 + 1, maximum=len(frames), visible=len(frames) > 1)
    elif not frames:
        number = gr.Slider(visible=False)
    return (
        (answer.picture, answer.coloured),
        readings,
        gr.Model3D(value=answer.turned, camera_position=(*SEEN_FROM, 1.1 * answer.extent)),
        gr.DownloadButton(value=answer.png16, interactive=answer.png16 is not None),
        gr.DownloadButton(value=answer.npy, interactive=True),
        gr.DownloadButton(value=answer.ply, interactive=True),
        gr.Slider(value=round(answer.degrees), interactive=True),
        answer.said,
        video,
        number,
    )


def _shown(error: UserError) -> gr.Error:
    return gr.Error(str(error), print_exception=False, duration=20)


def example_files() -> list[Path]:
    """The pictures that come with the page, made by our simulator."""
    with as_file(files("egodepth") / EXAMPLES) as folder:
        return sorted(folder.iterdir())


def build_page(model: str, facts: ShownModel, worker: Worker, sessions: Sessions, limits: WebLimits) -> gr.Blocks:
    """The page of a model."""
    examples = example_files()
    handlers = Handlers(worker, sessions, examples)
    unit = "metres" if facts.is_metric else "up to scale: right up to one unknown factor"
    with gr.Blocks(title="egodepth", delete_cache=(FEW_SECONDS, AGE_S), analytics_enabled=False) as page:
        gr.Markdown(f"# Depth from one picture\nModel **{_plain(model)}**, depth in {unit}.")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                gr.Markdown(
                    f"A picture, or a video of {limits.video_seconds:g} seconds; {limits.upload_mb:g} MB at most."
                )
                upload = refusing_addresses(gr.File(show_label=False, height=150, elem_id="upload"))
                gr.Markdown("Or an example, made by our simulator.")
                gallery = gr.Gallery(
                    value=[str(path) for path in examples],
                    show_label=False,
                    columns=4,
                    allow_preview=False,
                    object_fit="cover",
                    height="auto",
                    interactive=False,
                    buttons=[],
                    elem_id="examples",
                )
            with gr.Column(scale=3, min_width=300):
                with gr.Tabs():
                    with gr.Tab("Compare"):
                        slider = gr.ImageSlider(
                            show_label=False,
                            interactive=False,
                            type="filepath",
                            buttons=["fullscreen"],
                            max_height=600,
                            elem_id="compare",
                        )
                    with gr.Tab("Distances"):
                        readings = gr.HTML(
                            html_template=READINGS,
                            js_on_load=(files(__package__) / "readings.js").read_text(encoding="utf-8"),
                            apply_default_css=False,
                            elem_id="distances",
                        )
                    with gr.Tab("Points"):
                        turned = gr.Model3D(
                            show_label=False,
                            display_mode="point_cloud",
                            camera_position=(*SEEN_FROM, None),
                            interactive=False,
                            height=380,
                            buttons=[],
                            elem_id="points",
                        )
                said = gr.Markdown(elem_id="said")
                number = gr.Slider(1, 2, step=1, label="Frame of the video", visible=False, elem_id="frame")
                degrees = gr.Slider(
                    *DEGREES,
                    value=UNKNOWN_DEGREES,
                    step=1,
                    label="Field of view, degrees",
                    info="From left to right. "
                    + ("Metres depend on it." if facts.knows_camera else "It shapes the points."),
                    interactive=False,
                    elem_id="degrees",
                )
                with gr.Row():
                    png16 = gr.DownloadButton("Depth (PNG)", **DOWNLOAD, elem_id="png16")
                    npy = gr.DownloadButton("Depth (NumPy)", **DOWNLOAD, elem_id="npy")
                    ply = gr.DownloadButton("Points (PLY)", **DOWNLOAD, elem_id="ply")
                video = gr.Video(show_label=False, visible=False, interactive=False, elem_id="video")
        gr.Markdown(
            f"Takes {TAKEN}. What you upload stays on the machine that serves this page and goes when you leave, or "
            f"{limits.kept_minutes:g} minutes later at most. Not for decisions on which safety depends."
        )
        outputs = [slider, readings, turned, png16, npy, ply, degrees, said, video, number]
        ask = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}
        at_once = {"queue": False, "api_visibility": "private"}
        upload.upload(handlers.take_upload, [upload], None, **at_once).success(
            handlers.answer_new, None, outputs, show_progress_on=[slider], **ask
        )
        gallery.select(handlers.take_example, None, [upload], **at_once).success(
            handlers.answer_new, None, outputs, show_progress_on=[slider], **ask
        )
        degrees.release(handlers.answer_again, [degrees], outputs, show_progress_on=[slider], **ask)
        number.release(handlers.answer_frame, [number, degrees], outputs, show_progress_on=[slider], **ask)
        upload.clear(handlers.forget, None, None, **at_once)
        page.unload(handlers.forget)
    return page.queue(max_size=limits.waiting)


def _plain(text: str) -> str:
    """A name as Markdown shows it letter by letter."""
    return "".join(letter if letter.isalnum() or letter in "/.- " else f"&#{ord(letter)};" for letter in text)
