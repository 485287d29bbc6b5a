"""Draw docs/images/architecture.svg: every module of the package in its place, and how data flow."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

OUT = Path(__file__).parents[1] / "docs" / "images" / "architecture.svg"
LINE, HEAD = 17, 46
"""Pixels: height of a line of module names, and of a box above its first."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A part of the package.

    Attributes:
        title: What it does.
        modules: Modules and packages of covidcxr, without that prefix.
        x: Left edge in pixels.
        y: Top edge in pixels.
        width: In pixels.
        columns: Columns of module names.
        kind: Colour: ``data``, ``training``, ``file``, ``serving`` or ``judging``.
    """

    title: str
    modules: tuple[str, ...]
    x: int
    y: int
    width: int
    columns: int
    kind: str

    @property
    def height(self) -> int:
        """Height in pixels."""
        return HEAD + LINE * -(-len(self.modules) // self.columns)


BOXES = {
    "data": Box(
        title="Collections to manifest.csv",
        modules=(
            "sources", "download", "fetch", "collect", "duplicates", "alignment", "build", "splits", "manifest",
            "data_report",
        ),
        x=20, y=60, width=220, columns=2, kind="data",
    ),
    "training": Box(
        title="Training, with TensorFlow",
        modules=(
            "recipe", "selection", "dataset", "augmentation", "image_cache", "machine", "models", "training",
            "training_log", "opacities", "robust_head", "robust_training", "lungs", "lung_data", "lung_training",
            "lung_report", "gate_fit", "gate_pictures", "gate_training", "run_folder",
        ),
        x=290, y=40, width=250, columns=2, kind="training",
    ),
    "export": Box(
        title="Export, with TensorFlow", modules=("calibration", "export"), x=640, y=60, width=260, columns=2,
        kind="training",
    ),
    "file": Box(
        title="MODEL.onnx, the whole contract", modules=("artifact", "conformal", "gate", "flags", "verdict"),
        x=640, y=190, width=260, columns=3, kind="file",
    ),
    "prediction": Box(
        title="Prediction, without TensorFlow", modules=("predictor", "lung_masks", "heatmaps", "map_style", "inputs"),
        x=640, y=340, width=260, columns=2, kind="serving",
    ),
    "serving": Box(
        title="For people and IT", modules=("cli", "web", "dicom", "batch", "__main__"),
        x=940, y=340, width=180, columns=2, kind="serving",
    ),
    "judging": Box(
        title="Judging: scores, figures, audit",
        modules=(
            "scoring", "metrics", "controls", "leave_out", "evaluation", "cross_source", "uncertainty",
            "gate_evaluation", "audit", "report", "card",
        ),
        x=290, y=320, width=250, columns=2, kind="judging",
    ),
    "ground": Box(
        title="What all stand on",
        modules=("labels", "errors", "images", "dicom_pixels", "gdcm_frame", "memory", "cores", "phantom"),
        x=20, y=495, width=1100, columns=8, kind="data",
    ),
}  # fmt: skip
ARROWS = (
    ("data", "training", ""),
    ("training", "export", ""),
    ("export", "file", ""),
    ("file", "prediction", ""),
    ("prediction", "serving", ""),
    ("prediction", "judging", "scores"),
    ("data", "judging", "pictures"),
    ("judging", "file", "verdict"),
)
"""From, to, and what flows where it is not plain."""
COLOURS = {
    "data": "#e8eef7", "training": "#fdecd8", "file": "#fff6c2", "serving": "#e0f3e6", "judging": "#f1e4f5",
}  # fmt: skip
WIDTH, HEIGHT = 1140, 570


def draw() -> str:
    """Return the picture as SVG."""
    arrows = "\n".join(_arrow(BOXES[start], BOXES[end], says) for start, end, says in ARROWS)
    boxes = "\n".join(_box(box) for box in BOXES.values())
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"
  aria-label="Modules of covidcxr and how data flow" font-family="system-ui, sans-serif" font-size="13">
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0 10 5 0 10z" fill="#333"/></marker></defs>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
{arrows}
{boxes}
</svg>
"""


def _box(box: Box) -> str:
    step = (box.width - 20) // box.columns
    names = [
        f'<text class="module" x="{box.x + 12 + step * (place % box.columns)}" '
        f'y="{box.y + HEAD + LINE * (place // box.columns)}" font-family="ui-monospace, monospace" font-size="11.5">'
        f"{escape(name)}</text>"
        for place, name in enumerate(box.modules)
    ]
    head = (
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="8" fill="{COLOURS[box.kind]}" '
        f'stroke="#555"/>\n<text x="{box.x + 12}" y="{box.y + 22}" font-weight="600">{escape(box.title)}</text>'
    )
    return "\n".join([head, *names])


def _arrow(start: Box, end: Box, says: str) -> str:
    (x1, y1), (x2, y2) = _edges(start, end)
    line = f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#333" stroke-width="1.6" marker-end="url(#tip)"/>'
    if not says:
        return line
    place = f'x="{(x1 + x2) // 2}" y="{(y1 + y2) // 2}" text-anchor="middle"'
    halo = 'stroke="#fff" stroke-width="5" paint-order="stroke"'
    return f"{line}\n<text {place} {halo}>{escape(says)}</text>"


def _edges(start: Box, end: Box) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return where an arrow leaves one box and meets the other: sides that face each other, else below and above."""
    if start.x + start.width <= end.x or end.x + end.width <= start.x:
        right = start.x < end.x
        x1, x2 = (start.x + start.width, end.x - 2) if right else (start.x, end.x + end.width + 2)
        return (x1, start.y + start.height // 2), (x2, end.y + end.height // 2)
    middle = max(start.x, end.x) + min(start.width, end.width) // 2
    return (middle, start.y + start.height), (middle, end.y - 2)


if __name__ == "__main__":
    OUT.write_text(draw(), "utf-8")
