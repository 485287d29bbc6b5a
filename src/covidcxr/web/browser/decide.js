// Outputs of the network to the object of the API, in the same way as covidcxr.prediction.predictor.

/**
 * Return the API's object for one image.
 *
 * `contract` is the model.json of covidcxr.web.static_site, `grey` {values, width, height}, `outputs` the network's by
 * name: {data, dims} with the image as the only one of its batch.
 */
export function decide(contract, path, grey, outputs) {
  const { labels } = contract;
  const shares = Array.from(outputs.probabilities.data);
  const probabilities = Object.fromEntries(labels.map((label, i) => [label, shares[i]]));
  const flags = flagsOf(contract, grey, outputs.gate?.data);
  const possible = contract.conformal && labels.filter((_, i) => shares[i] >= contract.conformal.thresholds[i]);
  if (possible && possible.length === labels.length) flags.push({ code: "uncertain", declines: true });
  const reason = flags.find(({ declines }) => declines)?.code;
  const answered = !reason;
  const maps = answered && outputs.activation_map ? mapsOf(contract, shares, outputs) : {};
  return {
    path,
    label: answered ? labels[shares.indexOf(Math.max(...shares))] : null,
    probabilities,
    operating_points: answered ? callsOf(contract.operating_points, probabilities.covid) : {},
    interval: contract.conformal ? intervalOf(contract.conformal, probabilities.covid) : null,
    prediction_set: possible ?? null,
    abstained: !answered,
    reason: reason ? contract.flags[reason] : null,
    flags: flags.map(({ code }) => ({ code, text: contract.flags[code] })),
    lung_share: maps.lungShare ?? null,
    model: contract.model,
    audit: contract.audit,
    activation_map: maps.map ?? null,
    lungs: maps.lungs ?? null,
  };
}

function flagsOf({ gate, pixels }, { values, width, height }, scores) {
  let [low, high, extreme] = [255, 0, 0];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
    if (value < pixels.black || value > pixels.white) extreme += 1;
  }
  if (low === high) return [{ code: "uniform", declines: true }];
  if (Math.min(width, height) < pixels.smallest_side) return [{ code: "too_small", declines: true }];
  if (extreme / values.length > pixels.extreme) return [{ code: "badly_exposed", declines: true }];
  return scores ? gate.filter(({ threshold }, i) => scores[i] >= threshold) : [];
}

function intervalOf({ scores, low, high }, probability) {
  if (!scores.length) return null;
  const place = Math.max(0, scores.filter((score) => score <= probability).length - 1);
  return [low[place], high[place]];
}

function callsOf(points, probability) {
  return Object.fromEntries(points.map(({ name, threshold }) => [name, { threshold, positive: probability >= threshold }]));
}

/** The map of the most probable class, what speaks for COVID-19 against another pneumonia, and the lungs. */
function mapsOf({ labels, box, lung }, shares, outputs) {
  const [, height, width, classes] = outputs.activation_map.dims;
  const evidence = (label) =>
    Array.from({ length: height * width }, (_, cell) => outputs.activation_map.data[cell * classes + labels.indexOf(label)]);
  const rows = (cells) => Array.from({ length: height }, (_, y) => cells.slice(y * width, (y + 1) * width));
  const positive = evidence(labels[shares.indexOf(Math.max(...shares))]).map((value) => Math.max(0, value));
  const values = scaled(positive, Math.max(...positive));
  let contrast = null;
  if (labels.includes("covid") && labels.includes("pneumonia")) {
    const other = evidence("pneumonia");
    const difference = evidence("covid").map((value, cell) => value - other[cell]);
    contrast = scaled(difference, Math.max(...difference.map(Math.abs)));
  }
  const found = { map: { values: rows(values), contrast: contrast && rows(contrast), box } };
  if (!outputs.lungs) return found;
  const cells = Array.from(outputs.lungs.data);
  const sum = (chosen) => values.reduce((total, value, cell) => total + (chosen(cell) ? value : 0), 0);
  const all = sum(() => true);
  if (all > 0) found.lungShare = sum((cell) => cells[cell] >= lung) / all;
  return { ...found, lungs: { values: rows(cells), box } };
}

function scaled(values, peak) {
  return peak > 0 ? values.map((value) => value / peak) : values;
}
