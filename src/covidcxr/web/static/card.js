// One image: its picture, its state, and its prediction.
import { saveCsv, saveDicom, saveJson, savePdf } from "./downloads.js";
import { follow, followButtons } from "./gestures.js";
import { opposition, ramp } from "./heat.js";
import { isDeepPng, isDicom } from "./kinds.js";
import { predict, reportsDicom } from "./predict.js";
import { item, percent } from "./text.js";
import { Viewer } from "./viewer.js";

const STATES = { waiting: "Waiting", scoring: "Scoring", done: "Done", failed: "Failed", cancelled: "Cancelled" };
const template = document.getElementById("card").content;
const mapStyle = JSON.parse(document.getElementById("results").dataset.mapStyle);
let made = 0;

/** Events: "state" (see STATES), "picture" once one is visible, "again" to be scored once more. */
export class Card extends EventTarget {
  answer = null; // object of the API
  summary = ""; // one line
  state = "waiting";
  #previewed; // whether the browser shows the file as the model sees it
  #options;

  constructor(file, options) {
    super();
    this.file = file;
    this.#options = options;
    this.element = template.firstElementChild.cloneNode(true);
    this.element.id = `card-${++made}`;
    this.find(".file-name").textContent = file.name;
    this.canvas = this.find("canvas");
    this.canvas.setAttribute("aria-label", `Radiograph ${file.name}`);
    this.find(".stage").setAttribute("aria-label", `Viewer of ${file.name}`);
    this.viewer = new Viewer(this.canvas);
    this.#previewed = new Promise((resolve) => (this.endPreview = resolve));
    this.#follow();
    this.#enter("waiting");
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  get pictured() {
    return this.element.classList.contains("pictured");
  }

  /** Whether the state is final. */
  get settled() {
    return this.state !== "waiting" && this.state !== "scoring";
  }

  /** Show the file if the browser can decode it; if not, the server is asked for a preview. */
  async preview() {
    const shown = await this.#picture(this.file).then(() => true, () => false);
    this.endPreview(shown && !(await isDeepPng(this.file).catch(() => false)));
  }

  /** Request the prediction, as a job of the queue. */
  async run(signal) {
    this.#enter("scoring");
    try {
      this.answer = await this.#ask(signal);
      if (this.answer.preview) await this.#picture(this.answer.preview);
      if (reportsDicom) this.find(".save-dicom").hidden = !(await isDicom(this.file).catch(() => false));
      this.summary = this.#show(this.answer);
      this.#enter("done");
    } catch (error) {
      if (signal.aborted) this.drop();
      else this.#fail(error.message);
    }
  }

  /** Cancelled before there was an answer. */
  drop() {
    this.summary = "cancelled.";
    this.#enter("cancelled");
  }

  #follow() {
    const drags = this.find(".drags-window");
    follow(this.find(".stage"), this.viewer, () => drags.getAttribute("aria-pressed") === "true");
    followButtons(this.find(".tools"), this.viewer);
    drags.addEventListener("click", () => {
      const pressed = drags.getAttribute("aria-pressed") !== "true";
      drags.setAttribute("aria-pressed", pressed);
      this.find(".stage").classList.toggle("windowing", pressed);
    });
    this.#followWindow();
    this.find(".again").addEventListener("click", () => {
      this.find(".error").hidden = true;
      this.#enter("waiting");
      this.dispatchEvent(new Event("again"));
    });
    this.find(".save-json").addEventListener("click", () => saveJson([this]));
    this.find(".save-csv").addEventListener("click", () => saveCsv([this]));
    this.find(".save-pdf").addEventListener("click", () => savePdf(this));
    this.find(".save-dicom").addEventListener("click", () => saveDicom(this));
  }

  #followWindow() {
    const [width, level] = [this.find(".window-width"), this.find(".window-level")];
    const take = () => (this.viewer.window = { width: Number(width.value), level: Number(level.value) });
    width.addEventListener("input", take);
    level.addEventListener("input", take);
    this.find(".window-reset").addEventListener("click", () => this.viewer.resetWindow());
    this.viewer.addEventListener("window", () => {
      width.value = this.viewer.window.width;
      level.value = this.viewer.window.level;
    });
  }

  #enter(state) {
    this.state = this.element.dataset.state = state;
    this.#say(STATES[state]);
  }

  #say(text) {
    this.find(".state-text").textContent = text;
    this.dispatchEvent(new Event("state"));
  }

  async #picture(source) {
    await this.viewer.load(source);
    this.element.classList.add("pictured");
    this.dispatchEvent(new Event("picture"));
  }

  async #ask(signal) {
    const { maxMb, patient } = this.#options;
    const maxBytes = maxMb * 2 ** 20 - 4096; // the form around the file also takes some bytes
    if (this.file.size > maxBytes) {
      throw new Error(`Expected at most ${maxMb} MB. Received ${Math.ceil(this.file.size / 2 ** 20)} MB.`);
    }
    const include = ["activation_map", "lungs"];
    if (!(await this.#previewed)) include.push("preview");
    if (patient) include.push("patient");
    return predict(this.file, { include, signal, say: (text) => this.#say(text || STATES[this.state]) });
  }

  #show(answer) {
    this.find(".prediction").hidden = false;
    const notes = answer.flags.map((flag) => flag.text).filter((text) => text !== answer.reason);
    this.find(".flags").replaceChildren(...notes.map(item));
    this.find(".flags").hidden = notes.length === 0;
    if (answer.patient) this.#showPatient(answer.patient);
    if (answer.abstained) return this.#abstain(answer.reason);
    for (const bar of this.element.querySelectorAll(".bar")) {
      const share = answer.probabilities[bar.dataset.label];
      bar.querySelector(".percent").textContent = percent(share);
      bar.querySelector(".fill").style.width = `${100 * share}%`;
      bar.classList.toggle("most", bar.dataset.label === answer.label);
    }
    this.#showSureness(answer);
    this.#showPoints(answer.operating_points);
    const { name } = this.find(".bar.most").dataset;
    this.find(".verdict-class").textContent = name;
    if (answer.activation_map) this.#showMap(answer, name);
    return `most like ${name}, ${percent(answer.probabilities[answer.label])}.`;
  }

  #showPatient(patient) {
    for (const [keyword, value] of Object.entries(patient)) {
      this.find(`.patient [data-keyword=${keyword}]`).textContent = value || "not stated";
    }
    this.find(".patient").hidden = false;
  }

  /** Show the prediction set and the interval, in models that have them. */
  #showSureness({ prediction_set: possible, interval }) {
    if (!possible) return;
    const names = possible.map((label) => this.find(`.bar[data-label=${label}]`).dataset.name);
    this.find(".possible").textContent = names.length ? names.join(" or ") : "none of the classes";
    this.find(".interval-row").hidden = !interval;
    if (interval) this.find(".interval").textContent = interval.map((end) => percent(end)).join(" to ");
    this.find(".sureness").hidden = false;
  }

  #showPoints(calls) {
    for (const [name, { positive }] of Object.entries(calls)) {
      const point = this.find(`.point[data-name=${name}]`);
      point.querySelector(".side").textContent = positive ? "Above" : "Below";
      point.classList.toggle("positive", positive);
    }
    this.find(".points").hidden = Object.keys(calls).length === 0;
  }

  #abstain(reason) {
    this.find(".verdict-label").textContent = "The model";
    this.find(".verdict-class").textContent = "declines to answer";
    this.find(".reason").textContent = reason;
    this.find(".reason").hidden = false;
    this.find(".bars").hidden = true;
    return `the model declines to answer. ${reason}`;
  }

  #showMap({ activation_map: { values, contrast, box }, lungs, lung_share: lungShare }, name) {
    const [shown, strength, against] = [".map-shown", ".map-strength", ".map-against"].map((part) => this.find(part));
    const outlined = this.find(".lungs-shown");
    const draw = () => {
      this.viewer.show({ opacity: shown.checked ? strength.value / 100 : 0, outlined: outlined.checked });
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
    for (const [control, react] of [[shown, draw], [strength, draw], [outlined, draw], [against, choose]]) {
      control.addEventListener("input", react);
    }
    this.#labelMap(name, { contrast, lungs, lungShare });
    if (lungs) this.viewer.setLungs(lungs.values);
    choose();
    this.find(".framed").hidden = !this.viewer.framed;
  }

  #labelMap(name, { contrast, lungs, lungShare }) {
    const gradient = (colours) => `linear-gradient(to right, ${colours.map((rgb) => `rgb(${rgb})`)})`;
    this.find(".scale .ramp").style.background = gradient(mapStyle.colours);
    this.find(".scale-against .ramp").style.background = gradient([mapStyle.against.below, mapStyle.against.above]);
    this.find(".map-class").textContent = name;
    this.find(".against").hidden = !contrast;
    this.find(".outlined").hidden = !lungs;
    this.find(".in-lungs").hidden = lungShare === null;
    if (lungShare !== null) this.find(".lung-share").textContent = percent(lungShare);
    this.find(".map").hidden = false;
  }

  #fail(message) {
    this.summary = "not scored.";
    this.find(".error").textContent = message;
    this.find(".error").hidden = false;
    this.#enter("failed");
  }
}
