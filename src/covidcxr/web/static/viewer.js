// A radiograph on a canvas with window and level, activation map, outline of the lungs, zoom and pan.
import { outline, paint, sized } from "./heat.js";

const LONGER_SIDE = 1536; // pixels of a picture in memory, while it is in sight
const LARGEST_ZOOM = 8;
const ALL = { width: 255, level: 127.5 }; // the window that changes no grey value
const THUMBNAIL = 144; // pixels

export class Viewer extends EventTarget {
  #canvas;
  #source = null; // Blob or data: URL
  #picture = null; // canvas with the radiograph; null while it is out of sight
  #pixels = null; // its grey values, once a window asks for them
  #heat = null; // canvas with the coloured map
  #lungs = null; // Path2D in a square of side 1
  #box = [0, 0, 1, 1]; // left, top, right, bottom of both as shares of the picture
  #opacity = 0;
  #outlined = false;
  #window = ALL;
  #view = { zoom: 1, x: 0, y: 0 };

  constructor(canvas) {
    super();
    this.#canvas = canvas;
  }

  /** Show a picture, a Blob or a data: URL; rejects if the browser cannot decode it. */
  async load(source) {
    this.#picture = await decode(source);
    this.#source = source;
    this.#pixels = null;
    this.draw();
  }

  /** Show what another viewer shows. */
  async adopt(other) {
    this.#heat = other.#heat;
    this.#lungs = other.#lungs;
    this.#box = other.#box;
    this.#opacity = other.#opacity;
    this.#outlined = other.#outlined;
    this.#window = other.#window;
    await this.load(other.#source);
  }

  /** Decode the picture again when it comes into sight. */
  async wake() {
    if (this.#source && !this.#picture) await this.load(this.#source);
  }

  /** Free the memory of the picture while it is out of sight. */
  sleep() {
    this.#picture = this.#pixels = null;
    this.#canvas.width = this.#canvas.height = 0;
  }

  /** Return a small canvas with the middle of the picture. */
  thumbnail() {
    const { width, height } = this.#picture;
    const side = Math.min(width, height);
    const small = sized(THUMBNAIL, THUMBNAIL);
    const pen = small.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.#picture, (width - side) / 2, (height - side) / 2, side, side, 0, 0, THUMBNAIL, THUMBNAIL);
    return small;
  }

  /** Set the map: rows of numbers, its box in the picture, and its colours (see heat.js). */
  setMap(values, box, colour) {
    this.#heat = paint(values, colour);
    this.#box = box;
  }

  /** Set the probabilities of lung, on the grid of the map. */
  setLungs(values) {
    this.#lungs = outline(values);
  }

  /** Show the map with an opacity of 0 (none) to 1, and the outline of the lungs or not. */
  show({ opacity = this.#opacity, outlined = this.#outlined }) {
    this.#opacity = opacity;
    this.#outlined = outlined;
    this.draw();
  }

  get window() {
    return this.#window;
  }

  /** Spread the grey values of a window over black to white: `width` 1..255 of them around `level` 0..255. */
  set window({ width, level }) {
    this.#window = { width: clamp(width, 1, 255), level: clamp(level, 0, 255) };
    this.draw();
    this.dispatchEvent(new Event("window"));
  }

  resetWindow() {
    this.window = ALL;
  }

  get view() {
    return this.#view;
  }

  /** Set zoom (1 is the whole picture) and offset (shares of the stage's width and height). */
  set view({ zoom, x, y }) {
    zoom = clamp(zoom, 1, LARGEST_ZOOM);
    const reach = (zoom - 1) / 2;
    this.#view = { zoom, x: clamp(x, -reach, reach), y: clamp(y, -reach, reach) };
    this.#canvas.style.transform = `translate(${100 * this.#view.x}%, ${100 * this.#view.y}%) scale(${zoom})`;
    this.dispatchEvent(new Event("view"));
  }

  /** Zoom by a factor around a place, given as an offset from the middle of the stage in shares of its size. */
  zoomBy(factor, px = 0, py = 0) {
    const { zoom, x, y } = this.#view;
    const next = clamp(zoom * factor, 1, LARGEST_ZOOM);
    const grown = next / zoom;
    this.view = { zoom: next, x: px - (px - x) * grown, y: py - (py - y) * grown };
  }

  moveBy(dx, dy) {
    const { zoom, x, y } = this.#view;
    this.view = { zoom, x: x + dx, y: y + dy };
  }

  /** Whether the map covers only a part of the picture, which then gets a frame. */
  get framed() {
    return this.#box.some((edge) => edge > 0 && edge < 1);
  }

  draw() {
    if (!this.#picture) return;
    const { width, height } = this.#picture;
    if (this.#canvas.width !== width) this.#canvas.width = width;
    if (this.#canvas.height !== height) this.#canvas.height = height;
    const pen = this.#canvas.getContext("2d");
    if (this.#window.width === ALL.width && this.#window.level === ALL.level) pen.drawImage(this.#picture, 0, 0);
    else pen.putImageData(this.#windowed(), 0, 0);
    const [left, top, right, bottom] = this.#box;
    const area = [left * width, top * height, (right - left) * width, (bottom - top) * height];
    if (this.#heat && this.#opacity) this.#drawMap(pen, area);
    if (this.#lungs && this.#outlined) drawOutline(pen, this.#lungs, area);
  }

  #drawMap(pen, area) {
    pen.save();
    pen.globalAlpha = this.#opacity;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.#heat, ...area);
    pen.restore();
    if (this.framed) drawFrame(pen, area);
  }

  #windowed() {
    const { width, height } = this.#picture;
    this.#pixels ??= this.#picture.getContext("2d").getImageData(0, 0, width, height);
    const shown = new ImageData(new Uint8ClampedArray(this.#pixels.data), width, height);
    const low = this.#window.level - this.#window.width / 2;
    const table = Uint8ClampedArray.from({ length: 256 }, (_, grey) => (255 * (grey - low)) / this.#window.width);
    const { data } = shown;
    for (let i = 0; i < data.length; i += 4) {
      data[i] = table[data[i]];
      data[i + 1] = table[data[i + 1]];
      data[i + 2] = table[data[i + 2]];
    }
    return shown;
  }
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

async function decode(source) {
  const url = typeof source === "string" ? source : URL.createObjectURL(source);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } finally {
    if (url !== source) URL.revokeObjectURL(url);
  }
  const scale = Math.min(1, LONGER_SIDE / Math.max(image.naturalWidth, image.naturalHeight));
  const picture = sized(Math.round(image.naturalWidth * scale), Math.round(image.naturalHeight * scale));
  const pen = picture.getContext("2d");
  pen.fillRect(0, 0, picture.width, picture.height); // transparent areas are black, as for the model
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image, 0, 0, picture.width, picture.height);
  return picture;
}

function drawFrame(pen, area) {
  pen.save();
  pen.lineWidth = Math.max(1, pen.canvas.width / 400);
  pen.setLineDash([4 * pen.lineWidth, 4 * pen.lineWidth]);
  pen.strokeStyle = "rgb(255 255 255 / 55%)";
  pen.strokeRect(...area);
  pen.restore();
}

/** A light line on a dark one, visible on every grey and every colour of the map. */
function drawOutline(pen, path, [left, top, width, height]) {
  const placed = new Path2D();
  placed.addPath(path, new DOMMatrix([width, 0, 0, height, left, top]));
  const thin = Math.max(1.5, pen.canvas.width / 350);
  pen.save();
  pen.lineJoin = pen.lineCap = "round";
  for (const [colour, thickness] of [["rgb(0 0 0 / 55%)", 2 * thin], ["rgb(120 230 255)", thin]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = thickness;
    pen.stroke(placed);
  }
  pen.restore();
}
