// Outside of browsers: node generate.js BUNDLE cpu|webgpu FILE, or the same with Deno, which has WebGPU.
import { writeFile } from "node:fs/promises";
import { load } from "onestep";

const [bundle, backend, file] = process.argv.slice(2);
const options = { backend };
if (backend === "webgpu" && !globalThis.navigator?.gpu) {
  const { create, globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  options.gpu = create([]);
}
const model = await load(bundle, options);
const image = await model.generate("red apple", { seed: 1 });
await writeFile(file, new Uint8Array(await (await image.png()).arrayBuffer()));
console.log(`${model.device.name}, ${Math.round(image.timings.total)} ms`);
await model.dispose();
