// Replaces the module of the same name: the model runs in the visitor's browser, and no image leaves it.
import * as ort from "./ort.wasm.min.mjs";
import { decide } from "./decide.js";
import { decode } from "./decode.js";
import { preprocess } from "./preprocess.js";

const { model, lungs, contract, drawing } = document.body.dataset;
ort.env.wasm.numThreads = 1; // more would need headers that static hosts do not send
let loading; // promise of the model, from the first image on
let last = Promise.resolve(); // a session runs one image at a time

/** Score one image file; see the module that this one replaces. */
export async function predict(file, { signal } = {}) {
  const { sessions, settings } = await (loading ??= load());
  signal?.throwIfAborted();
  const grey = await decode(file);
  const turn = last.then(() => signal?.throwIfAborted() ?? run(sessions, settings, grey));
  last = turn.catch(() => {});
  const { outputs, box } = await turn;
  return decide(settings, file.name, grey, outputs, box);
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
    const settings = await (await reach(contract)).json();
    const networks = settings.lung_network ? [model, lungs] : [model];
    const files = await Promise.all(networks.map(async (address) => (await reach(address)).arrayBuffer()));
    return { settings, sessions: await Promise.all(files.map((bytes) => ort.InferenceSession.create(bytes))) };
  } catch (error) {
    loading = undefined; // the next image tries again
    throw error;
  }
}

async function run([classifier, finder], settings, grey) {
  const found = finder && (await score(finder, settings.lung_network, grey)).outputs.lungs;
  return score(classifier, settings.preprocessing, grey, found && { values: found.data, side: found.dims[1] });
}

async function score(session, preprocessing, grey, found) {
  const { size } = preprocessing;
  const { values, box } = preprocess(grey, preprocessing, found);
  const input = new ort.Tensor("uint8", values, [1, size, size, values.length / size ** 2]);
  return { outputs: await session.run({ image: input }), box };
}

async function reach(address) {
  const response = await fetch(address).catch(() => undefined);
  if (!response?.ok) throw new Error(`The file ${address} cannot be downloaded.`);
  return response;
}
