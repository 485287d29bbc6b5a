// Grey pixels to the network's input, with the same values as covidcxr.images.preprocessing.Preprocessing. Pillow
// computes with integers, so every browser gets the same result.

const RESIZE_BITS = 22; // after the binary point of a weight (Pillow: PRECISION_BITS)
const BLUR_BITS = 24;
const BLUR_PASSES = 3; // box blurs that approximate a Gaussian (Gwosdek et al. 2011)

/**
 * Crop, resize (antialiased bilinear), blur and equalise.
 *
 * `grey` is {values, width, height} with a Uint8Array of rows; `settings` the object Preprocessing of the model file.
 * Returns a Uint8Array of size x size.
 */
export function preprocess(grey, { size, crop, blur, equalize }) {
  const margin = (1 - crop) / 2;
  const columns = weights(grey.width, margin * grey.width, (1 - margin) * grey.width, size);
  const rows = weights(grey.height, margin * grey.height, (1 - margin) * grey.height, size);
  let values = resizeRows(grey.values, grey.width, grey.height, columns);
  values = transpose(resizeRows(transpose(values, size, grey.height), grey.height, size, rows), size, size);
  if (blur) values = gaussian(values, size, blur);
  return equalize ? equalized(values) : values;
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
