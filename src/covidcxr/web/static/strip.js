// All images at a glance: a thumbnail, a name and a state each, leading to the card.

const template = document.getElementById("strip-item").content;

/** Return the list item of a card; it follows the card. */
export function stripItem(card) {
  const element = template.firstElementChild.cloneNode(true);
  const link = element.querySelector("a");
  link.href = `#${card.element.id}`;
  element.querySelector(".strip-name").textContent = card.file.name;
  const follow = () => {
    element.dataset.state = card.state;
    const text = card.state === "done" ? card.summary.replace(/\.$/, "") : card.find(".state-text").textContent;
    element.querySelector(".strip-state").textContent = text;
  };
  card.addEventListener("state", follow);
  card.addEventListener("picture", () => element.querySelector(".thumb").replaceChildren(card.viewer.thumbnail()));
  link.addEventListener("click", (event) => {
    event.preventDefault(); // the address stays as it is: a reload has no cards to go to
    card.element.scrollIntoView();
    card.element.focus({ preventScroll: true });
  });
  follow();
  return element;
}
