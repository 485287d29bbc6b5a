// Grey pixels to the network's input, with the same values as covidcxr.images.preprocessing.Preprocessing. Pillow
// computes with integers, so every browser gets the same result.

const RESIZE_BITS = 22; // after the binary point of a weight (Pillow: PRECISION_BITS)
const BLUR_BITS = 24;
const BLUR_PASSES = 3; // box blurs that approximate a Gaussian (Gwosdek et al. 2011)

const LUNG = 0.5; // see covidcxr.images.frame
const LEAST = 0.01;
const STRAY = 0.005;
const FEWEST = 200; // see covidcxr.images.preprocessing

/**
 * Cut out what the network sees, resize (antialiased bilinear), blur and equalise.
 *
 * `grey` is {values, width, height} with a Uint8Array of rows; `settings` the object Preprocessing of the model file;
 * `lungs` {values, side}, the probabilities of the lung network, needed with a frame.
 * Returns {values, box}: a Uint8Array of size x size x channels, and what the network sees as shares of the image.
 */
export function preprocess(grey, settings, lungs) {
  const { size, blur, equalize } = settings;
  const { width, height } = grey;
  const frame = seen(grey, settings, lungs);
  const box = [frame[0] / width, frame[1] / height, frame[2] / width, frame[3] / height];
  let values = cut(grey, frame, size);
  if (blur) values = gaussian(values, size, blur);
  if (settings.frame === null) return { values: equalize ? equalized(values) : values, box };
  const shares = { values: Uint8Array.from(lungs.values, roundHalfEven), width: lungs.side, height: lungs.side };
  const inside = cut(shares, box.map((edge) => edge * lungs.side), size);
  if (equalize) values = equalizedByLungs(values, inside);
  return { values: Uint8Array.from({ length: 2 * size * size }, (_, i) => (i % 2 ? inside : values)[i >> 1]), box };
}

/** 0..1 to 0..255, rounded as NumPy does. */
function roundHalfEven(share) {
  const value = Math.fround(255 * share);
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor;
}

/** Left, top, right and bottom in pixels of the part that the network sees. */
function seen({ width, height }, { crop, frame }, lungs) {
  const margin = (1 - crop) / 2;
  if (frame === null) return [margin * width, margin * height, (1 - margin) * width, (1 - margin) * height];
  const { values, side } = lungs;
  let [left, right, top, bottom] = [0, 1, 0, 1];
  if (values.filter((share) => share >= LUNG).length / values.length >= LEAST) {
    const columns = new Float64Array(side);
    const rows = new Float64Array(side);
    values.forEach((share, place) => {
      const weight = Math.max(0, share - LUNG);
      columns[place % side] += weight;
      rows[Math.floor(place / side)] += weight;
    });
    [left, right] = ends(columns);
    [top, bottom] = ends(rows);
  }
  const half = ((1 + frame) / 2) * Math.max((right - left) * width, (bottom - top) * height);
  const [x, y] = [((left + right) / 2) * width, ((top + bottom) / 2) * height];
  return [x - half, y - half, x + half, y + half];
}

/** Where weights along an axis begin and end, as shares of it. */
function ends(weights) {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const passed = [0];
  weights.forEach((weight) => passed.push(passed[passed.length - 1] + weight));
  const shares = passed.map((sum) => sum / total);
  const step = 1 / weights.length;
  const first = Math.max(0, shares.findIndex((share) => share >= STRAY) - 1);
  const last = shares.findIndex((share) => share >= 1 - STRAY);
  return [
    step * (first + (STRAY - shares[first]) / (shares[first + 1] - shares[first])),
    step * (last - (shares[last] - (1 - STRAY)) / (shares[last] - shares[last - 1])),
  ];
}

/** Resize a part of an image to size x size; black beyond its edge. */
function cut({ values, width, height }, [left, top, right, bottom], size) {
  const [before, above] = [left, top].map((edge) => Math.max(0, -Math.floor(edge)));
  const wide = width + before + Math.max(0, Math.ceil(right) - width);
  const high = height + above + Math.max(0, Math.ceil(bottom) - height);
  if (wide > width || high > height) {
    const padded = new Uint8Array(wide * high);
    for (let y = 0; y < height; y++) {
      padded.set(values.subarray(y * width, (y + 1) * width), (y + above) * wide + before);
    }
    values = padded;
  }
  const columns = weights(wide, left + before, right + before, size);
  const rows = weights(high, top + above, bottom + above, size);
  const narrow = resizeRows(values, wide, high, columns);
  return transpose(resizeRows(transpose(narrow, size, high), high, size, rows), size, size);
}

/** Every grey value becomes the mean of its ranks in the whole image and in the lungs. */
function equalizedByLungs(values, inside) {
  const whole = new Uint32Array(256);
  const lungs = new Uint32Array(256);
  values.forEach((value, place) => {
    if (value > 0) whole[value] += 1;
    if (inside[place] > 127) lungs[value] += 1;
  });
  const ranks = [whole, lungs].map(ranked).filter(Boolean);
  if (!ranks.length) return values;
  const table = Uint8Array.from(whole, (_, value) =>
    Math.floor((255 * ranks.reduce((sum, rank) => sum + rank[value], 0)) / ranks.length + 0.5));
  return values.map((value) => table[value]);
}

function ranked(counts) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (all < FEWEST) return undefined;
  let before = 0;
  return Array.from(counts, (count) => {
    before += count;
    return (before - count / 2) / all;
  });
}

/** For each output pixel: the first input pixel, and integer weights for it and those after it. */
function weights(length, low, high, size) {
  const [start, end] = [low, high].map(Math.fround); // the box is float32 in Pillow
  const scale = Math.fround(end - start) / size;
  const reach = Math.max(scale, 1); // of the triangle, in input pixels
  return Array.from({ length: size }, (_, place) => {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const last = Math.min(length, Math.trunc(centre + reach + 0.5));
    const shares = Array.from({ length: last - first }, (_, i) =>
      Math.max(0, 1 - Math.abs((i + first - centre + 0.5) / reach)));
    const sum = shares.reduce((total, share) => total + share, 0);
    return { first, shares: shares.map((share) => Math.trunc(0.5 + (share / sum) * 2 ** RESIZE_BITS)) };
  });
}

function resizeRows(values, width, height, table) {
  const result = new Uint8Array(table.length * height);
  for (let y = 0; y < height; y++) {
    table.forEach(({ first, shares }, x) => {
      const start = y * width + first;
      let sum = 2 ** (RESIZE_BITS - 1);
      for (let i = 0; i < shares.length; i++) sum += values[start + i] * shares[i];
      result[y * table.length + x] = Math.min(255, sum >> RESIZE_BITS); // below 2 ** 31: weights sum to about 1
    });
  }
  return result;
}

function transpose(values, width, height) {
  const result = new Uint8Array(values.length);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) result[x * height + y] = values[y * width + x];
  return result;
}

function gaussian(values, side, deviation) {
  const radius = boxRadius(deviation);
  for (let axis = 0; axis < 2; axis++) {
    for (let pass = 0; pass < BLUR_PASSES; pass++) values = boxRows(values, side, radius);
    values = transpose(values, side, side);
  }
  return values;
}

/** Fractional radius of the box whose passes have the variance of the Gaussian. */
function boxRadius(deviation) {
  const variance = deviation ** 2 / BLUR_PASSES;
  const whole = Math.floor((Math.sqrt(12 * variance + 1) - 1) / 2);
  const missing = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
  return Math.fround(whole + missing / (6 * (variance - (whole + 1) ** 2)));
}

/** Mean over a box of each row; its end pixels have fractional weight, and the edge of the image is extended. */
function boxRows(values, side, radius) {
  const whole = Math.trunc(radius);
  const inner = Math.trunc(Math.fround(2 ** BLUR_BITS / Math.fround(radius * 2 + 1)));
  const outer = Math.trunc((2 ** BLUR_BITS - (2 * whole + 1) * inner) / 2);
  const result = new Uint8Array(values.length);
  for (let start = 0; start < values.length; start += side) {
    const at = (x) => values[start + Math.min(side - 1, Math.max(0, x))];
    for (let x = 0; x < side; x++) {
      let sum = 0;
      for (let i = -whole; i <= whole; i++) sum += at(x + i);
      const far = at(x - whole - 1) + at(x + whole + 1);
      result[start + x] = Math.floor((sum * inner + far * outer + 2 ** (BLUR_BITS - 1)) / 2 ** BLUR_BITS);
    }
  }
  return result;
}

/** Histogram equalisation as in Pillow. */
function equalized(values) {
  const histogram = new Uint32Array(256);
  for (const value of values) histogram[value] += 1;
  const present = histogram.filter((count) => count);
  const step = Math.floor((values.length - present[present.length - 1]) / 255);
  if (present.length <= 1 || !step) return values;
  const table = new Uint8Array(256);
  let total = Math.floor(step / 2);
  histogram.forEach((count, value) => {
    table[value] = Math.min(255, Math.floor(total / step));
    total += count;
  });
  return values.map((value) => table[value]);
}
