"""The fields of a prediction. Every output derives from this table: JSON, CSV, Parquet, OpenAPI and the web page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from covidcxr.labels import LABELS, PointName
from covidcxr.prediction.flags import FlagCode
from covidcxr.prediction.verdict import Verdict

if TYPE_CHECKING:
    from covidcxr.prediction.artifact import Artifact
    from covidcxr.prediction.predictor import Prediction

Schema = dict[str, Any]
"""A JSON schema (draft 2020-12, as in OpenAPI 3.1)."""


class ColumnType(StrEnum):
    """The types of the columns of a table of predictions. Every column may also be empty."""

    TEXT = "text"
    TEXTS = "texts"
    NUMBER = "number"
    BOOLEAN = "boolean"


@dataclass(frozen=True)
class Column:
    """A column of a table of predictions: CSV, Parquet, pandas.

    Attributes:
        name: Heading.
        type: Type of its values.
        path: Keys and indices that lead from the JSON object to the value; a key applied to a list of objects collects
            the key's value of each.
    """

    name: str
    type: ColumnType
    path: tuple[str | int, ...]

    def value(self, answer: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as its type says
        """Return this column's value for the JSON object of a prediction or an error; None if empty."""
        found: Any = answer
        for step in self.path:
            if isinstance(found, Mapping):
                found = found.get(step)
            elif found is not None:
                found = found[step] if isinstance(step, int) else [item[step] for item in found]
        return found


@dataclass(frozen=True)
class PredictionField:
    """A field of a prediction.

    Attributes:
        name: Key in JSON.
        description: One sentence for the reader of a schema.
        schema: JSON schema of its value.
        get: Returns its JSON value for a prediction.
        columns: Type of its one column in tables, or a function that returns its columns for a model.
    """

    name: str
    description: str
    schema: Schema
    get: "Callable[[Prediction], Any]"
    columns: "ColumnType | Callable[[Artifact], Sequence[Column]]"

    def columns_for(self, artifact: "Artifact") -> Sequence[Column]:
        """Return its columns in tables of a model's predictions."""
        if isinstance(self.columns, ColumnType):
            return [Column(self.name, self.columns, (self.name,))]
        return self.columns(artifact)


def or_null(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def object_schema(properties: Mapping[str, Schema], *, optional: Sequence[str] = ()) -> Schema:
    """Return the schema of an object; all properties but the optional ones are required."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": dict(properties)}


TEXT: Final[Schema] = {"type": "string"}
SHARE: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1}
LABEL: Final[Schema] = {"type": "string", "enum": [str(label) for label in LABELS]}
INTERVAL: Final[Schema] = {"type": "array", "items": SHARE, "minItems": 2, "maxItems": 2}

T = ColumnType  # short for the table
FIELDS: Final = (
    PredictionField(
        "label", "Most probable class; null if the model declines to answer.", or_null(LABEL), lambda p: p.label, T.TEXT
    ),
    PredictionField(
        "probabilities",
        "Probability of every class of the model; they sum to 1.",
        {"type": "object", "propertyNames": LABEL, "additionalProperties": SHARE},
        lambda p: {str(label): value for label, value in p.probabilities.items()},
        lambda artifact: [Column(str(name), T.NUMBER, ("probabilities", str(name))) for name in artifact.labels],
    ),
    PredictionField(
        "operating_points",
        "Thresholds on the probability of COVID-19, and whether the image reaches them.",
        {
            "type": "object",
            "propertyNames": {"enum": [str(name) for name in PointName]},
            "additionalProperties": object_schema({"threshold": SHARE, "positive": {"type": "boolean"}}),
        },
        lambda p: {str(name): asdict(call) for name, call in p.operating_points.items()},
        lambda artifact: [
            Column(str(point.name), T.BOOLEAN, ("operating_points", str(point.name), "positive"))
            for point in artifact.operating_points
        ],
    ),
    PredictionField(
        "interval",
        "Interval of the probability of COVID-19; null if the model has none.",
        or_null(INTERVAL),
        lambda p: p.interval,
        lambda _: [Column(f"interval_{end}", T.NUMBER, ("interval", at)) for at, end in enumerate(("low", "high"))],
    ),
    PredictionField(
        "prediction_set",
        "Classes that remain possible; null if the model has no such sets.",
        or_null({"type": "array", "items": LABEL}),
        lambda p: p.prediction_set,
        T.TEXTS,
    ),
    PredictionField(
        "abstained", "Whether the model declines to answer.", {"type": "boolean"}, lambda p: p.abstained, T.BOOLEAN
    ),
    PredictionField("reason", "Why the model declines; null if it answers.", or_null(TEXT), lambda p: p.reason, T.TEXT),
    PredictionField(
        "flags",
        "What to know before using the prediction, the most important first.",
        {
            "type": "array",
            "items": object_schema(
                {"code": {"type": "string", "enum": [str(code) for code in FlagCode]}, "text": TEXT}
            ),
        },
        lambda p: [{"code": flag.code, "text": flag.text} for flag in p.flags],
        lambda _: [Column("flags", T.TEXTS, ("flags", "code"))],
    ),
    PredictionField(
        "lung_share",
        "Share of the activation map that lies in the lungs; null without a map.",
        or_null(SHARE),
        lambda p: p.lung_share,
        T.NUMBER,
    ),
    PredictionField("model", "Name of the model and start of its file's sha256.", TEXT, lambda p: p.model, T.TEXT),
    PredictionField(
        "audit",
        "Verdict of the model's shortcut audit, its date, and a sentence for every test that did not pass; null if "
        "the model was never audited.",
        or_null(
            object_schema(
                {
                    "verdict": {"enum": [str(verdict) for verdict in Verdict]},
                    "date": TEXT,
                    "says": {"type": "array", "items": TEXT},
                }
            )
        ),
        lambda p: p.audit.to_dict() if p.audit else None,
        lambda _: [Column("audit", T.TEXT, ("audit", "verdict"))],
    ),
)
"""In the order of JSON keys and table columns; the path of the image comes before them, the error of a row after."""

PATH: Final[Schema] = {**TEXT, "description": "Path or name of the image, as the user gave it."}
ERROR: Final[Schema] = {**TEXT, "description": "Why the file could not be scored."}


def to_object(prediction: "Prediction", path: str) -> dict[str, Any]:
    """Return the JSON object for the prediction of the image called ``path``."""
    return {"path": path} | {field.name: field.get(prediction) for field in FIELDS}


def error_object(path: str, error: str) -> dict[str, Any]:
    """Return the JSON object for a file that could not be scored."""
    return {"path": path, "error": error}


def columns(artifact: "Artifact") -> tuple[Column, ...]:
    """Return the columns of a table of a model's predictions: ``path``, the fields, ``error``.

    Apply Column.value to objects of to_object and error_object.
    """
    inner = [column for field in FIELDS for column in field.columns_for(artifact)]
    return (Column("path", ColumnType.TEXT, ("path",)), *inner, Column("error", ColumnType.TEXT, ("error",)))


def cell(value: object) -> object:
    """Return a column's value as CSV holds it: lists joined by spaces, ``true`` and ``false``, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(value) if isinstance(value, list | tuple) else value


def prediction_schema() -> Schema:
    """Return the JSON schema of what to_object returns."""
    properties = {field.name: {**field.schema, "description": field.description} for field in FIELDS}
    return object_schema({"path": PATH, **properties})


def error_schema() -> Schema:
    """Return the JSON schema of what error_object returns."""
    return object_schema({"path": PATH, "error": ERROR})
