// Upscales an image tile by tile, as udl_tf.inference.tiling does: the result is that of the whole.

const SIDE = 128; // LR pixels of a tile that are kept; around them, `margin` pixels are computed too

const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map();
let requests = 0;

worker.onmessage = ({ data: { id, maps, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error) reject(new Error(error));
  else resolve(maps);
};
worker.onerror = () => {
  for (const { reject } of waiting.values()) reject(new Error("this browser is too old"));
  waiting.clear();
};

function run(lr, height, width) {
  return new Promise((resolve, reject) => {
    const id = requests++;
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, lr, height, width }, [lr.buffer]);
  });
}

/** Cuts an axis into cores of nearly equal length, each inside a window with a margin. */
function planAxis(length, { margin, align }) {
  const count = Math.ceil(length / SIDE);
  return Array.from({ length: count }, (_, index) => {
    const start = Math.floor((length * index) / count);
    const stop = Math.floor((length * (index + 1)) / count);
    const first = Math.max(start - margin, 0);
    return { start, stop, first: first - (first % align), last: Math.min(stop + margin, length) };
  });
}

/** Returns the window of an image without its alpha, as floats. */
function cut(pixels, width, rows, columns) {
  const lr = new Float32Array((rows.last - rows.first) * (columns.last - columns.first) * 3);
  let target = 0;
  for (let y = rows.first; y < rows.last; y++) {
    for (let x = columns.first; x < columns.last; x++) {
      const source = 4 * (y * width + x);
      for (let channel = 0; channel < 3; channel++) lr[target++] = pixels[source + channel];
    }
  }
  return lr;
}

/** Copies the core of a window into the result. */
function paste(maps, result, scale, rows, columns) {
  const step = (columns.last - columns.first) * scale;
  for (let y = rows.start * scale; y < rows.stop * scale; y++) {
    for (let x = columns.start * scale; x < columns.stop * scale; x++) {
      const source = 3 * ((y - rows.first * scale) * step + x - columns.first * scale);
      const target = y * result.width + x;
      let sum = 0;
      for (let channel = 0; channel < 3; channel++) {
        const theta = maps.theta[source + channel];
        // Uint8ClampedArray rounds and clips.
        result.pixels[4 * target + channel] = maps.sr[source + channel];
        result.squares += theta * theta;
        sum += theta;
      }
      result.pixels[4 * target + 3] = 255;
      result.theta[target] = sum / 3;
    }
  }
}

/**
 * Upscales an image.
 * @param image ImageData, opaque.
 * @param facts model.json: scale, margin and align.
 * @param report receives the share that is done; returns whether to continue.
 * @returns {width, height, pixels (RGBA), theta (mean over channels), squares (sum of theta²)}, or
 *   null if it was stopped.
 */
export async function upscale({ data, width, height }, facts, report) {
  const { scale } = facts;
  const count = width * height * scale ** 2;
  const result = {
    width: width * scale,
    height: height * scale,
    pixels: new Uint8ClampedArray(4 * count),
    theta: new Float32Array(count),
    squares: 0,
  };
  let done = 0;
  for (const rows of planAxis(height, facts)) {
    for (const columns of planAxis(width, facts)) {
      const window = cut(data, width, rows, columns);
      const maps = await run(window, rows.last - rows.first, columns.last - columns.first);
      paste(maps, result, scale, rows, columns);
      done += (rows.stop - rows.start) * (columns.stop - columns.start);
      if (!report(done / (width * height))) return null;
    }
  }
  return result;
}
