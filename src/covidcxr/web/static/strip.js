// Overview of all images: thumbnail, name and state of each, with a link to its card.

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
    event.preventDefault(); // keeps the address: after a reload there are no cards
    card.element.scrollIntoView();
    card.element.focus({ preventScroll: true });
  });
  follow();
  return element;
}
