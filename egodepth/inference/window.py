"""A window that shows frames with their depth, by Tk, which comes with Python."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
from PIL import Image

from egodepth.errors import UserError, first_line
from egodepth.inference.stream import Output, side_by_side
from egodepth.inference.video import SteadyRange

LARGEST = 1280, 900
"""Width and height of the window."""

NO_WINDOW = "there is no window to show depth in ({}). Use --to FILE.mp4, a folder, or - for standard output."


@contextmanager
def open_window() -> Iterator[Output]:
    """A window; closing it ends the stream.

    Raises:
        UserError: there is no display, or Python was built without Tk.
    """
    try:
        import tkinter

        from PIL import ImageTk
    except ImportError as error:
        raise UserError(NO_WINDOW.format(first_line(error))) from error
    try:
        root = tkinter.Tk()
    except (tkinter.TclError, RuntimeError) as error:
        raise UserError(NO_WINDOW.format(first_line(error))) from error
    root.title("egodepth")
    label = tkinter.Label(root)
    label.pack()
    colours = SteadyRange()

    class Window:
        def show(self, image: np.ndarray, depth: np.ndarray, seconds: float) -> bool:
            picture = Image.fromarray(side_by_side(image, depth, colours))
            picture.thumbnail(LARGEST)
            try:
                label.image = ImageTk.PhotoImage(picture, master=root)  # kept, or Tk shows nothing
                label.configure(image=label.image)
                root.update()
            except tkinter.TclError:  # it was closed
                return False
            return True

    try:
        yield Window()
    finally:
        with suppress(tkinter.TclError):  # it was closed already
            root.destroy()
