"""Logging set-up shared by the commands."""

import logging
import warnings

_QUOTING = ("pydicom", "pynetdicom", "highdicom", "dicomweb_client", "PIL", "urllib3")


def silence_libraries() -> None:
    """Silence warnings and logs of libraries, which quote what they read, such as a patient's name."""
    warnings.simplefilter("ignore")
    for name in _QUOTING:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
