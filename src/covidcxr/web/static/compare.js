// Two radiographs side by side, with common zoom and pan.
import { follow, followButtons } from "./gestures.js";
import { Viewer } from "./viewer.js";

const dialog = document.getElementById("compare");
const sides = [...dialog.querySelectorAll(".pane")];
const together = dialog.querySelector(".together");
const mapped = dialog.querySelector(".mapped");
const viewers = sides.map((side) => new Viewer(side.querySelector("canvas")));
let strengths = [0, 0];

/** Open the view with two cards. */
export async function compare(cards) {
  strengths = cards.map((card) => (card.find(".map").hidden ? 0 : card.find(".map-strength").value / 100));
  mapped.disabled = !strengths.some(Boolean);
  dialog.showModal();
  await Promise.all(cards.map((card, i) => fill(sides[i], viewers[i], card)));
  viewers[0].zoomBy(0);
  showMaps();
}

async function fill(side, viewer, card) {
  side.querySelector("h3").textContent = card.file.name;
  side.querySelector("canvas").setAttribute("aria-label", `Radiograph ${card.file.name}`);
  side.querySelector(".stage").setAttribute("aria-label", `Viewer of ${card.file.name}`);
  const { summary } = card;
  side.querySelector(".summary").textContent = summary.charAt(0).toUpperCase() + summary.slice(1);
  const bars = card.find(".bars");
  side.querySelector(".pane-bars").replaceChildren(...(card.answer && !bars.hidden ? [bars.cloneNode(true)] : []));
  await viewer.adopt(card.viewer);
}

function showMaps() {
  viewers.forEach((viewer, i) => viewer.show({ opacity: mapped.checked ? strengths[i] : 0 }));
}

function same(a, b) {
  return a.zoom === b.zoom && a.x === b.x && a.y === b.y;
}

viewers.forEach((viewer, i) => {
  follow(sides[i].querySelector(".stage"), viewer);
  viewer.addEventListener("view", () => {
    const twin = viewers[1 - i];
    if (together.checked && !same(twin.view, viewer.view)) twin.view = viewer.view;
  });
});
followButtons(dialog, {
  zoomBy: (factor) => viewers.forEach((viewer, i) => (i === 0 || !together.checked) && viewer.zoomBy(factor)),
  addEventListener: (name, react) => viewers[0].addEventListener(name, react),
  get view() {
    return viewers[0].view;
  },
});
together.addEventListener("input", () => together.checked && (viewers[1].view = viewers[0].view));
mapped.addEventListener("input", showMaps);
dialog.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => viewers.forEach((viewer) => viewer.sleep()));
