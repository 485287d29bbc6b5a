// Draws a radiograph with its class activation map over it on a canvas, as covidcxr.heatmaps does in a file.

const LONGER_SIDE = 1024; // pixels kept of a picture; as many as the server's previews have
const HEAT_SIDE = 192; // pixels of the smoothed map; the browser stretches it over the picture

export class Viewer {
  #canvas;
  #picture = null; // canvas with the radiograph
  #heat = null; // canvas with the coloured map
  #box = null; // left, top, right, bottom of the map as shares of the picture

  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** Show a picture from a blob: or data: URL; rejects if the browser cannot decode it. */
  async load(url) {
    const image = new Image();
    image.src = url;
    await image.decode();
    const scale = Math.min(1, LONGER_SIDE / Math.max(image.naturalWidth, image.naturalHeight));
    this.#picture = sized(Math.round(image.naturalWidth * scale), Math.round(image.naturalHeight * scale));
    const pen = this.#picture.getContext("2d");
    pen.fillRect(0, 0, this.#picture.width, this.#picture.height); // what is transparent is black, as for the model
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, 0, 0, this.#picture.width, this.#picture.height);
    this.#canvas.width = this.#picture.width;
    this.#canvas.height = this.#picture.height;
    this.draw(0);
  }

  /** Take a map: rows of numbers, the box where it lies, and the colours (see ramp and opposition). */
  setMap(values, box, colour) {
    this.#heat = paint(smooth(values, HEAT_SIDE), colour);
    this.#box = box;
  }

  /** Draw the picture, and the map over it with an opacity of 0 (none) to 1. */
  draw(opacity) {
    if (!this.#picture) return;
    const pen = this.#canvas.getContext("2d");
    const { width, height } = this.#canvas;
    pen.drawImage(this.#picture, 0, 0);
    if (!this.#heat || !opacity) return;
    const [left, top, right, bottom] = this.#box;
    const area = [left * width, top * height, (right - left) * width, (bottom - top) * height];
    pen.save();
    pen.globalAlpha = opacity;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.#heat, ...area);
    pen.restore();
    if (this.framed) frame(pen, area);
  }

  /** Whether the map covers a part of the picture only, which is then framed. */
  get framed() {
    return this.#box.some((edge) => edge > 0 && edge < 1);
  }
}

function sized(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

function frame(pen, area) {
  pen.save();
  pen.lineWidth = Math.max(1, pen.canvas.width / 400);
  pen.setLineDash([4 * pen.lineWidth, 4 * pen.lineWidth]);
  pen.strokeStyle = "rgb(255 255 255 / 55%)";
  pen.strokeRect(...area);
  pen.restore();
}

/** Enlarge a map to side x side numbers -1..1 with Catmull-Rom splines, cell centres staying where they are. */
function smooth(values, side) {
  const rows = values.map((row) => stretch(row, side));
  const columns = Array.from({ length: side }, (_, x) => stretch(rows.map((row) => row[x]), side));
  return { side, at: (x, y) => Math.min(1, Math.max(-1, columns[x][y])) };
}

function stretch(line, length) {
  const cell = (index) => line[Math.min(line.length - 1, Math.max(0, index))];
  return Array.from({ length }, (_, pixel) => {
    const position = ((pixel + 0.5) / length) * line.length - 0.5;
    const i = Math.floor(position);
    const t = position - i;
    const [a, b, c, d] = [cell(i - 1), cell(i), cell(i + 1), cell(i + 2)];
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t ** 2 + (3 * b - a - 3 * c + d) * t ** 3);
  });
}

/**
 * Colours for numbers 0..1, as covidcxr.heatmaps has them: red, green, blue from none to most. Nothing is drawn up to
 * `faint`, and from `full` on all of the colour.
 */
export function ramp({ colours, faint, full }) {
  return (value) => {
    const place = Math.max(0, value) * (colours.length - 1);
    const i = Math.min(colours.length - 2, Math.floor(place));
    const mix = colours[i].map((low, channel) => low + (place - i) * (colours[i + 1][channel] - low));
    return [...mix, (255 * (value - faint)) / (full - faint)];
  };
}

/** Colours for numbers -1..1: one for what is below 0, one for what is above, both fainter towards 0. */
export function opposition({ below, above, faint, full }) {
  return (value) => [...(value < 0 ? below : above), (255 * (Math.abs(value) - faint)) / (full - faint)];
}

function paint({ side, at }, colour) {
  const canvas = sized(side, side);
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(side, side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) image.data.set(colour(at(x, y)), 4 * (y * side + x)); // clamped to 0..255
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}
