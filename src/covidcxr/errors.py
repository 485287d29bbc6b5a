"""The errors of covidcxr. Messages about input say "Expected ... Received ..." and name the file."""

from importlib.util import find_spec


class CovidCxrError(Exception):
    """Base of all errors with a message meant for the user."""


class ImageError(CovidCxrError):
    """An image cannot be scored: broken, empty, too large, or of an unsupported kind."""


class ManifestError(CovidCxrError):
    """A manifest, or the metadata of a collection, violates its contract."""


class RecipeError(CovidCxrError):
    """A training recipe or run folder violates its contract."""


class ArtifactError(CovidCxrError):
    """A model file cannot be loaded, or lacks or contradicts the contract in its metadata."""


class DownloadError(CovidCxrError):
    """A download failed after all retries, or its checksum is wrong."""


class LockedError(CovidCxrError):
    """Another process is using a folder that only one process may use at a time."""


class BatchError(CovidCxrError):
    """A batch cannot be planned, resumed or finished."""


class MissingExtraError(CovidCxrError):
    """An optional dependency is not installed."""


def require_extra(extra: str, *modules: str) -> None:
    """Check that the optional dependencies of a command are installed.

    Args:
        extra: Name of the extra in pyproject.toml, such as ``train``.
        *modules: Import names from that extra.

    Raises:
        MissingExtraError: A module is missing; the message says what to install.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"This command needs {', '.join(missing)}. Install with: pip install 'covidcxr[{extra}]'"
        )
