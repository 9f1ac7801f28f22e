// onnxruntime-web in a worker, because our package uses one too. One message is one call: { id, call, ... }
// → { id, result } or { id, error }.
import { relative, rgba, tensors } from "./tensors.js";

/** What each component takes, and the name under which the reference has what it gives. */
const TAKES = {
  text_encoder: ["input_ids"],
  generator: ["noise", "encoder_hidden_states"],
  decoder: ["latents"],
};
const GIVES = { text_encoder: "encoder_hidden_states", generator: "latents", decoder: "sample" };

/**
 * The runtime's module, its GPU if it has one, the sessions by component, the reference, and the inputs as
 * the runtime wants them.
 */
let ort, device, reference;
const sessions = {};
const inputs = {};

const CALLS = {
  /** Loads the build that `settings` names and opens a session for each component. */
  async open({ settings, folder }) {
    const begun = performance.now();
    ort = await import(`/ort/${settings.build}`);
    ort.env.wasm.wasmPaths = new URL("/ort/", self.location).href;
    ort.env.wasm.numThreads = settings.threads ?? 1;
    ort.env.logLevel = "error";
    const webgpu = settings.provider === "webgpu";
    for (const component of Object.keys(TAKES)) {
      const bytes = new Uint8Array(await (await fetch(`${folder}${component}.onnx`)).arrayBuffer());
      sessions[component] = await ort.InferenceSession.create(bytes, {
        executionProviders: [webgpu ? { name: "webgpu", preferredLayout: "NHWC" } : "wasm"],
        graphOptimizationLevel: "all",
        // What a component gives stays on the GPU until somebody asks for it.
        ...(webgpu ? { preferredOutputLocation: "gpu-buffer" } : {}),
      });
    }
    if (webgpu) device = await ort.env.webgpu.device;
    reference = await tensors(`${folder}tensors.safetensors`);
    for (const name of ["input_ids", "noise", "encoder_hidden_states", "latents"])
      inputs[name] = createInput(name, reference[name]);
    const { vendor, architecture, description } = device?.adapterInfo ?? {};
    return {
      version: ort.env.versions.web,
      adapter: device && [vendor, architecture, description].filter(Boolean).join(" "),
      threads: ort.env.wasm.numThreads,
      isolated: self.crossOriginIsolated,
      opened_ms: performance.now() - begun,
    };
  },

  /** How far a component's result is from the reference's, on the reference's inputs: relative L2. */
  async agreement({ component }) {
    const found = await host(await evaluate(component));
    return relative(found, reference[GIVES[component]].data);
  },

  /**
   * Milliseconds from tensors on the host to tensors on the host; an image is from ids and noise to bytes.
   */
  async run({ component }) {
    const begun = performance.now();
    if (component !== "image") {
      await host(await evaluate(component));
      return performance.now() - begun;
    }
    const states = await evaluate("text_encoder");
    const latents = await evaluate("generator", { encoder_hidden_states: { tensor: states } });
    rgba(await host(await evaluate("decoder", { latents: { tensor: latents } })));
    const took = performance.now() - begun;
    states.dispose();
    latents.dispose();
    return took;
  },
};

/** A tensor on the host; where there is a GPU, a buffer on it that is written before each run. */
function createInput(name, { dims, data: floats }) {
  const [type, data] = name === "input_ids" ? ["int32", Int32Array.from(floats)] : ["float32", floats];
  if (!device) return { tensor: new ort.Tensor(type, data, dims) };
  const size = Math.ceil(data.byteLength / 16) * 16;
  const buffer = device.createBuffer({
    size,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
  });
  return { tensor: ort.Tensor.fromGpuBuffer(buffer, { dataType: type, dims }), buffer, data };
}

async function evaluate(component, others = {}) {
  const feeds = {};
  for (const name of TAKES[component]) {
    const { tensor, buffer, data } = others[name] ?? inputs[name];
    if (buffer) device.queue.writeBuffer(buffer, 0, data);
    feeds[name] = tensor;
  }
  return Object.values(await sessions[component].run(feeds))[0];
}

async function host(tensor) {
  const values = await tensor.getData(true);
  tensor.dispose();
  return values;
}

self.onmessage = async ({ data: { id, call, ...rest } }) => {
  try {
    self.postMessage({ id, result: await CALLS[call](rest) });
  } catch (error) {
    self.postMessage({ id, error: String(error?.message ?? error) });
  }
};
