"""The one process in which the model runs and uploads are decoded.

A file that makes a decoder hang or fall over takes this process with it, not the page: it is ended when its time is
over, and another one is started.
"""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from egodepth.errors import UserError
from egodepth.processors import available_processors
from egodepth.web.answers import Answer, Job, answer
from egodepth.web.limits import WebLimits

START_SECONDS = 300.0
"""Importing PyTorch and reading a large model takes this long at worst."""


@dataclass(frozen=True)
class ShownModel:
    """What the page says of its model.

    Attributes:
        is_metric: whether depth is in metres.
        knows_camera: whether metres depend on the field of view.
    """

    is_metric: bool
    knows_camera: bool


class Worker:
    """Answers jobs, one at a time, in a process of its own.

    Args:
        model: what `egodepth.load` takes.
    """

    def __init__(self, model: str, device: str, limits: WebLimits) -> None:
        self._start = model, device, limits
        self._seconds = limits.answer_seconds
        self._turn = threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def start(self) -> ShownModel:
        """Load the model.

        Raises:
            UserError: there is no such model, or it cannot be read.
        """
        with self._turn:
            return ShownModel(**self._started())

    def answer(self, job: Job, progress: Callable[[float], None]) -> Answer:
        """Answer a job, after those that came before it.

        Raises:
            UserError: the upload cannot be answered, or takes too long.
        """
        with self._turn:
            if self._process is None:
                self._started()
            self._connection.send_bytes(json.dumps(vars(job)).encode())
            found = self._received(self._seconds, progress)
            frames = tuple((path, seconds) for path, seconds in found.pop("frames"))
            return Answer(**found, frames=frames)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = self._connection = None

    def _started(self) -> dict:
        # A fork would copy the locks of the server's threads in whatever state they are.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._start), daemon=True)
        self._process.start()
        theirs.close()
        try:
            return self._received(START_SECONDS, lambda share: None)
        except UserError:
            self.close()
            raise

    def _received(self, seconds: float, progress: Callable[[float], None]) -> dict:
        """The worker's next result. Where there is none in time, it is ended."""
        end = time.monotonic() + seconds
        while True:
            try:
                if not self._connection.poll(max(0.0, end - time.monotonic())):
                    self.close()
                    raise UserError(f"this takes longer than {seconds:g} seconds and was stopped. Take less.")
                # JSON and no pickle: what has decoded foreign files is not trusted with objects.
                message = json.loads(self._connection.recv_bytes())
            except (EOFError, OSError):
                self.close()
                raise UserError("this file brought its decoder down. Convert it with another program.") from None
            if "progress" in message:
                progress(message["progress"])
            elif "error" in message:
                raise UserError(message["error"])
            else:
                return message["result"]


def _serve(connection: Connection, model: str, device: str, limits: WebLimits) -> None:
    """In the worker's process: load the model, then answer until the page goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the page's to answer
    os.environ.setdefault("OMP_NUM_THREADS", str(available_processors()))
    import egodepth

    def send(**message: object) -> None:
        connection.send_bytes(json.dumps(message).encode())

    try:
        predictor = egodepth.load(model, device)
    except UserError as error:
        send(error=str(error))
        return
    send(result={"is_metric": predictor.is_metric, "knows_camera": predictor.focal is not None})
    while True:
        try:
            job = Job(**json.loads(connection.recv_bytes()))
        except EOFError:
            return
        try:
            found = answer(predictor, job, limits, lambda share: send(progress=share))
        except UserError as error:
            send(error=str(error))
        except Exception as error:  # of a decoder that knows no better; the next visitor's file is another
            send(error=f"this file cannot be answered ({type(error).__name__}). Convert it with another program.")
        else:
            send(result=vars(found))
