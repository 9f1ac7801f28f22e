// Weights on their way from the network to the GPU: wherever they are in their files, and
// whatever becomes of these.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { crashGpuProcess, breakConnection, launch, openPage } from "./browser.js";
import { bytesBeforeWeights, variant } from "./bundles.js";
import { serve } from "./server.js";

const CHUNK = 16 << 20;
/** Tensors in 32 bits that start at odd bytes, and chunks that part them. */
const LARGE = { wide: true, space: 4 << 20, shift: 3 };
const SHARD = "/bundle/shard-0.safetensors";

let server, browser, page;
/** The image of the bundle as it is. */
let shipped;
before(async () => {
  server = await serve();
  browser = await launch();
  page = await openPage(browser, server, { path: "empty.html" });
  shipped = (await generate()).pixels;
});
beforeEach(() => ([server.change, server.files] = [undefined, undefined]));
after(() => Promise.all([browser?.close(), server?.close()]));

const offer = (files) =>
  (server.files = new Map([...files].map(([name, bytes]) => [`/bundle/${name}`, bytes])));

/** An image of the bundle that is served, or the error. */
const generate = (on = page) =>
  on.evaluate(async () => {
    const { load } = await import("/web/packages/onestep/src/public/index.js");
    const phases = [];
    const show = ({ phase, done, total }) => {
      phases.push([phase, done, total]);
      if (phase === "download") window.done = done;
    };
    try {
      const model = await load("/bundle/", {
        assets: "/",
        backend: "webgpu",
        cache: "memory",
        onProgress: show,
      });
      const image = await model.generate("red apple", { seed: 1 });
      await model.dispose();
      return { pixels: [...image.pixels().data].join(), phases };
    } catch ({ kind, message, detail }) {
      return { kind, message, detail, phases };
    }
  });

test("progress counts every byte and every kernel, and never goes back", { timeout: 120_000 }, async () => {
  const { phases } = await generate();
  assert.deepEqual([...new Set(phases.map(([phase]) => phase))], ["download", "compile"]);
  for (const phase of ["download", "compile"]) {
    const own = phases.filter(([name]) => name === phase);
    assert.ok(
      own.every(
        ([, done, total], index) =>
          done <= total && (index === 0 || done / total >= own[index - 1][1] / own[index - 1][2]),
      ),
      JSON.stringify(own),
    );
    assert.equal(own.at(-1)[1], own.at(-1)[2]);
  }
});

for (const [what, how] of Object.entries({
  "three files": { shards: 3 },
  "tensors that start at no multiple of 4": { shift: 2 },
  "tensors that start at odd bytes": { shards: 2, shift: 1 },
  "a file of several chunks that part its tensors": LARGE,
})) {
  test(`${what}: the same image`, { timeout: 180_000 }, async () => {
    offer(variant(how));
    const { pixels, message } = await generate();
    assert.equal(message, undefined);
    // Bit-identical: the dtype of the file makes no difference to the value of a weight.
    assert.ok(pixels === shipped);
  });
}

const wrong = (bytes) => {
  const changed = Buffer.from(bytes);
  changed[CHUNK + 1000] ^= 1;
  return changed;
};

test(
  "a later chunk that is wrong once is fetched again, with all before it",
  { timeout: 180_000 },
  async () => {
    offer(variant(LARGE));
    let answers = 0;
    server.change = (path, bytes) => (path === SHARD && answers++ === 0 ? wrong(bytes) : bytes);
    const { pixels, message } = await generate();
    assert.equal(message, undefined);
    assert.ok(pixels === shipped);
    assert.equal(answers, 2);
  },
);

test(
  "a later chunk that stays wrong is reported by its number, and the right file is accepted afterwards",
  { timeout: 180_000 },
  async () => {
    offer(variant(LARGE));
    server.change = (path, bytes) => (path === SHARD ? wrong(bytes) : bytes);
    const { kind, detail } = await generate();
    assert.deepEqual([kind, detail.file, detail.chunk], ["integrity", "shard-0.safetensors", 1]);
    server.change = undefined;
    assert.ok((await generate()).pixels === shipped);
  },
);

test(
  "a connection that breaks after the first chunk is reported, and the next attempt starts again",
  { timeout: 180_000 },
  async () => {
    const files = variant(LARGE);
    offer(files);
    const beforeWeights = bytesBeforeWeights(JSON.parse(files.get("manifest.json").toString()), "webgpu");
    server.change = (path, bytes, response) => {
      if (path !== SHARD) return bytes;
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, CHUNK + 1000));
      breakConnection(page, response, beforeWeights + CHUNK + 1000);
    };
    const { kind, message } = await generate();
    assert.equal(kind, "network");
    assert.match(message, /connection broke at 16\.8 MB of/);
    server.change = undefined;
    assert.ok((await generate()).pixels === shipped);
  },
);

test("files in which a tensor is missing are refused with its name", { timeout: 120_000 }, async () => {
  const files = variant({ shards: 2 });
  const manifest = JSON.parse(files.get("manifest.json"));
  manifest.weights.pop();
  offer(files.set("manifest.json", Buffer.from(JSON.stringify(manifest))));
  const { kind, message } = await generate();
  assert.equal(kind, "invalid-bundle");
  assert.match(message, /tensor .* in no weight file/);
});

/** Sends one chunk and a little, and the rest when it is told to. */
function halting() {
  /** @type {(value?: unknown) => void} */
  let go;
  const gate = new Promise((resolve) => (go = resolve));
  server.change = (path, bytes, response) => {
    if (path !== SHARD) return bytes;
    response.writeHead(200, { "content-length": bytes.length });
    response.write(bytes.subarray(0, CHUNK + 1000));
    gate.then(() => response.end(bytes.subarray(CHUNK + 1000)));
  };
  return go;
}

test(
  "a load that is cancelled after the first chunk rejects with the signal's reason, and another can start",
  { timeout: 180_000 },
  async () => {
    offer(variant(LARGE));
    halting();
    const said = await page.evaluate(async (chunk) => {
      const { load } = await import("/web/packages/onestep/src/public/index.js");
      const controller = new AbortController();
      const onProgress = ({ done }) => done > chunk && controller.abort("enough");
      return load("/bundle/", {
        assets: "/",
        backend: "webgpu",
        cache: "memory",
        signal: controller.signal,
        onProgress,
      }).then(() => "loaded", String);
    }, CHUNK);
    assert.equal(said, "enough");
    server.change = undefined;
    assert.ok((await generate()).pixels === shipped);
  },
);

test("a device that is lost during the download is reported as such", { timeout: 180_000 }, async (t) => {
  // A separate browser: after such crashes it gives no adapter any more.
  const own = await launch();
  t.after(() => own.close());
  const lost = await openPage(own, server, { path: "empty.html" });
  offer(variant(LARGE));
  const go = halting();
  const outcome = generate(lost);
  await lost.waitForFunction((chunk) => window.done > chunk, CHUNK);
  await crashGpuProcess(own, lost);
  go();
  const { kind, message } = await outcome;
  assert.equal(kind, "device-lost", message);
});
