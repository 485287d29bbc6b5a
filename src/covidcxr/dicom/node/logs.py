"""The log of the DICOM commands: UIDs, application entity titles, addresses and reasons, never a value of a patient."""

import logging
import re
import sys
import threading

from covidcxr._logs import silence_libraries

_UID = re.compile(r"[0-9.]{1,64}")


def is_uid(value: str) -> bool:
    """Tell whether a text consists of digits and dots like a UID (PS3.5 section 9.1), so that it cannot be a name."""
    return _UID.fullmatch(value) is not None


def printable_title(value: str) -> str:
    """Return an application entity title without characters that could break a line of the log."""
    return "".join(letter if letter.isprintable() else "?" for letter in value.strip())[:16]


def configure(level: int = logging.INFO) -> None:
    """Set up logging to standard error for a process that runs one DICOM command.

    Libraries are silenced, and an error that ends a thread is logged by its type: their messages may quote a patient.
    """
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    silence_libraries()
    threading.excepthook = _log_type


def _log_type(args: threading.ExceptHookArgs) -> None:
    logging.getLogger(__name__).error("a thread ended: %s", args.exc_type.__name__)
