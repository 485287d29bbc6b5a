// Predictive values of the operating points at the share of people with COVID-19 that the reader sets.
import { percent } from "./text.js";

const results = document.getElementById("results");
const slider = document.getElementById("prevalence-slider"); // null, as the next one, in models without operating points
const number = document.getElementById("prevalence");
const points = JSON.parse(results.dataset.operatingPoints);
const template = document.getElementById("card").content;
const cards = document.getElementById("cards");
const UNASKED = 0.05; // in models without thresholds

/** The share, 0..1. */
export function prevalence() {
  return slider ? slider.value / 100 : UNASKED;
}

/** The slider holds the value, because it rounds and clamps whatever is typed. */
export function followPrevalence() {
  if (!slider) return;
  slider.addEventListener("input", () => {
    number.value = slider.value;
    showPredictiveValues();
  });
  number.addEventListener("input", () => {
    if (number.value === "") return; // still being typed
    slider.value = number.value;
    showPredictiveValues();
  });
  number.addEventListener("change", () => (number.value = slider.value));
  showPredictiveValues();
}

/** Write PPV and NPV at the current share into every card, and into the template of later ones. */
function showPredictiveValues() {
  slider.setAttribute("aria-valuetext", `${slider.value} %`);
  for (const point of points) {
    for (const [name, value] of Object.entries(predictiveValues(point, prevalence()))) {
      const text = Number.isNaN(value) ? "none" : percent(value, 1);
      const selector = `.point[data-name=${point.name}] .${name}`;
      for (const root of [template, cards]) {
        for (const element of root.querySelectorAll(selector)) element.textContent = text;
      }
    }
  }
}

/** Bayes' rule; NaN if nobody is on that side of the threshold. */
function predictiveValues({ sensitivity, specificity }, share) {
  const [found, missed] = [sensitivity * share, (1 - sensitivity) * share];
  const [cleared, alarmed] = [specificity * (1 - share), (1 - specificity) * (1 - share)];
  return { ppv: found / (found + alarmed), npv: cleared / (cleared + missed) };
}
