// Replaces the module of the same name: the model runs in the visitor's browser, and no image leaves it.
import * as ort from "./ort.wasm.min.mjs";
import { decide } from "./decide.js";
import { decode } from "./decode.js";
import { preprocess } from "./preprocess.js";

const { model, contract, drawing } = document.body.dataset;
ort.env.wasm.numThreads = 1; // more would need headers that static hosts do not send
let loading; // promise of the model, from the first image on
let last = Promise.resolve(); // a session runs one image at a time

/** Score one image file; see the module that this one replaces. */
export async function predict(file, { signal } = {}) {
  const { session, settings } = await (loading ??= load());
  signal?.throwIfAborted();
  const grey = await decode(file);
  const turn = last.then(() => signal?.throwIfAborted() ?? run(session, settings, grey));
  last = turn.catch(() => {});
  return decide(settings, file.name, grey, await turn);
}

/** Reports need a server. */
export const reportsDicom = false;
export const pdf = () => Promise.reject(new Error("Reports need a server."));
export const dicom = pdf;

/** Resolves to {samples, note} with only the drawing. */
export async function listSamples() {
  const about = { title: "A drawing", licence: "Apache-2.0", credit: "Drawn by covidcxr: no patient.", page: "" };
  return { samples: [{ ...about, file: "drawing.png", picture: drawing }], note: "A drawing. It shows no patient." };
}

/** Resolves to the File of an example. */
export async function fetchSample({ picture, file }) {
  return new File([await (await reach(picture)).blob()], file);
}

async function load() {
  try {
    const [settings, bytes] = await Promise.all([
      reach(contract).then((response) => response.json()),
      reach(model).then((response) => response.arrayBuffer()),
    ]);
    return { settings, session: await ort.InferenceSession.create(bytes) };
  } catch (error) {
    loading = undefined; // the next image tries again
    throw error;
  }
}

async function run(session, { preprocessing }, grey) {
  const { size } = preprocessing;
  const input = new ort.Tensor("uint8", preprocess(grey, preprocessing), [1, size, size, 1]);
  return session.run({ image: input });
}

async function reach(address) {
  const response = await fetch(address).catch(() => undefined);
  if (!response?.ok) throw new Error(`The file ${address} cannot be downloaded.`);
  return response;
}
