"""Serving the page: where it listens, where its files lie, and what its answers may load. Needs the extra `web`."""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from egodepth.errors import UserError, first_line
from egodepth.web.limits import WebLimits
from egodepth.web.sessions import Sessions
from egodepth.web.worker import Worker

LOCAL = "127.0.0.1"

FOUND_EVERYWHERE = ("0.0.0.0", "::")

POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; frame-ancestors 'self'; form-action 'self'"
)
"""What the browser may load for the page: nothing from anywhere else. Gradio's scripts need inline ones and eval."""

AROUND_BYTES = 1_000_000
"""What a request may have around an upload, and one without may have in all: enough for every event of the page."""

FOREIGN = ("/file=http:", "/file=https:", "/proxy=", "/deep_link")
"""Requests of Gradio's by which a visitor would have this machine fetch something, or keep something."""


class Guard:
    """ASGI middleware: refuses what makes this machine fetch from others, and forbids the same to the browser.

    Refuses bodies larger than one upload, too: Gradio looks at the size of each file, of which there may be a thousand.
    """

    def __init__(self, app: Callable, most_bytes: int) -> None:
        self.app = app
        self.most_bytes = most_bytes

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused = self._refused(scope)
        if refused is not None:
            await send({"type": "http.response.start", "status": refused, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return

        async def answer(message: dict) -> None:
            if message["type"] == "http.response.start":
                more = {
                    b"content-security-policy": POLICY.encode(),
                    b"x-content-type-options": b"nosniff",
                    b"referrer-policy": b"no-referrer",
                }
                message = {**message, "headers": [*message["headers"], *more.items()]}
            await send(message)

        await self.app(scope, receive, answer)

    def _refused(self, scope: dict) -> int | None:
        """The status by which a request is refused; None where it is not."""
        if any(part in scope["path"] for part in FOREIGN):
            return 403
        if scope["method"] != "POST":
            return None
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit():
            return 411
        return 413 if int(length) > self.most_bytes else None


@dataclass
class Server:
    """A page that is being served.

    Attributes:
        url: where a browser on this machine finds it.
        folder: that holds all its files, and goes with it.
    """

    url: str
    folder: Path
    _close: Callable[[], None]

    def close(self) -> None:
        """End the page, its worker and its files."""
        self._close()


def serve(model: str, device: str, host: str, port: int, limits: WebLimits) -> Server:
    """Serve a page for a model until it is closed.

    Args:
        port: 0 takes one that is free.

    Raises:
        UserError: the extra is not installed, there is no such model, or the port is taken.
    """
    folder = Path(tempfile.mkdtemp(prefix="egodepth-page-")).resolve()
    worker = Worker(model, device, limits)
    stopped = threading.Event()
    pages = []

    def close() -> None:
        stopped.set()
        for page in pages:
            page.close(verbose=False)
        worker.close()
        shutil.rmtree(folder, ignore_errors=True)

    try:
        gradio = _imported(folder / "uploads")
        from egodepth.web.page import CSS, THEME, build_page

        facts = worker.start()
        sessions = Sessions(folder / "answers", 60 * limits.kept_minutes)
        threading.Thread(target=sessions.sweep_for_ever, args=(stopped,), daemon=True).start()
        page = build_page(model, facts, worker, sessions, limits)
        gradio.set_static_paths([folder / "answers"])
        pages.append(page)
        _, url, _ = page.launch(
            server_name=host,
            server_port=port or _free_port(host),
            max_file_size=limits.upload_bytes,
            app_kwargs={"middleware": _middleware(host, limits)},
            share=False,
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            state_session_capacity=200,
            theme=THEME,
            css=CSS,
            quiet=True,
            prevent_thread_lock=True,
            inbrowser=False,
        )
    except OSError as error:
        close()
        raise UserError(f"--port {port}: cannot be listened at ({first_line(error)}). Take another.") from error
    except BaseException:
        close()
        raise
    return Server(url, folder, close)


def _imported(uploads: Path) -> ModuleType:
    """Gradio, told before it is imported where uploads go and that nothing is reported to anybody.

    Raises:
        UserError: it is not installed.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    for name in ("GRADIO_ALLOWED_PATHS", "GRADIO_SHARE", "GRADIO_MCP_SERVER", "GRADIO_ROOT_PATH"):
        os.environ.pop(name, None)
    try:
        import gradio
    except ImportError as error:
        raise UserError("egodepth serve needs Gradio: pip install 'egodepth[web]'.") from error
    return gradio


def _middleware(host: str, limits: WebLimits) -> list:
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    guards = [Middleware(Guard, most_bytes=limits.upload_bytes + AROUND_BYTES)]
    if host not in FOUND_EVERYWHERE:
        # A name of somebody else's that leads to this address would let their page read ours.
        guards.append(Middleware(TrustedHostMiddleware, allowed_hosts=[host, "localhost", LOCAL]))
    return guards


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]
