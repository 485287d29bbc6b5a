// Results as files: made in the browser but for the PDF.
import { prevalence } from "./prevalence.js";
import { dicom, pdf } from "./predict.js";

const results = document.getElementById("results");
const patient = document.getElementById("patient");
const EXTRAS = ["activation_map", "lungs", "patient", "preview"]; // of the page, not of a result
const TAKEN = 10_000; // milliseconds after which the browser has read a file that it saves

/** Save the objects that `covidcxr predict --json` prints: one for a single card, else a list. */
export function saveJson(cards) {
  const objects = cards.map(plain);
  const text = JSON.stringify(objects.length === 1 ? objects[0] : objects, null, 2);
  save(new Blob([`${text}\n`], { type: "application/json" }), `${stem(cards)}.json`);
}

/** Save the rows that `covidcxr predict --csv` writes. */
export function saveCsv(cards) {
  const { labels, points } = JSON.parse(results.dataset.columns);
  const notes = [
    "interval_low", "interval_high", "prediction_set", "abstained", "reason", "flags", "lung_share", "model", "audit",
  ];
  const rows = cards.map((card) => row(card, labels, points, notes.length));
  const lines = [["path", "label", ...labels, ...points, ...notes, "error"], ...rows];
  const text = lines.map((line) => `${line.map(quoted).join(",")}\n`).join("");
  save(new Blob([text], { type: "text/csv" }), `${stem(cards)}.csv`);
}

/** Save the one-page PDF, which the server makes of the file, sent again: it kept nothing of it. */
export function savePdf(card) {
  return saveReport(card, ".save-pdf", "pdf", (say) => pdf(card.file, prevalence(), say));
}

/** Save the DICOM structured report, made in the same way, for those who asked for the patient whom it names. */
export function saveDicom(card) {
  return saveReport(card, ".save-dicom", "dcm", async (say) => {
    if (!patient.checked) throw new Error("A DICOM SR names the patient: first tick the box at the top of the page.");
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

function row(card, labels, points, notes) {
  const { answer, file } = card;
  if (!answer) return [file.name, ...Array(1 + labels.length + points.length + notes).fill(""), plain(card).error];
  return [
    file.name,
    answer.label ?? "",
    ...labels.map((label) => answer.probabilities[label]),
    ...points.map((point) => answer.operating_points[point]?.positive ?? ""),
    ...(answer.interval ?? ["", ""]),
    (answer.prediction_set ?? []).join(" "),
    answer.abstained,
    answer.reason ?? "",
    answer.flags.map(({ code }) => code).join(" "),
    answer.lung_share ?? "",
    answer.model,
    answer.audit?.verdict ?? "",
    "",
  ];
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
  setTimeout(() => URL.revokeObjectURL(link.href), TAKEN);
}
