// Coarse maps as smooth colours and outlines, in the same way as covidcxr.prediction.heatmap.

const HEAT_SIDE = 192; // pixels of the smoothed map; the browser stretches it over the picture
const OUTLINE_SIDE = 96; // points a side at which an outline is looked for
const EDGE = 0.5; // probability of lung at the outline

/** Draw a map, rows of numbers, on a new canvas; `colour` is a ramp or an opposition. */
export function paint(values, colour) {
  const at = smooth(values, HEAT_SIDE);
  const canvas = sized(HEAT_SIDE, HEAT_SIDE);
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(HEAT_SIDE, HEAT_SIDE);
  for (let y = 0; y < HEAT_SIDE; y++) {
    for (let x = 0; x < HEAT_SIDE; x++) image.data.set(colour(at(x, y)), 4 * (y * HEAT_SIDE + x)); // clamped to 0..255
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}

/**
 * Colours for numbers 0..1, as covidcxr.prediction.heatmap has them: red, green, blue from none to most. Nothing is drawn up to
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

/** Return the line around what is above EDGE as a Path2D in a square of side 1 (marching squares). */
export function outline(values) {
  const at = smooth(values, OUTLINE_SIDE);
  const path = new Path2D();
  for (let y = 0; y < OUTLINE_SIDE - 1; y++) {
    for (let x = 0; x < OUTLINE_SIDE - 1; x++) {
      const crossings = cross(at, x, y);
      for (let i = 0; i + 1 < crossings.length; i += 2) {
        path.moveTo(...crossings[i]);
        path.lineTo(...crossings[i + 1]);
      }
    }
  }
  return path;
}

/** Where the line crosses the sides of the cell between four points, in the square of side 1. */
function cross(at, x, y) {
  const corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]];
  const heights = corners.map(([column, row]) => at(column, row) - EDGE);
  const found = [];
  corners.forEach(([x0, y0], i) => {
    const j = (i + 1) % 4;
    if (heights[i] > 0 === heights[j] > 0) return;
    const share = heights[i] / (heights[i] - heights[j]);
    const [x1, y1] = corners[j];
    found.push([x0 + share * (x1 - x0), y0 + share * (y1 - y0)].map((place) => (place + 0.5) / OUTLINE_SIDE));
  });
  return found;
}

export function sized(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** Enlarge a map to side x side numbers -1..1 with Catmull-Rom splines, cell centres staying where they are. */
function smooth(values, side) {
  const rows = values.map((row) => stretch(row, side));
  const columns = Array.from({ length: side }, (_, x) => stretch(rows.map((row) => row[x]), side));
  return (x, y) => Math.min(1, Math.max(-1, columns[x][y]));
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
