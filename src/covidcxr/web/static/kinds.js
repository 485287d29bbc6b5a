// File formats, recognised by the first bytes.

/** Whether it is DICOM, with or without the header of PS3.10; the same test as in covidcxr.images. */
export async function isDicom(file) {
  const start = await first(file, 132);
  return String.fromCharCode(...start.slice(128)) === "DICM" || (start[1] === 0 && [2, 8].includes(start[0]));
}

/** Whether it is a PNG of 16 bits, which browsers show too dark: the depth is byte 24 (PNG, section 11.2.1). */
export async function isDeepPng(file) {
  const start = await first(file, 25);
  return String.fromCharCode(...start.slice(1, 4)) === "PNG" && start[24] === 16;
}

async function first(file, bytes) {
  return new Uint8Array(await file.slice(0, bytes).arrayBuffer());
}
