// The page: files in, cards out. Texts of the user and the server only ever become textContent.
import { Viewer, opposition, ramp } from "./viewer.js";

const LANES = 2; // requests under way at a time
const form = document.getElementById("drop");
const input = document.getElementById("files");
const results = document.getElementById("results");
const cards = document.getElementById("cards");
const template = document.getElementById("card").content;
const slider = document.getElementById("prevalence-slider"); // null like the next in models without operating points
const number = document.getElementById("prevalence");
const points = JSON.parse(results.dataset.operatingPoints);
const mapStyle = JSON.parse(results.dataset.mapStyle);
const maxBytes = form.dataset.maxMb * 2 ** 20 - 4096; // the form around the file takes a few bytes as well

let queue = [];
let lanes = 0;
let total = 0;
let done = 0;
let round = new AbortController(); // of the files since the last "Clear"

function add(files) {
  if (!files.length) return;
  const added = files.map((file) => new Card(file));
  cards.append(...added.map((card) => card.element));
  results.hidden = false;
  document.body.classList.add("has-results");
  total += added.length;
  report();
  showPreviews(added);
  queue.push(...added);
  while (queue.length && lanes < LANES) runLane();
}

/** One after the other, so that a hundred plates are not decoded at once. */
async function showPreviews(shown) {
  for (const card of shown) await card.preview();
}

async function runLane() {
  lanes += 1;
  while (queue.length) {
    const card = queue.shift();
    const { signal } = round;
    const outcome = await card.score(signal);
    if (signal.aborted) continue;
    done += 1;
    report(outcome);
  }
  lanes -= 1;
}

/** Say how far things are, and for screen readers what came out last. */
function report(outcome = "") {
  const count = done < total ? `${done} of ${total} done` : total === 1 ? "1 file done" : `${total} files done`;
  document.getElementById("count").textContent = count;
  document.getElementById("outcome").textContent = outcome;
}

function clear() {
  round.abort();
  round = new AbortController();
  queue = [];
  total = done = 0;
  cards.replaceChildren();
  results.hidden = true;
  document.body.classList.remove("has-results");
  input.focus();
}

class Card {
  constructor(file) {
    this.file = file;
    this.element = template.firstElementChild.cloneNode(true);
    this.find(".file-name").textContent = file.name;
    this.canvas = this.find("canvas");
    this.canvas.setAttribute("aria-label", `Radiograph ${file.name}`);
    this.viewer = new Viewer(this.canvas);
    this.previewed = new Promise((resolve) => (this.endPreview = resolve));
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  /** Show the file at once if the browser can; whether it did decides whether the server is asked for a picture. */
  async preview() {
    const url = URL.createObjectURL(this.file);
    const shown = await this.viewer.load(url).then(() => true, () => false);
    URL.revokeObjectURL(url);
    this.element.classList.toggle("pictured", shown);
    this.endPreview(shown && !(await deepPng(this.file).catch(() => false)));
  }

  /** Ask the server; returns a sentence for screen readers. */
  async score(signal) {
    const { name } = this.file;
    try {
      const answer = await this.ask(signal);
      if (answer.preview) {
        await this.viewer.load(answer.preview);
        this.element.classList.add("pictured");
      }
      return `${name}: ${this.show(answer)}`;
    } catch (error) {
      this.fail(error.message);
      return `${name}: not scored.`;
    } finally {
      this.find(".waiting").hidden = true;
    }
  }

  async ask(signal) {
    if (this.file.size > maxBytes) {
      throw new Error(`Expected at most ${form.dataset.maxMb} MB. Received ${Math.ceil(this.file.size / 2 ** 20)} MB.`);
    }
    const body = new FormData();
    body.append("include", (await this.previewed) ? "activation_map" : "activation_map,preview");
    body.append("file", this.file);
    const response = await fetch(form.action, { method: "POST", body, signal }).catch(() => {
      throw new Error("Expected an answer. Received none: the server cannot be reached, or the file cannot be read.");
    });
    const answer = await response.json().catch(() => {
      throw new Error(`Expected a prediction. Received status ${response.status}.`);
    });
    if (!response.ok) throw new Error(answer.detail);
    return answer[0];
  }

  show(answer) {
    this.find(".prediction").hidden = false;
    const notes = answer.flags.map((flag) => flag.text).filter((text) => text !== answer.reason);
    this.find(".flags").append(...notes.map(item));
    this.find(".flags").hidden = notes.length === 0;
    if (answer.abstained) return this.abstain(answer.reason);
    for (const bar of this.element.querySelectorAll(".bar")) {
      const share = answer.probabilities[bar.dataset.label];
      bar.querySelector(".percent").textContent = percent(share);
      bar.querySelector(".fill").style.width = `${100 * share}%`;
      bar.classList.toggle("most", bar.dataset.label === answer.label);
    }
    this.showSureness(answer);
    for (const [name, { positive }] of Object.entries(answer.operating_points)) {
      const point = this.find(`.point[data-name=${name}]`);
      point.querySelector(".side").textContent = positive ? "Above" : "Below";
      point.classList.toggle("positive", positive);
    }
    this.find(".points").hidden = points.length === 0;
    const { name } = this.find(".bar.most").dataset;
    this.find(".verdict-class").textContent = name;
    if (answer.activation_map) this.showMap(answer.activation_map, answer.lung_share, name);
    return `most like ${name}, ${percent(answer.probabilities[answer.label])}.`;
  }

  /** Say which classes remain possible and how wide the probability of COVID-19 is, in models that know. */
  showSureness({ prediction_set: possible, interval }) {
    if (!possible) return;
    const names = possible.map((label) => this.find(`.bar[data-label=${label}]`).dataset.name);
    this.find(".possible").textContent = names.length ? names.join(" or ") : "none of the classes";
    this.find(".interval-row").hidden = !interval;
    if (interval) this.find(".interval").textContent = interval.map((end) => percent(end)).join(" to ");
    this.find(".sureness").hidden = false;
  }

  abstain(reason) {
    this.find(".verdict-label").textContent = "The model";
    this.find(".verdict-class").textContent = "declines to answer";
    this.find(".reason").textContent = `Because ${reason}.`;
    this.find(".reason").hidden = false;
    this.find(".bars").hidden = true;
    return `the model declines to answer, because ${reason}.`;
  }

  showMap({ values, contrast, box }, lungShare, name) {
    const shown = this.find(".map-shown");
    const strength = this.find(".map-strength");
    const against = this.find(".map-against");
    const draw = () => {
      this.viewer.draw(shown.checked ? strength.value / 100 : 0);
      strength.disabled = against.disabled = !shown.checked;
      const map = against.checked ? "COVID-19 against other pneumonia" : name;
      const state = shown.checked ? `with the activation map for ${map}` : "without the activation map";
      this.canvas.setAttribute("aria-label", `Radiograph ${this.file.name}, ${state}`);
    };
    const choose = () => {
      if (against.checked) this.viewer.setMap(contrast, box, opposition({ ...mapStyle, ...mapStyle.against }));
      else this.viewer.setMap(values, box, ramp(mapStyle));
      this.find(".scale").hidden = against.checked;
      this.find(".scale-against").hidden = !against.checked;
      draw();
    };
    shown.addEventListener("change", draw);
    strength.addEventListener("input", draw);
    against.addEventListener("change", choose);
    const gradient = (colours) => `linear-gradient(to right, ${colours.map((rgb) => `rgb(${rgb})`)})`;
    this.find(".scale .ramp").style.background = gradient(mapStyle.colours);
    this.find(".scale-against .ramp").style.background = gradient([mapStyle.against.below, mapStyle.against.above]);
    this.find(".map-class").textContent = name;
    this.find(".against").hidden = !contrast;
    this.find(".in-lungs").hidden = lungShare === null;
    if (lungShare !== null) this.find(".lung-share").textContent = percent(lungShare);
    this.find(".map").hidden = false;
    choose();
    this.find(".framed").hidden = !this.viewer.framed;
  }

  fail(message) {
    this.element.classList.add("failed");
    this.find(".error").textContent = message;
    this.find(".error").hidden = false;
  }
}

function item(text) {
  const element = document.createElement("li");
  element.textContent = text;
  return element;
}

function percent(share, digits = 0) {
  const value = 100 * share;
  const unit = 10 ** -digits;
  if (value < unit / 2) return `< ${unit} %`;
  if (value > 100 - unit / 2) return `> ${100 - unit} %`;
  return `${value.toFixed(digits)} %`;
}

/** Bayes' rule; NaN where nobody lies on that side of the threshold. */
function predictiveValues({ sensitivity, specificity }, share) {
  const [found, missed] = [sensitivity * share, (1 - sensitivity) * share];
  const [cleared, alarmed] = [specificity * (1 - share), (1 - specificity) * (1 - share)];
  return { ppv: found / (found + alarmed), npv: cleared / (cleared + missed) };
}

/** Write PPV and NPV at the slider's share into every card, and into the template of those to come. */
function showPredictiveValues() {
  slider.setAttribute("aria-valuetext", `${slider.value} %`);
  for (const point of points) {
    for (const [name, value] of Object.entries(predictiveValues(point, slider.value / 100))) {
      const text = Number.isNaN(value) ? "none" : percent(value, 1);
      const selector = `.point[data-name=${point.name}] .${name}`;
      for (const root of [template, cards]) {
        for (const element of root.querySelectorAll(selector)) element.textContent = text;
      }
    }
  }
}

/** The slider holds the share: it rounds and keeps to its limits, whatever is typed. */
function followPrevalence() {
  slider.addEventListener("input", () => {
    number.value = slider.value;
    showPredictiveValues();
  });
  number.addEventListener("input", () => {
    if (number.value === "") return; // about to be typed
    slider.value = number.value;
    showPredictiveValues();
  });
  number.addEventListener("change", () => (number.value = slider.value));
  showPredictiveValues();
}

/** Whether a file is a PNG of 16 bits, which browsers show too dark: the depth is byte 24 (PNG, section 11.2.1). */
async function deepPng(file) {
  const start = new Uint8Array(await file.slice(0, 25).arrayBuffer());
  return start[1] === 0x50 && start[2] === 0x4e && start[3] === 0x47 && start[24] === 16;
}

input.addEventListener("change", () => {
  add([...input.files]);
  input.value = ""; // choosing the same file again is a change again
});
document.getElementById("clear").addEventListener("click", clear);
if (points.length) followPrevalence();
form.addEventListener("submit", (event) => event.preventDefault());
// The whole page takes drops: a file that misses the field would replace the page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  add([...event.dataTransfer.files]);
});
