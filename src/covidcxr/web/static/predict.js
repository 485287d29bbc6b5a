// The only module that talks to the server: a page whose model runs elsewhere replaces this file and no other.

const addresses = document.body.dataset;
const PATIENCE = 5; // times that a busy server is asked again
const LONGEST_PAUSE = 30; // seconds between them

/**
 * Score one image file.
 *
 * `include` names extras of the API (activation_map, lungs, patient, preview); `signal` aborts; `say` is told what it
 * waits for, and "" when it goes on. Resolves to the object that the API gives for a file; rejects with a sentence in
 * `message` if there is none.
 */
export async function predict(file, { include = [], signal, say } = {}) {
  const response = await send(addresses.predictions, form(file, { include }), { signal, say });
  return (await json(response, "a prediction"))[0];
}

/** Resolves to a Blob: the one-page PDF about one image file, with predictive values at a share of people 0..1. */
export function pdf(file, prevalence, say) {
  return report(addresses.pdf, form(file, { prevalence }), say);
}

/** Whether there are structured reports: not every server makes them. */
export const reportsDicom = Boolean(addresses.dicom);

/** Resolves to a Blob: the structured report about one DICOM file, which names its patient. */
export function dicom(file, say) {
  return report(addresses.dicom, form(file, {}), say);
}

async function report(address, body, say) {
  const response = await send(address, body, { say });
  if (!response.ok) await json(response, "a report");
  return response.blob();
}

/** Resolves to {samples, note}: the examples that the server has or can fetch, and where they are from. */
export async function listSamples() {
  const { samples, reachable } = await json(await reach(addresses.samples), "a list of examples");
  const note = reachable
    ? "Published radiographs, fetched by the server from their collection, with their licence and author."
    : "The server cannot reach the collection of examples, so there is a drawing only. It shows no patient.";
  return { samples, note };
}

/** Resolves to the File of an example. */
export async function fetchSample({ picture, file }) {
  const response = await reach(picture);
  if (!response.ok) await json(response, "an example");
  return new File([await response.blob()], file);
}

function form(file, fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  body.append("file", file);
  return body;
}

/** Post a form; a server that is busy says when to come back, and is asked again. */
async function send(address, body, { signal, say }) {
  for (let attempt = 0; ; attempt++) {
    const response = await reach(address, { method: "POST", body, signal });
    const pause = Math.min(Number(response.headers.get("Retry-After")), LONGEST_PAUSE);
    if (![429, 503].includes(response.status) || !pause || attempt === PATIENCE) return response;
    say?.(`Server busy, trying again in ${pause} s`);
    await sleep(1000 * pause, signal);
    say?.("");
  }
}

async function reach(address, options) {
  return fetch(address, options).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Error("Expected an answer. Received none: the server cannot be reached, or the file cannot be read.");
  });
}

async function json(response, expected) {
  const answer = await response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Error(`Expected ${expected}. Received status ${response.status}.`);
  });
  if (!response.ok) throw new Error(answer.detail ?? answer.error ?? `Expected ${expected}. Received status ${response.status}.`);
  return answer;
}

function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
