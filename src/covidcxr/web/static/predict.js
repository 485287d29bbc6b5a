// The only module that talks to the server. A page whose model runs elsewhere replaces this file and no other.

const addresses = document.body.dataset;
const RETRIES = 5; // after which a busy server counts as unavailable
const LONGEST_PAUSE = 30; // seconds between them

/**
 * Score one image file.
 *
 * `include` names extras of the API (activation_map, lungs, patient, preview); `signal` aborts; `say` receives what the
 * request waits for, and "" when it goes on. Resolves to the API's object for the file; rejects with a sentence in
 * `message`.
 */
export async function predict(file, { include = [], signal, say } = {}) {
  const response = await send(addresses.predictions, { body: form(file, { include }), signal }, say);
  return (await json(response, "a prediction"))[0];
}

/** Resolves to a Blob: the one-page PDF about one image file, with predictive values at a share of people 0..1. */
export function pdf(file, prevalence, say) {
  return report(addresses.pdf, form(file, { prevalence }), say);
}

/** Whether the server creates structured reports. */
export const reportsDicom = Boolean(addresses.dicom);

/** Resolves to a Blob: the structured report about one DICOM file, which contains the patient's name. */
export function dicom(file, say) {
  return report(addresses.dicom, form(file, {}), say);
}

async function report(address, body, say) {
  const response = await send(address, { body }, say);
  if (!response.ok) await json(response, "a report");
  return response.blob();
}

/** Resolves to {samples, note}: the examples of the server, which may first have to download them. */
export async function listSamples() {
  const { samples, reachable } = await json(await send(addresses.samples), "a list of examples");
  const note = reachable
    ? "Published radiographs, downloaded by the server from their collection, with licence and author."
    : "The server cannot reach the collection of examples, so only a drawing is shown. It depicts no patient.";
  return { samples, note };
}

/** Resolves to the File of an example. */
export async function fetchSample({ picture, file }) {
  const response = await send(picture);
  if (!response.ok) await json(response, "an example");
  return new File([await response.blob()], file);
}

function form(file, fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  body.append("file", file);
  return body;
}

/** Post a form, or get what has none; a busy server says when to try again. */
async function send(address, { body, signal } = {}, say = () => {}) {
  for (let attempt = 0; ; attempt++) {
    const response = await fetch(address, { method: body ? "POST" : "GET", body, signal }).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Error("No answer: the server cannot be reached, or the file cannot be read.");
    });
    const pause = Math.min(Number(response.headers.get("Retry-After")), LONGEST_PAUSE);
    if (![429, 503].includes(response.status) || !pause || attempt === RETRIES) return response;
    say(`Server busy, trying again in ${pause} s`);
    await sleep(1000 * pause, signal);
    say("");
  }
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
