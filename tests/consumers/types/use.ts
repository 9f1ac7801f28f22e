import {
  cache,
  load,
  probe,
  ModelPool,
  OneStepError,
  type GeneratedImage,
  type KernelCost,
  type Noise,
} from "onestep";
async function main(input: HTMLInputElement, canvas: HTMLCanvasElement, files: FileList) {
  const here = await probe("/bundle/");
  if (here.backend === null) throw new Error(here.reasons[0]);
  const cost: number = here.downloadBytes - here.cachedBytes + (here.freeBytes ?? 0);
  await using model = await load(
    { files: [...files] },
    { cache: "memory", onProgress: ({ phase, cached }) => console.log(phase, cached, cost) },
  );
  const noise: Noise = { from: 1, to: 2n, t: 0.5 };
  const image: GeneratedImage = await model.generate("x", { noise });
  const seed: bigint | undefined = image.seed;
  input.oninput = async () => {
    const live = await model.live(input.value, { seed: 7, canvas });
    live?.pixels();
  };
  for await (const frame of model.walk("x", [1, 2n], 24, { pixels: true })) frame.pixels();
  for (const entry of await cache.list()) await cache.remove(entry.id);
  model.lost.then((error: OneStepError) => error.kind === "device-lost");
  const costs: KernelCost[] = await model.profile("x", { seed: 1 });
  const bytes: number = model.memoryBytes + costs.length;
  const device = await (await navigator.gpu.requestAdapter())!.requestDevice();
  await using own = await load("/bundle/", { device, backend: "webgpu" });
  await using pool = new ModelPool({ maxMemoryBytes: 2 * bytes, backend: "cpu" });
  (
    await pool.load({ url: "/bundle/", sha256: own.model.id }, { signal: AbortSignal.timeout(1000) })
  ).lost.catch(() => pool.models.length);
  await load("/bundle/", { worker: false });
  // @ts-expect-error
  await model.generate("x", { noise: { from: 1 } });
  return seed;
}
