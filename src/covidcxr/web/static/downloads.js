// Results as files. The browser creates JSON and CSV; the server creates reports.
import { prevalence } from "./prevalence.js";
import { dicom, pdf } from "./predict.js";

const results = document.getElementById("results");
const patient = document.getElementById("patient");
const EXTRAS = ["activation_map", "lungs", "patient", "preview"]; // shown on the page, not part of a result
const SAVED_AFTER = 10_000; // milliseconds by which the browser has certainly saved a file

/** Save what `covidcxr predict --json` prints; for a single card without the list around it. */
export function saveJson(cards) {
  const objects = cards.map(plain);
  const text = JSON.stringify(objects.length === 1 ? objects[0] : objects, null, 2);
  save(new Blob([`${text}\n`], { type: "application/json" }), `${stem(cards)}.json`);
}

/** Save the table that `covidcxr predict --csv` writes. */
export function saveCsv(cards) {
  const columns = JSON.parse(results.dataset.columns); // [name, path] each, see covidcxr.prediction.fields
  const rows = cards.map((card) => columns.map(([, path]) => cell(valueAt(plain(card), path))));
  const lines = [columns.map(([name]) => name), ...rows];
  const text = lines.map((line) => `${line.map(quoted).join(",")}\n`).join("");
  save(new Blob([text], { type: "text/csv" }), `${stem(cards)}.csv`);
}

/** Save the one-page PDF. The file is sent again, since the server keeps nothing of it. */
export function savePdf(card) {
  return saveReport(card, ".save-pdf", "pdf", (say) => pdf(card.file, prevalence(), say));
}

/** Save the DICOM structured report, if the user has agreed to name the patient. */
export function saveDicom(card) {
  return saveReport(card, ".save-dicom", "dcm", async (say) => {
    if (!patient.checked) throw new Error("A DICOM SR names the patient. Tick the box at the top of the page first.");
    return dicom(card.file, say);
  });
}

async function saveReport(card, selector, suffix, make) {
  const [button, problem] = [card.find(selector), card.find(".report-error")];
  const say = (text) => (problem.textContent = text);
  button.disabled = true;
  say("");
  try {
    save(await make(say), `${stem([card])}.${suffix}`);
  } catch (error) {
    say(error.message);
  } finally {
    button.disabled = false;
  }
}

function plain(card) {
  if (!card.answer) return { path: card.file.name, error: card.find(".error").textContent };
  return Object.fromEntries(Object.entries(card.answer).filter(([name]) => !EXTRAS.includes(name)));
}

/** The value that a path leads to; a key applied to a list of objects collects the key's value of each. */
function valueAt(object, path) {
  return path.reduce((found, key) => {
    return Array.isArray(found) && typeof key === "string" ? found.map((item) => item[key]) : found?.[key];
  }, object);
}

function cell(value) {
  return Array.isArray(value) ? value.join(" ") : value ?? "";
}

/** RFC 4180, section 2. */
function quoted(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function stem(cards) {
  return cards.length === 1 ? `covidcxr-${cards[0].file.name.replace(/\.[^.]*$/, "")}` : "covidcxr-results";
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), SAVED_AFTER);
}
