// Mouse, touch and keyboard control of a viewer: wheel and pinch zoom, dragging pans or sets the window.

const STEP = 1.25; // zoom of one key or button
const CLOSER = 2.5; // zoom of a double click
const ARROWS = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };

/** Let a stage control its viewer; if `windowing()`, dragging sets the window instead of moving the picture. */
export function follow(stage, viewer, windowing = () => false) {
  followWheel(stage, viewer);
  followKeys(stage, viewer);
  followPointers(stage, viewer, windowing);
  viewer.addEventListener("view", () => stage.classList.toggle("zoomed", viewer.view.zoom > 1));
}

export function followButtons(root, viewer) {
  root.querySelector(".zoom-in").addEventListener("click", () => viewer.zoomBy(STEP));
  root.querySelector(".zoom-out").addEventListener("click", () => viewer.zoomBy(1 / STEP));
  root.querySelector(".fit").addEventListener("click", () => viewer.zoomBy(0));
  viewer.addEventListener("view", () => {
    root.querySelector(".zoom").textContent = `${Math.round(100 * viewer.view.zoom)} %`;
  });
}

/** The wheel scrolls the page until the stage has been clicked or tabbed to; with Ctrl, or a pinched pad, it zooms. */
function followWheel(stage, viewer) {
  stage.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== stage) return;
      event.preventDefault();
      viewer.zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), ...place(stage, event));
    },
    { passive: false },
  );
}

function followKeys(stage, viewer) {
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") viewer.zoomBy(STEP);
    else if (event.key === "-") viewer.zoomBy(1 / STEP);
    else if (event.key === "0") viewer.zoomBy(0);
    else if (event.key in ARROWS && viewer.view.zoom > 1) viewer.moveBy(...ARROWS[event.key]);
    else return;
    event.preventDefault();
  });
}

function followPointers(stage, viewer, windowing) {
  const fingers = new Map();
  const release = (event) => fingers.delete(event.pointerId);

  stage.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, event);
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    fingers.set(event.pointerId, event);
    const { width, height } = stage.getBoundingClientRect();
    const [dx, dy] = [(event.clientX - before.clientX) / width, (event.clientY - before.clientY) / height];
    if (fingers.size === 2) pinch(stage, viewer, before, event, other(fingers, event));
    else if (windowing()) drag(viewer, dx, dy);
    else viewer.moveBy(dx, dy);
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, release);
  stage.addEventListener("dblclick", (event) => {
    viewer.zoomBy(viewer.view.zoom > 1 ? 0 : CLOSER, ...place(stage, event));
  });
}

function other(fingers, { pointerId }) {
  return [...fingers.values()].find((finger) => finger.pointerId !== pointerId);
}

/** One of two fingers moved: scale the picture with their distance and move it with their middle. */
function pinch(stage, viewer, before, after, still) {
  const apart = (finger) => Math.hypot(finger.clientX - still.clientX, finger.clientY - still.clientY);
  const middle = (finger) => place(stage, {
    clientX: (finger.clientX + still.clientX) / 2,
    clientY: (finger.clientY + still.clientY) / 2,
  });
  const [[x0, y0], [x1, y1]] = [middle(before), middle(after)];
  viewer.zoomBy(apart(after) / Math.max(1, apart(before)), x0, y0);
  viewer.moveBy(x1 - x0, y1 - y0);
}

/** As in a radiology viewer: sideways changes the window, up and down the level. */
function drag(viewer, dx, dy) {
  const { width, level } = viewer.window;
  viewer.window = { width: width + 255 * dx, level: level + 255 * dy };
}

/** Where an event is, as an offset from the middle of the stage in shares of its size. */
function place(stage, { clientX, clientY }) {
  const { left, top, width, height } = stage.getBoundingClientRect();
  return [(clientX - left) / width - 0.5, (clientY - top) / height - 0.5];
}
