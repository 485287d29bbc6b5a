// Formats of numbers and lines of text. Strings of the user or the server are only ever assigned to textContent.

export function percent(share, digits = 0) {
  const value = 100 * share;
  const unit = 10 ** -digits;
  if (value < unit / 2) return `< ${unit} %`;
  if (value > 100 - unit / 2) return `> ${100 - unit} %`;
  return `${value.toFixed(digits)} %`;
}

export function item(text) {
  const element = document.createElement("li");
  element.textContent = text;
  return element;
}

/** "1 file", "2 files". */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
