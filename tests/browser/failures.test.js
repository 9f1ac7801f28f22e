// What the page says when something is missing or broken, and that it recovers.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { join } from "node:path";
import {
  crashGpuProcess,
  downloadModel,
  generate,
  launch,
  openPage,
  waitForModel,
  waitForState,
} from "./browser.js";
import { serve } from "./server.js";
import { RESULTS } from "./settings.js";

let server, browser;
before(async () => {
  server = await serve();
  browser = await launch();
});
beforeEach(() => (server.change = undefined));
after(() => Promise.all([browser?.close(), server?.close()]));

const refusal = (page) => page.textContent("#model-error");
const flip = (name) => (path, bytes) => {
  if (!path.startsWith("/bundle/") || !path.endsWith(name)) return bytes;
  const changed = Buffer.from(bytes);
  changed[changed.length >> 1] ^= 1;
  return changed;
};

/** Loads a model that cannot be loaded. */
async function refused(page) {
  await waitForState(page, "offer");
  await page.click("#download");
  await page.waitForFunction(
    () =>
      document.body.dataset.state === "offer" && document.getElementById("model-error").textContent !== "",
  );
  return refusal(page);
}

const without = () => delete (/** @type {any} */ (Navigator.prototype).gpu);

test("a browser without WebGPU is told so, in a sentence", { timeout: 60_000 }, async () => {
  const page = await openPage(browser, server, { prepare: without });
  await waitForState(page, "unsupported");
  assert.match(await refusal(page), /This browser has no WebGPU.*Chrome.*Safari.*Firefox/s);
  assert.ok(await page.isHidden("#download"));
  assert.ok(await page.isDisabled("#generate"));
  await page.screenshot({ path: join(RESULTS, "no-webgpu.png"), fullPage: true });
});

test("a browser whose WebGPU gives no adapter is told so", { timeout: 60_000 }, async () => {
  const page = await openPage(browser, server, {
    prepare: () => (GPU.prototype.requestAdapter = async () => null),
  });
  await waitForState(page, "unsupported");
  assert.match(await refusal(page), /no graphics adapter/);
});

const notes = (page) => page.textContent("#model-notes");

test(
  "by default the page takes the CPU where there is no GPU, says so, and fetches one WebAssembly build",
  { timeout: 180_000 },
  async () => {
    /** @type {[() => void, RegExp][]} */
    const cases = [
      [without, /no WebGPU.*runs on the CPU/s],
      [() => (GPU.prototype.requestAdapter = async () => null), /no graphics adapter.*runs on the CPU/s],
      // The adapter of these tests is software.
      [undefined, /software adapter.*runs on the CPU/s],
    ];
    for (const [prepare, sentence] of cases) {
      const page = await openPage(browser, server, { path: "", prepare });
      await waitForState(page, "offer");
      assert.match(await notes(page), sentence);
      await page.context().close();
    }
    server.requests.length = 0;
    const page = await openPage(browser, server, { path: "" });
    await downloadModel(page);
    await generate(page, "red apple", 1);
    assert.deepEqual(
      server.requests.filter((path) => path.endsWith(".wasm")),
      ["/onestep-wasm-cpu-relaxed_bg.wasm"],
    );
    await page.screenshot({ path: join(RESULTS, "on-the-cpu.png"), fullPage: true });
  },
);

test("an unknown backend is refused", { timeout: 60_000 }, async () => {
  const page = await openPage(browser, server, { path: "?backend=abacus" });
  await waitForState(page, "offer");
  assert.match(await refusal(page), /The backend must be auto, webgpu or cpu, and is abacus/);
});

test(
  "Chromium without flags, on a machine without a GPU, generates on the CPU",
  { timeout: 120_000 },
  async (t) => {
    const plain = await launch({ webgpu: false });
    t.after(() => plain.close());
    const page = await openPage(plain, server, { path: "" });
    await waitForState(page, "offer");
    assert.match(await notes(page), /WebGPU.*runs on the CPU/s);
    await downloadModel(page);
    await generate(page, "red apple", 1);
  },
);

for (const name of ["weights-00001.safetensors", "generator.json", "tokenizer.json"]) {
  test(
    `one wrong bit in ${name} is found, and the right file is taken afterwards`,
    { timeout: 120_000 },
    async () => {
      server.change = flip(name);
      const page = await openPage(browser, server);
      assert.match(
        await refused(page),
        new RegExp(`not the one that this model expects \\(${name.replaceAll(".", "\\.")}`),
      );
      await page.screenshot({ path: join(RESULTS, "flipped-bit.png"), fullPage: true });
      server.change = undefined;
      await downloadModel(page);
    },
  );
}

test(
  "a damaged manifest, a newer one and none at all have different sentences",
  { timeout: 120_000 },
  async () => {
    const manifest = (edit) => (path, bytes) =>
      path === "/bundle/manifest.json" ? Buffer.from(edit(bytes.toString())) : bytes;
    /** @type {[(path: string, bytes: Buffer, response: any) => any, RegExp][]} */
    const cases = [
      [manifest((text) => text.slice(0, text.length / 2)), /manifest is damaged: it is not JSON/],
      [
        manifest((text) => text.replace(/"version": *2/, '"version": 7')),
        /version 7, and this page knows version 2/,
      ],
      [manifest((text) => text.replace(/"format": *"[^"]*"/, '"format": "other"')), /manifest is damaged/],
      [
        (path, bytes, response) =>
          path === "/bundle/manifest.json" ? void response.writeHead(404).end() : bytes,
        /no model beside this page/,
      ],
    ];
    for (const [change, sentence] of cases) {
      server.change = change;
      const page = await openPage(browser, server);
      await waitForState(page, "offer");
      assert.match(await refusal(page), sentence);
      await page.context().close();
    }
  },
);

test("a transfer that ends early is noticed, with or without a length", { timeout: 300_000 }, async () => {
  const cut = (headers) => (path, bytes, response) => {
    if (!path.endsWith(".safetensors")) return bytes;
    response.writeHead(200, headers(bytes));
    response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy());
  };
  server.change = cut((bytes) => ({ "content-length": bytes.length }));
  const page = await openPage(browser, server);
  assert.match(await refused(page), /connection broke at [0-9.]+ MB of [0-9.]+ MB. What arrived is stored/);
  server.change = (path, bytes) =>
    path.endsWith(".safetensors") ? bytes.subarray(0, bytes.length >> 1) : bytes;
  assert.match(await refused(await openPage(browser, server)), /another length/);
  // One byte too many: the part that is wanted is asked for alone, and that is right.
  server.change = (path, bytes) =>
    path.endsWith(".safetensors") ? Buffer.concat([bytes, Buffer.alloc(1)]) : bytes;
  await downloadModel(await openPage(browser, server));
});

/** Half of the weights come, and no more. */
const half = (path, bytes, response) => {
  if (!path.endsWith(".safetensors")) return bytes;
  response.writeHead(200, { "content-length": bytes.length });
  response.write(bytes.subarray(0, bytes.length >> 1));
};

test("loading can be cancelled and started again", { timeout: 180_000 }, async () => {
  server.change = half;
  const page = await openPage(browser, server);
  await waitForState(page, "offer");
  const [offered] = await Promise.all([page.textContent("#download"), page.click("#download")]);
  await waitForState(page, "loading");
  await page.waitForFunction(() => document.getElementById("progress-bar").value > 0.3);
  await page.screenshot({ path: join(RESULTS, "loading.png"), fullPage: true });
  await page.click("#cancel-load");
  await waitForState(page, "offer");
  assert.equal(await refusal(page), "");
  // Who cancels wants nothing of it.
  assert.equal(await page.textContent("#download"), offered);
  server.change = undefined;
  await downloadModel(page);
});

test("loading can be paused and resumed", { timeout: 180_000 }, async () => {
  server.change = half;
  const page = await openPage(browser, server);
  await waitForState(page, "offer");
  await page.click("#download");
  await page.waitForFunction(() => document.getElementById("progress-bar").value > 0.3);
  await page.click("#pause-load");
  await page.waitForFunction(() =>
    /^Resume with [0-9.]+ MB$/.test(document.getElementById("download").textContent),
  );
  await waitForState(page, "offer");
  assert.equal(await refusal(page), "");
  assert.match(await page.textContent("#model-about"), /MB of it are on this device/);
  assert.equal(await page.evaluate(() => document.activeElement.id), "download");
  await page.screenshot({ path: join(RESULTS, "paused.png"), fullPage: true });
  server.change = undefined;
  server.ranges.length = 0;
  await page.keyboard.press("Enter");
  await waitForModel(page);
  const [{ path, start, end }] = server.ranges;
  assert.ok(path.endsWith(".safetensors") && start > 1e6 && end > start, JSON.stringify(server.ranges));
});

test("wrong prompts and seeds are answered beside their fields", { timeout: 180_000 }, async () => {
  const page = await openPage(browser, server);
  await downloadModel(page);
  const errorOf = async (prompt, seed, id) => {
    await page.fill("#prompt", prompt);
    await page.fill("#seed", seed);
    await page.click("#generate");
    await page.waitForFunction(
      (id) => document.getElementById(id).textContent !== "" && document.body.dataset.state === "ready",
      id,
    );
    return page.textContent(`#${id}`);
  };
  for (const seed of ["-3", "x", "1.5", "18446744073709551616"]) {
    assert.match(
      await errorOf("red apple", seed, "seed-error"),
      /whole number from 0 to 18446744073709551615/,
    );
    assert.equal(await page.textContent("#prompt-error"), "");
  }
  assert.match(await errorOf("   ", "1", "prompt-error"), /prompt is empty/);
  assert.equal(await page.textContent("#seed-error"), "");
  assert.match(await errorOf("☃☃☃", "1", "prompt-error"), /nothing of the prompt.*☃/);
  await generate(page, "red apple ☃", 1);
  assert.match(await page.textContent("#prompt-hint"), /never seen ☃/);
});

test(
  "a graphics process that dies takes no image with it: the model is restored by itself, with nothing fetched",
  { timeout: 300_000 },
  async (t) => {
    // A separate browser: after two such crashes it gives no adapter any more.
    const own = await launch();
    t.after(() => own.close());
    const page = await openPage(own, server);
    await downloadModel(page);
    await generate(page, "red apple", 1);
    await crashGpuProcess(own, page);
    server.requests.length = 0;
    await generate(page, "red apple", 3);
    assert.match(await page.textContent("#caption"), /red apple · seed 3/);
    assert.deepEqual(
      server.requests.filter((path) => path.endsWith(".safetensors")),
      [],
    );
  },
);
