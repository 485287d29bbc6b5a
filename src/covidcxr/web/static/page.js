// The page: files in, cards out.
import { Card } from "./card.js";
import { compare } from "./compare.js";
import { saveCsv, saveJson } from "./downloads.js";
import { followPrevalence } from "./prevalence.js";
import { Queue } from "./queue.js";
import { followSamples } from "./samples.js";
import { stripItem } from "./strip.js";
import { count } from "./text.js";

const LANES = 2; // requests in progress at the same time
const byId = (id) => document.getElementById(id);
const [form, input, results, list, strip, progress] = ["drop", "files", "results", "cards", "strip", "progress"].map(byId);
const queue = new Queue(LANES);
const inSight = new IntersectionObserver(turn, { rootMargin: "100% 0px" });
let cards = [];
let picked = []; // to be compared, the latest last

function add(files) {
  if (!files.length) return;
  const options = { maxMb: Number(form.dataset.maxMb), patient: byId("patient").checked };
  const added = files.map((file) => new Card(file, options));
  cards.push(...added);
  list.append(...added.map((card) => card.element));
  strip.append(...added.map(stripItem)); // first: draws the thumbnail while the picture is decoded
  added.forEach(follow);
  results.hidden = false;
  document.body.classList.add("has-results");
  report();
  showPreviews(added);
  queue.add(...added);
  if (results.getBoundingClientRect().top > innerHeight / 2) results.scrollIntoView(); // on a phone they are out of sight
}

function follow(card) {
  inSight.observe(card.element);
  card.addEventListener("state", () => report(card));
  card.addEventListener("picture", () => visible(card.element) || card.viewer.sleep());
  card.addEventListener("again", () => queue.add(card));
  const box = card.find(".picked");
  box.addEventListener("change", () => pick(card, box.checked));
}

/** One at a time, so that a hundred images are not decoded at once. */
async function showPreviews(shown) {
  for (const card of shown) await card.preview();
}

/** Free the memory of pictures that are far out of sight. */
function turn(entries) {
  for (const { target, isIntersecting } of entries) {
    const card = cards.find(({ element }) => element === target);
    if (!isIntersecting) card?.viewer.sleep();
    else card?.viewer.wake().catch(() => target.classList.remove("pictured")); // the file was deleted
  }
}

function visible(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > -innerHeight && top < 2 * innerHeight;
}

/** Report the progress, and the latest result to screen readers. */
function report(latest) {
  const settled = cards.filter((card) => card.settled);
  const number = (state) => cards.filter((card) => card.state === state).length;
  const [done, failed, cancelled] = ["done", "failed", "cancelled"].map(number);
  const open = cards.length - settled.length;
  byId("count").textContent = open ? `${done} of ${cards.length} done` : `${count(done, "file")} done`;
  const others = [["failed", failed], ["cancelled", cancelled]].filter(([, n]) => n);
  byId("others").textContent = others.map(([state, n]) => `, ${n} ${state}`).join("");
  if (latest?.settled && cards.includes(latest)) byId("outcome").textContent = `${latest.file.name}: ${latest.summary}`;
  progress.max = Math.max(1, cards.length);
  progress.value = settled.length;
  progress.hidden = cards.length < 2 || !open;
  byId("cancel").hidden = !open;
  for (const id of ["all-json", "all-csv"]) byId(id).disabled = !(done + failed);
}

function pick(card, chosen) {
  picked = picked.filter((other) => other !== card);
  if (chosen) picked.push(card);
  if (picked.length > 2) picked.shift().find(".picked").checked = false;
  byId("open-compare").disabled = picked.length < 2;
}

function clear() {
  queue.cancel();
  inSight.disconnect();
  cards = [];
  picked = [];
  byId("open-compare").disabled = true;
  byId("outcome").textContent = "";
  list.replaceChildren();
  strip.replaceChildren();
  results.hidden = true;
  document.body.classList.remove("has-results");
  input.focus();
}

function scored() {
  return cards.filter(({ state }) => state === "done" || state === "failed");
}

input.addEventListener("change", () => {
  add([...input.files]);
  input.value = ""; // so that choosing the same file again is a change
});
byId("clear").addEventListener("click", clear);
byId("cancel").addEventListener("click", () => {
  queue.cancel();
  byId("clear").focus(); // the button is hidden now
});
byId("open-compare").addEventListener("click", () => compare(picked));
byId("all-json").addEventListener("click", () => saveJson(scored()));
byId("all-csv").addEventListener("click", () => saveCsv(scored()));
followPrevalence();
followSamples(add);
form.addEventListener("submit", (event) => event.preventDefault());
// The whole page accepts drops: a file dropped beside the field would replace the page.
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
document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
