"""What may stand in a log: UIDs, application entity titles, addresses and reasons. Never a value of a patient."""

import logging
import re
import sys
import threading
import warnings

_UID = re.compile(r"[0-9.]{1,64}")
_LIBRARIES = ("pydicom", "pynetdicom", "highdicom", "dicomweb_client", "PIL", "urllib3", "peewee")


def is_uid(value: str) -> bool:
    """Tell whether a text is built like a UID (PS3.5 section 9.1), and so no name; components are not checked."""
    return _UID.fullmatch(value) is not None


def title(value: str) -> str:
    """Return an application entity title without the characters that could break a line of a log."""
    return "".join(letter if letter.isprintable() else "?" for letter in value.strip())[:16]


def start(level: int = logging.INFO) -> None:
    """Log to standard error, for a process that does nothing else.

    Libraries quote what they choke on, a patient's name for example, so nothing of theirs is written: neither their
    logs nor warnings nor the message of an error that ends a thread.
    """
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    warnings.simplefilter("ignore")
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    threading.excepthook = _log_type


def _log_type(args: threading.ExceptHookArgs) -> None:
    logging.getLogger(__name__).error("a thread ended: %s", args.exc_type.__name__)
