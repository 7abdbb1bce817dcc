"""The first and the last moment of the process: signals while it imports, and what its modules need not pay.

Ctrl-C and SIGTERM while fleet starts end a run between two imports, never in one. A module that was broken off while
it was imported is half there, and what imports it next fails in strange ways: then there would be nothing to tell of
the interruption with.

Garbage is not looked for while modules come, as there is none, nor among them at the end, when the process goes: both
together were a quarter of the CPU of asking one server.
"""

from __future__ import annotations

import gc
import signal
import sys
from types import FrameType
from typing import NoReturn

_AGAIN = 0.005  # seconds until it is looked again whether the import has ended
_IMPORT = "<frozen importlib._bootstrap>"  # the file of the frames of every import


def take_signals() -> None:
    """Makes a KeyboardInterrupt of both, until a run has its own way of ending.

    To be called in the main thread. An ignored SIGINT, as a shell gives to what is in the background, stays ignored.
    """
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def forget_signals() -> None:
    """Drops a signal that waits for an import: the run has ended without it."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def begin() -> None:
    """Looks for no garbage until the command is there."""
    gc.disable()


def loaded() -> None:
    """From now on there is garbage, and never among what is there now; nothing where this process is not fleet's."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def leave(status: int) -> NoReturn:
    """Ends the process.

    Args:
        status: its exit status.
    """
    forget_signals()
    gc.freeze()
    sys.exit(status)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, after the import that is under way.

    Args:
        number: the signal.
        frame: where it came.
    """
    if not _imports(frame):
        raise KeyboardInterrupt

    def again(_number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(number)  # to whoever is in charge of it by then

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, _AGAIN)


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT:
            return True
        frame = frame.f_back
    return False
