"""The folders of those who have the page open: what they uploaded, and what was made of it.

A session's folder has a name that nobody can guess and that no request has a say in.
"""

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from egodepth.errors import UserError

SWEPT_EVERY_S = 15.0


@dataclass
class Session:
    """One visitor's latest upload.

    Attributes:
        folder: of its own.
        upload: the file as it came; it is gone once it is answered.
        looked_at: the picture that answers are of: the upload, or a frame of it.
        frames: of a video, see `Answer`.
        began: by the clock.
    """

    folder: Path
    upload: Path
    looked_at: Path
    began: float
    frames: tuple[tuple[str, float], ...] = ()


class Sessions:
    """All sessions, by the key that the page gives each.

    Args:
        root: folder that holds theirs.
        kept_s: after so long a session is forgotten, even where its page stays open.
    """

    def __init__(self, root: Path, kept_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._kept_s = kept_s
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        root.mkdir(parents=True, exist_ok=True)

    def take(self, key: str, file: Path) -> Session:
        """Begin a session anew with an upload, which becomes a file of its own here.

        Two visitors who upload the same bytes share one file in Gradio's folder; neither may take it from the other.

        Raises:
            UserError: the file is gone.
        """
        self.forget(key)
        folder = self._root / secrets.token_urlsafe(16)
        folder.mkdir(mode=0o700)
        upload = folder / file.name
        try:
            try:
                os.link(file, upload)
            except OSError:  # the examples lie on another disk, perhaps
                shutil.copyfile(file, upload)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise UserError(f"{file.name}: is not here any more. Upload it again.") from error
        session = Session(folder, upload, upload, self._clock())
        with self._lock:
            self._sessions[key] = session
        return session

    def find(self, key: str) -> Session:
        """The session of a key.

        Raises:
            UserError: there is none, or it was forgotten.
        """
        with self._lock:
            session = self._sessions.get(key)
        if session is None:
            raise UserError("the picture is not here any more. Upload it again.")
        return session

    def forget(self, key: str) -> None:
        """Remove all that there is of a session."""
        with self._lock:
            session = self._sessions.pop(key, None)
        if session is not None:
            shutil.rmtree(session.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Forget the sessions that are too old."""
        oldest = self._clock() - self._kept_s
        with self._lock:
            old = [key for key, session in self._sessions.items() if session.began < oldest]
        for key in old:
            self.forget(key)

    def sweep_for_ever(self, stopped: threading.Event) -> None:
        """`sweep` again and again, in a thread of its own."""
        while not stopped.wait(SWEPT_EVERY_S):
            self.sweep()
