"""Errors that the user can put right: one clear line, no traceback, exit code 2; and a stop that was asked for."""

import re
import signal

UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""What moves a terminal's cursor, colours it, turns the direction of writing, or cannot be encoded at all."""

LONGEST_MESSAGE = 1200


class UserError(Exception):
    """Something in the input or the call that the user can put right.

    The message is one line that names the thing (file, option, recipe), says what was found and what was
    expected, and ends with what to do about it. Names and text from files are part of it, so it is kept `printable`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class Stopped(Exception):
    """A training that was asked to stop by a signal, and has saved where it is.

    Attributes:
        exit_code: 128 and the signal's number, as shells have it.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message, number)
        self.message = printable(message)
        self.exit_code = 128 + signal.Signals(number)


def printable(text: str) -> str:
    """Text that may come from a stranger's file, for a terminal or a log: one line, and not longer than a screen.

    Control characters are written as escapes; what is too long loses its middle.
    """
    text = UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text.strip())
    if len(text) <= LONGEST_MESSAGE:
        return text
    half = LONGEST_MESSAGE // 2
    return f"{text[:half]} … {text[-half:]}"


def first_line(error: BaseException) -> str:
    """What an error of another program says, short enough for one line of ours."""
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0][:120])
