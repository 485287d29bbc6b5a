"""What the web application needs of whoever decodes and scores: named here without any of what that takes.

A process that talks to clients holds no picture as an array and no model. It imports neither NumPy nor Pillow nor ONNX
Runtime, which would cost it much of its start and of its memory.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from covidcxr.errors import CovidCxrError


class Engine(Protocol):
    """Decodes and scores. Safe to share between threads.

    Attributes:
        model: Name and hash of the model file.
        artifact: What the file says about itself, as JSON has it: the fields of
        covidcxr.prediction.artifact.Artifact, and the
            verdict of the audit.
    """

    @property
    def model(self) -> str: ...  # noqa: D102

    @property
    def artifact(self) -> Mapping[str, Any]: ...  # noqa: D102

    def call(self, job: str, *arguments: Any) -> Any:  # noqa: ANN401 - each job has its own
        """Do one of the jobs of covidcxr.web.jobs, as soon as others leave room for it.

        Raises:
            CovidCxrError: What the job raises.
            EngineLostError: Whoever does the jobs is gone.
        """


class ReportError(CovidCxrError):
    """No DICOM report can be made about a file."""


class EngineLostError(CovidCxrError):
    """The process with the model ended before it answered."""
