// The gallery of examples, which the server downloads when somebody opens it.
import { fetchSample, listSamples } from "./predict.js";

const details = document.getElementById("samples");
const note = document.getElementById("samples-note");
const gallery = document.getElementById("gallery");
const template = document.getElementById("sample").content;

/** Call `add(files)` with each chosen example. */
export function followSamples(add) {
  details.addEventListener("toggle", () => details.open && !gallery.children.length && fill(add));
}

async function fill(add) {
  note.textContent = "Looking for examples …";
  try {
    const { samples, note: text } = await listSamples();
    gallery.replaceChildren(...samples.map((sample) => figure(sample, add)));
    note.textContent = text;
  } catch (error) {
    note.textContent = error.message;
  }
}

function figure(sample, add) {
  const element = template.firstElementChild.cloneNode(true);
  const find = (selector) => element.querySelector(selector);
  const fetched = fetchSample(sample);
  fetched.then((file) => (find("img").src = URL.createObjectURL(file))).catch((error) => (note.textContent = error.message));
  find(".sample-title").textContent = sample.title;
  find(".credit").textContent = `${sample.credit} ${sample.licence}.`;
  find(".source").hidden = !sample.page;
  if (sample.page) find(".source").href = sample.page;
  const button = find("button");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      add([await fetched]);
    } catch (error) {
      note.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
  return element;
}
