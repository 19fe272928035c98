// Runs the trained model, apart from the page, which stays responsive.

import * as ort from "./ort.wasm.bundle.min.mjs";

async function read(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return response;
}

async function load() {
  const packed = (await read("runtime.bin")).body; // gzip: a quarter of the size
  const runtime = new Response(packed.pipeThrough(new DecompressionStream("gzip")));
  ort.env.wasm.wasmBinary = await runtime.arrayBuffer();
  ort.env.wasm.numThreads = 1; // several need HTTP headers that static hosts do not send
  return ort.InferenceSession.create(await (await read("model.onnx")).arrayBuffer());
}

const session = load();

// lr: Float32Array of height x width x 3, RGB in 0..255; the answer has the model's "sr" and "theta".
self.onmessage = async ({ data: { id, lr, height, width } }) => {
  try {
    const image = new ort.Tensor("float32", lr, [1, height, width, 3]);
    const { sr, theta } = await (await session).run({ lr: image });
    const maps = { sr: sr.data, theta: theta.data };
    self.postMessage({ id, maps }, [maps.sr.buffer, maps.theta.buffer]);
  } catch (error) {
    self.postMessage({ id, error: String(error?.message ?? error) });
  }
};
