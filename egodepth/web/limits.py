"""What a page takes from its visitors, and how long it keeps what it made of it."""

from dataclasses import dataclass

from egodepth.errors import UserError


@dataclass(frozen=True)
class WebLimits:
    """What the page takes, and for how long.

    Attributes:
        upload_mb: largest file, in millions of bytes.
        megapixels: largest picture, in millions of pixels; a frame of a video may have a quarter of it.
        video_seconds: longest video.
        answer_seconds: an answer that takes longer is given up.
        waiting: answers that may wait for their turn; who comes later is sent away.
        kept_minutes: how long an answer is kept for a page that stays open. It goes at once when the page is left.
    """

    upload_mb: float = 50.0
    megapixels: float = 50.0
    video_seconds: float = 20.0
    answer_seconds: float = 60.0
    waiting: int = 20
    kept_minutes: float = 10.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise UserError(f"--{name.replace('_', '-')} {value:g}: must be above 0.")

    @property
    def upload_bytes(self) -> int:
        return round(self.upload_mb * 1e6)

    @property
    def picture_pixels(self) -> int:
        return round(self.megapixels * 1e6)

    @property
    def frame_pixels(self) -> int:
        return self.picture_pixels // 4
