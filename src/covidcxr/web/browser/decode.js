// Image files to grey pixels, by the browser's own decoders; on a server, covidcxr.images does this.
import { isDeepPng, isDicom } from "./kinds.js";

const EXPECTED = "Expected a PNG, JPEG, BMP or WebP image of 8 bits";
const PIXELS = { smallest: 32, most: 64_000_000 }; // as in covidcxr.images

/** Resolves to {values, width, height}; rejects with a sentence that names the file. */
export async function decode(file) {
  const refuse = (reason) => new Error(`${EXPECTED}. Received ${file.name}: ${reason}.`);
  if (await isDicom(file)) throw refuse("DICOM, which needs a server");
  if (await isDeepPng(file)) throw refuse("16 bits, which browsers truncate");
  // no colour management, and the stored values of transparent pixels
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch(() => {
    throw refuse("another format");
  });
  const { width, height } = bitmap;
  if (Math.min(width, height) < PIXELS.smallest) throw refuse(`${width} x ${height} pixels, below 32 x 32`);
  if (width * height > PIXELS.most) throw refuse(`${width} x ${height} pixels, above the limit of ${PIXELS.most}`);
  const pen = new OffscreenCanvas(width, height).getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { values: greyOf(pen.getImageData(0, 0, width, height).data), width, height };
}

/** Luma as in Pillow (ITU-R BT.601, 16 bits), transparent pixels over black. */
function greyOf(rgba) {
  const values = new Uint8Array(rgba.length / 4);
  for (let i = 0; i < values.length; i++) {
    const luma = (19595 * rgba[4 * i] + 38470 * rgba[4 * i + 1] + 7471 * rgba[4 * i + 2] + 0x8000) >> 16;
    values[i] = Math.round((luma * rgba[4 * i + 3]) / 255);
  }
  return values;
}
