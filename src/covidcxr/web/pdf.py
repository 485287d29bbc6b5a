"""A one-page PDF about one image. Needs fpdf2; imported only on demand."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, cast

from fpdf import FPDF, XPos, YPos
from PIL import Image

from covidcxr import DISCLAIMER, __version__
from covidcxr._estimates import predictive_values
from covidcxr.images.grey import Grey
from covidcxr.prediction.heatmap import overlay
from covidcxr.web.pages.wording import CLASS_NAMES, INTERVAL, VERDICTS, percent

if TYPE_CHECKING:
    from covidcxr.labels import Label
    from covidcxr.prediction.artifact import Artifact, OperatingPoint
    from covidcxr.prediction.conformal import Conformal
    from covidcxr.prediction.predictor import Prediction

MARGIN = 15.0
"""Millimetres, like all lengths here."""
WIDTH, HEIGHT = 210.0, 297.0
GAP = 6.0
TALLEST = 92.0
"""Height limit of the pictures."""
LINE = 5.0
FOOT = 24.0
"""Height reserved at the bottom for the model and the date."""
PICTURE_SIDE = 1024
"""Pixels of the longer side of an embedded picture."""
JPEG_QUALITY = 88
INK, SOFT, TRACK, ACCENT = (22, 33, 43), (85, 99, 111), (230, 235, 238), (15, 118, 110)
WARN_GROUND, WARN_INK = (255, 243, 208), (83, 63, 3)
LONGEST_NAME = 90
"""Characters of a file name that are shown."""


def render_pdf(grey: Grey, prediction: "Prediction", artifact: "Artifact", name: str, prevalence: float) -> bytes:
    """Create the page about an image.

    Args:
        grey: The image: uint8, shape (height, width).
        prediction: Prediction for the image.
        artifact: Metadata of the model.
        name: File name to show.
        prevalence: Share of people with COVID-19 for the predictive values, above 0 and below 1.

    Returns:
        Content of the PDF file.
    """
    page = _Page(format="A4")
    page.head(name)
    page.pictures(grey, prediction)
    page.verdict(prediction)
    if not prediction.abstained:
        page.bars(prediction)
        page.sureness(prediction, artifact.conformal)
        page.points(prediction, artifact.operating_points, prevalence)
    page.notes(prediction)
    page.audit(prediction)
    page.foot(prediction)
    return bytes(page.output())


class _Page(FPDF):
    """A page filled from the top; paragraphs that do not fit are left out, and the page says so."""

    def __init__(self, **options: str) -> None:
        super().__init__(unit="mm", **options)  # type: ignore[arg-type]
        self.set_auto_page_break(False)
        self.set_margins(MARGIN, MARGIN)
        self.set_title("covidcxr: result for one image")
        self.set_creator(f"covidcxr {__version__}")
        self.set_lang("en")
        self.c_margin = 0  # aligns text with pictures
        self.add_page()
        self._cut = False

    @property
    def left(self) -> float:
        """Free height above the footer, in millimetres."""
        return HEIGHT - FOOT - self.get_y()

    def line_of(self, text: str, *, size: float = 10, bold: bool = False, ink: Sequence[int] = INK) -> None:
        """Write a paragraph over the whole width if it fits."""
        self.set_font("Helvetica", "B" if bold else "", size)
        self.set_text_color(*ink)
        height = LINE * size / 10
        needed = cast(float, self.multi_cell(0, height, _latin(text), dry_run=True, output="HEIGHT"))
        if needed > self.left:
            self._cut = True
        else:
            self.multi_cell(0, height, _latin(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")

    def head(self, name: str) -> None:
        self.set_fill_color(*WARN_GROUND)
        self.set_text_color(*WARN_INK)
        self.set_font("Helvetica", "B", 9)
        self.multi_cell(
            0, LINE, _latin(DISCLAIMER), fill=True, align="C", new_x=XPos.LMARGIN, new_y=YPos.NEXT, padding=2
        )
        self.ln(4)
        self.line_of(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 3] + "...", size=14, bold=True)
        self.ln(2)

    def pictures(self, grey: Grey, prediction: "Prediction") -> None:
        picture = Image.fromarray(grey)
        picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        shown: list[tuple[str, Image.Image]] = [("The image as uploaded", picture)]
        if prediction.activation_map is not None:
            where = f"Where the evidence for {CLASS_NAMES[_label(prediction)]} is, relative to this image"
            shown.append((where, overlay(grey, prediction.activation_map, max_side=PICTURE_SIDE)))
        room = (WIDTH - 2 * MARGIN - GAP) / 2
        height = min(TALLEST, room * picture.height / picture.width)
        width = height * picture.width / picture.height
        top = self.get_y()
        for column, (caption, image) in enumerate(shown):
            x = MARGIN + column * (room + GAP)
            self.image(_jpeg(image), x, top, width, height, alt_text=caption)
            self.set_xy(x, top + height + 1)
            self.set_font("Helvetica", "", 8)
            self.set_text_color(*SOFT)
            self.cell(room, 4, _latin(caption))
        self.set_xy(MARGIN, top + height + 8)

    def verdict(self, prediction: "Prediction") -> None:
        if prediction.abstained:
            self.line_of("The model declines to answer", size=15, bold=True)
            self.line_of(prediction.reason or "")
        else:
            self.line_of(f"Most like {CLASS_NAMES[_label(prediction)]}", size=15, bold=True)
        self.ln(1.5)

    def bars(self, prediction: "Prediction") -> None:
        left, length = MARGIN + 38, WIDTH - 2 * MARGIN - 56
        for label, share in prediction.probabilities.items():
            most = label == prediction.label
            y = self.get_y()
            self.set_font("Helvetica", "B" if most else "", 10)
            self.set_text_color(*INK)
            self.cell(38, LINE + 1, CLASS_NAMES[label])
            for colour, part in ((TRACK, 1.0), (ACCENT if most else SOFT, share)):
                self.set_fill_color(*colour)
                self.rect(left, y + 1.5, max(length * part, 0.2), 3, "F")
            self.set_xy(left + length, y)
            self.cell(18, LINE + 1, percent(share), align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(1.5)

    def sureness(self, prediction: "Prediction", conformal: "Conformal | None") -> None:
        if conformal is None or prediction.prediction_set is None:
            return
        names = " or ".join(CLASS_NAMES[label] for label in prediction.prediction_set) or "none of the classes"
        self.line_of(
            f"What remains possible: {names}. The true class is among the possible ones in "
            f"{100 * conformal.coverage:.0f} % of images from collections like the training data."
        )
        if prediction.interval:
            low, high = map(percent, prediction.interval)
            self.line_of(
                f"Share with COVID-19 among validation images with a similar score: {low} to {high}. {INTERVAL}"
            )

    def points(self, prediction: "Prediction", points: "Sequence[OperatingPoint]", prevalence: float) -> None:
        for point in points:
            positive = prediction.operating_points[point.name].positive
            self.line_of(
                f"{'Above' if positive else 'Below'} the {point.name} threshold of {100 * point.threshold:.1f} % for "
                f"COVID-19: {_predictive_value(point, prevalence, positive=positive)} where {100 * prevalence:.1f} % "
                "of people have COVID-19."
            )

    def notes(self, prediction: "Prediction") -> None:
        for flag in prediction.flags:
            if flag.text != prediction.reason:
                self.line_of(f"Note: {flag.text}", bold=True)
        if prediction.lung_share is not None:
            self.line_of(f"{percent(prediction.lung_share)} of the activation map is in the lungs.")
        self.ln(1.5)

    def audit(self, prediction: "Prediction") -> None:
        if prediction.audit is None:
            self.line_of("This model was never audited.", ink=SOFT)
            return
        outcome = prediction.audit.to_dict()
        self.line_of(f"Audit of this model ({outcome['date']}): {VERDICTS[outcome['verdict']]}.", bold=True)
        for sentence in outcome["says"]:
            self.line_of(f"- {sentence}", size=8.5, ink=SOFT)

    def foot(self, prediction: "Prediction") -> None:
        self.set_y(HEIGHT - FOOT + 4)
        self.set_draw_color(*TRACK)
        self.line(MARGIN, self.get_y() - 2, WIDTH - MARGIN, self.get_y() - 2)
        cut = " Some sentences did not fit on this page." if self._cut else ""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        self.set_font("Helvetica", "", 8)
        self.set_text_color(*SOFT)
        texts = (
            f"Model {prediction.model} (name and hash of its file), covidcxr {__version__}, {now}.{cut}",
            "High accuracy on the collections a model was built from does not mean that it works in your hospital.",
        )
        for text in texts:
            self.cell(0, 4, _latin(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _jpeg(image: Image.Image) -> BytesIO:
    """Encode a picture as JPEG, which makes the file ten times smaller."""
    file = BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return file


def _predictive_value(point: "OperatingPoint", prevalence: float, *, positive: bool) -> str:
    """Return PPV above the threshold and NPV below it, by Bayes' rule."""
    ppv, npv = predictive_values(prevalence, point.sensitivity, point.specificity)
    name, value = ("PPV", ppv) if positive else ("NPV", npv)
    return f"{name} none" if math.isnan(value) else f"{name} {percent(value, 1)}"


def _label(prediction: "Prediction") -> "Label":
    if prediction.label is None:
        raise ValueError("Expected an answer. Received a prediction that declines.")
    return prediction.label


def _latin(text: str) -> str:
    """Replace characters that the fonts of every PDF reader lack."""
    return text.encode("latin-1", "replace").decode("latin-1")
