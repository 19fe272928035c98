// The page: takes an image, shows the result beside the interpolated image, and its uncertainty.

import { upscale } from "./upscaling.js";

const MOST_PIXELS = 1024 * 1024; // the result has 16 times as many, the limit of canvases on phones
const GREY = [128, 128, 128];
const LOSSY = ["image/jpeg", "image/webp", "image/avif"];
const WARNING = " If this file has visible compression artefacts, θ is too small.";
const OPAQUE = { alpha: false };

const at = (id) => document.getElementById(id);
const facts = await (await fetch("model.json")).json();
let job = 0; // number of the latest one; the others stop
let shown = null; // result of upscale
let frame = 0; // the next drawing of theta

at("scale").textContent = `×${facts.scale}`;
at("limit").textContent = `JPEG, PNG, WebP, … with at most ${MOST_PIXELS.toLocaleString("en")} \
pixels, such as 1024 × 1024`;
for (const name of ["name", "limits", "licence"]) at(name).textContent = facts[name];

function say(text) {
  at("message").textContent = text;
}

/** Decodes a file, upright, in sRGB and on white where it is transparent. */
async function decode(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name}: not an image that this browser can read; choose a JPEG or PNG`);
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) {
    throw new Error(`${file.name}: ${width} × ${height} pixels, expected at most \
${MOST_PIXELS.toLocaleString("en")} in all; crop it`);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  return { bitmap, image: context.getImageData(0, 0, width, height) };
}

function timeLeft(start, share) {
  const seconds = Math.ceil(((performance.now() - start) / 1000) * (1 / share - 1));
  return seconds > 90 ? `${Math.round(seconds / 60)} minutes left` : `${seconds} s left`;
}

async function open(file) {
  const own = ++job;
  try {
    const { bitmap, image } = await decode(file);
    at("result").hidden = true;
    at("running").hidden = false;
    at("progress").removeAttribute("value"); // its end is unknown while the network is loaded
    say(`Upscaling ${file.name} …`);
    const start = performance.now();
    const result = await upscale(image, facts, (share) => {
      if (own !== job) return false;
      at("progress").value = share;
      say(`Upscaling ${file.name}: ${timeLeft(start, share)}`);
      return true;
    });
    if (result) show(file, bitmap, result);
  } catch (error) {
    if (own === job) say(error.message);
  }
  if (own === job) at("running").hidden = true;
}

function show({ name, type }, bitmap, result) {
  const { width, height } = result;
  for (const id of ["before", "after", "theta"]) Object.assign(at(id), { width, height });
  const [before, after] = ["before", "after"].map((id) => at(id).getContext("2d", OPAQUE));
  before.imageSmoothingQuality = "high";
  before.fillStyle = "white";
  before.fillRect(0, 0, width, height);
  before.drawImage(bitmap, 0, 0, width, height);
  after.putImageData(new ImageData(result.pixels, width, height), 0, 0);
  shown = result;
  at("result").hidden = false;
  say(`${name}: ${width} × ${height} pixels`);
  describe(LOSSY.includes(type));
  drawTheta();
  offer(name);
}

function describe(lossy) {
  const { theta, squares } = shown;
  const mean = theta.reduce((sum, value) => sum + value, 0) / theta.length;
  // The mean squared error of Laplace errors is 2 theta².
  const psnr = 10 * Math.log10(255 ** 2 / ((2 * squares) / (3 * theta.length)));
  at("summary").textContent = `Nine of ten true values are expected within \
${facts.factor.toPrecision(2)} θ of the result. θ is ${mean.toPrecision(2)} grey levels on average. \
Predicted PSNR: ${psnr.toFixed(1)} dB.${lossy ? WARNING : ""}`;
  at("middle").textContent = facts.top / 2;
  at("top").textContent = `${facts.top} or more`;
  const bar = new ImageData(256, 1);
  facts.colors.forEach((color, index) => bar.data.set([...color, 255], 4 * index));
  at("bar").getContext("2d").putImageData(bar, 0, 0);
}

/** Draws theta in colour, and greys out where the interval is wider than the level. */
function drawTheta() {
  const { theta, width, height } = shown;
  const alpha = Math.round(2.55 * at("opacity").value);
  const level = Number(at("level").value);
  const limit = level > 255 ? Infinity : level / (2 * facts.factor);
  at("wider").textContent = level > 255 ? "off" : `${level} grey levels`;
  const overlay = new ImageData(width, height);
  for (let index = 0; index < theta.length; index++) {
    const hidden = theta[index] > limit;
    if (!hidden && alpha === 0) continue;
    const share = Math.min(Math.floor((theta[index] / facts.top) * 256), 255);
    const color = hidden ? GREY : facts.colors[share];
    for (let channel = 0; channel < 3; channel++) {
      overlay.data[4 * index + channel] = color[channel];
    }
    overlay.data[4 * index + 3] = hidden ? 255 : alpha;
  }
  at("theta").getContext("2d").putImageData(overlay, 0, 0);
}

function offer(name) {
  at("after").toBlob((blob) => {
    URL.revokeObjectURL(at("download").href);
    at("download").href = URL.createObjectURL(blob);
    at("download").download = `${name.replace(/\.[^.]*$/, "")}_x${facts.scale}.png`;
  }, "image/png");
}

function moveTo(percent) {
  at("position").value = percent;
  at("stack").style.setProperty("--position", `${at("position").value}%`);
}

at("file").onchange = ({ target }) => target.files.length && open(target.files[0]);
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // the browser would open the file
    at("drop").classList.toggle("over", kind === "dragover");
    const [file] = kind === "drop" ? event.dataTransfer.files : [];
    if (file) open(file);
  });
}
at("cancel").onclick = () => {
  job++;
  at("running").hidden = true;
  say("Cancelled.");
};
at("position").oninput = ({ target }) => moveTo(target.value);
at("stack").onpointermove = ({ buttons, pointerType, clientX }) => {
  if (pointerType === "mouse" && !buttons) return;
  const { left, width } = at("stack").getBoundingClientRect();
  moveTo((100 * (clientX - left)) / width);
};
at("actual").onchange = ({ target }) => at("stack").classList.toggle("actual", target.checked);
for (const id of ["opacity", "level"]) {
  at(id).oninput = () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(drawTheta);
  };
}
moveTo(50);
