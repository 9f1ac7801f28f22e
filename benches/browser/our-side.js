// Our package, used as any page uses it: prompts in, images out. Its own timings say how long each component
// took.
import { decibels, rgba, tensors } from "./tensors.js";

/** Two prompts in turn: the same one twice in a row would not be encoded again. */
let prompts, seed, model, folder;
let turn = 0;

/**
 * `backend` is the package's option of that name. A package that does not know it gives another device, and
 * is told apart by that.
 */
export async function open({ settings, folder: at, prompt, seed: given }) {
  const { load } = await import("/web/packages/onestep/src/public/index.js");
  [folder, seed, prompts] = [at, given, [prompt, "a cat face"]];
  const begun = performance.now();
  model = await load(`${folder}bundle/`, { assets: "/", backend: settings.backend });
  if (model.backend !== settings.backend) {
    await model.dispose();
    throw new Error(`not built: the package has no backend ${settings.backend}`);
  }
  const { vendor, architecture, description } =
    (settings.backend === "webgpu" && (await navigator.gpu?.requestAdapter())?.info) || {};
  const adapter =
    settings.backend === "webgpu"
      ? [vendor, architecture, description].filter(Boolean).join(" ")
      : model.device.name;
  return { adapter, opened_ms: performance.now() - begun };
}

/** Peak signal-to-noise ratio of the image against the reference's, in decibels. */
export async function agreement() {
  const image = await model.generate(prompts[0], { seed });
  turn = 1;
  const { sample } = await tensors(`${folder}tensors.safetensors`);
  return decibels(image.pixels().data, rgba(sample.data));
}

/** One image is asked for the times of its stages, another for nothing but itself. */
export async function run() {
  const { timings } = await model.generate(prompts[turn++ % 2], { seed, stages: true });
  const begun = performance.now();
  await model.generate(prompts[turn++ % 2], { seed });
  const image = performance.now() - begun;
  return { text_encoder: timings.text, generator: timings.generator, decoder: timings.decoder, image };
}
