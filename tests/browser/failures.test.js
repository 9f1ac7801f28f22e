// What the page says when something is missing or broken, and that it goes on from there.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { join } from "node:path";
import { draw, launch, loaded, open, ready, state } from "./browser.js";
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
  await state(page, "offer");
  await page.click("#download");
  await page.waitForFunction(
    () =>
      document.body.dataset.state === "offer" && document.getElementById("model-error").textContent !== "",
  );
  return refusal(page);
}

const without = () => delete Navigator.prototype.gpu;

test("a browser without WebGPU is told so, in a sentence", { timeout: 60_000 }, async () => {
  const page = await open(browser, server, { prepare: without });
  await state(page, "cannot");
  assert.match(await refusal(page), /This browser has no WebGPU.*Chrome.*Safari.*Firefox/s);
  assert.ok(await page.isHidden("#download"));
  assert.ok(await page.isDisabled("#generate"));
  await page.screenshot({ path: join(RESULTS, "no-webgpu.png"), fullPage: true });
});

test("a browser whose WebGPU gives no adapter is told so", { timeout: 60_000 }, async () => {
  const page = await open(browser, server, {
    prepare: () => (GPU.prototype.requestAdapter = async () => null),
  });
  await state(page, "cannot");
  assert.match(await refusal(page), /no graphics adapter/);
});

const notes = (page) => page.textContent("#model-notes");

test(
  "left to itself the page takes the processor where there is no GPU, says so, and fetches one module only",
  { timeout: 180_000 },
  async () => {
    const cases = [
      [without, /no WebGPU.*runs on the processor/s],
      [
        () => (GPU.prototype.requestAdapter = async () => null),
        /no graphics adapter.*runs on the processor/s,
      ],
      // The adapter of these tests is software.
      [undefined, /software adapter.*runs on the processor/s],
    ];
    for (const [prepare, sentence] of cases) {
      const page = await open(browser, server, { path: "", prepare });
      await state(page, "offer");
      assert.match(await notes(page), sentence);
      await page.context().close();
    }
    server.requests.length = 0;
    const page = await open(browser, server, { path: "" });
    await ready(page);
    await draw(page, "red apple", 1);
    assert.deepEqual(
      server.requests.filter((path) => path.endsWith(".wasm")),
      ["/onestep-wasm-cpu-relaxed_bg.wasm"],
    );
    await page.screenshot({ path: join(RESULTS, "on-the-processor.png"), fullPage: true });
  },
);

test("a choice that is none is refused", { timeout: 60_000 }, async () => {
  const page = await open(browser, server, { path: "?backend=abacus" });
  await state(page, "offer");
  assert.match(await refusal(page), /abacus is nothing that computes/);
});

test(
  "Chromium as it comes, on a machine without a GPU, draws on the processor",
  { timeout: 120_000 },
  async (t) => {
    const plain = await launch({ webgpu: false });
    t.after(() => plain.close());
    const page = await open(plain, server, { path: "" });
    await state(page, "offer");
    assert.match(await notes(page), /WebGPU.*runs on the processor/s);
    await ready(page);
    await draw(page, "red apple", 1);
  },
);

for (const name of ["weights-00001.safetensors", "generator.json", "tokenizer.json"]) {
  test(
    `one wrong bit in ${name} is found, and the right file is taken afterwards`,
    { timeout: 120_000 },
    async () => {
      server.change = flip(name);
      const page = await open(browser, server);
      assert.match(
        await refused(page),
        new RegExp(`not the one that this model expects \\(${name.replaceAll(".", "\\.")}`),
      );
      await page.screenshot({ path: join(RESULTS, "flipped-bit.png"), fullPage: true });
      server.change = undefined;
      await ready(page);
    },
  );
}

test("a damaged manifest, a newer one and none at all are told apart", { timeout: 120_000 }, async () => {
  const manifest = (edit) => (path, bytes) =>
    path === "/bundle/manifest.json" ? Buffer.from(edit(bytes.toString())) : bytes;
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
    const page = await open(browser, server);
    await state(page, "offer");
    assert.match(await refusal(page), sentence);
    await page.context().close();
  }
});

test("a transfer that ends early is noticed, with or without a length", { timeout: 300_000 }, async () => {
  const cut = (headers) => (path, bytes, response) => {
    if (!path.endsWith(".safetensors")) return bytes;
    response.writeHead(200, headers(bytes));
    response.write(bytes.subarray(0, bytes.length >> 1), () => setTimeout(() => response.destroy(), 300));
  };
  server.change = cut((bytes) => ({ "content-length": bytes.length }));
  const page = await open(browser, server);
  assert.match(await refused(page), /connection broke at [0-9.]+ MB of [0-9.]+ MB. What arrived is kept/);
  server.change = (path, bytes) =>
    path.endsWith(".safetensors") ? bytes.subarray(0, bytes.length >> 1) : bytes;
  assert.match(await refused(await open(browser, server)), /another length/);
  // One byte too many: the part that is wanted is asked for alone, and that is right.
  server.change = (path, bytes) =>
    path.endsWith(".safetensors") ? Buffer.concat([bytes, Buffer.alloc(1)]) : bytes;
  await ready(await open(browser, server));
});

/** Half of the weights come, and no more. */
const half = (path, bytes, response) => {
  if (!path.endsWith(".safetensors")) return bytes;
  response.writeHead(200, { "content-length": bytes.length });
  response.write(bytes.subarray(0, bytes.length >> 1));
};

test("loading can be cancelled and begun again", { timeout: 180_000 }, async () => {
  server.change = half;
  const page = await open(browser, server);
  await state(page, "offer");
  const [offered] = await Promise.all([page.textContent("#download"), page.click("#download")]);
  await state(page, "getting");
  await page.waitForFunction(() => document.getElementById("progress-bar").value > 0.3);
  await page.screenshot({ path: join(RESULTS, "getting.png"), fullPage: true });
  await page.click("#cancel-load");
  await state(page, "offer");
  assert.equal(await refusal(page), "");
  // Who cancels wants nothing of it.
  assert.equal(await page.textContent("#download"), offered);
  server.change = undefined;
  await ready(page);
});

test("loading can be paused, and goes on with what is missing", { timeout: 180_000 }, async () => {
  server.change = half;
  const page = await open(browser, server);
  await state(page, "offer");
  await page.click("#download");
  await page.waitForFunction(() => document.getElementById("progress-bar").value > 0.3);
  await page.click("#pause-load");
  await page.waitForFunction(() =>
    /^Go on with [0-9.]+ MB$/.test(document.getElementById("download").textContent),
  );
  await state(page, "offer");
  assert.equal(await refusal(page), "");
  assert.match(await page.textContent("#model-about"), /MB of it are on this device/);
  assert.equal(await page.evaluate(() => document.activeElement.id), "download");
  await page.screenshot({ path: join(RESULTS, "paused.png"), fullPage: true });
  server.change = undefined;
  server.parts.length = 0;
  await page.keyboard.press("Enter");
  await loaded(page);
  const [{ path, start, end }] = server.parts;
  assert.ok(path.endsWith(".safetensors") && start > 1e6 && end > start, JSON.stringify(server.parts));
});

test("prompts and seeds that cannot be drawn are answered beside them", { timeout: 180_000 }, async () => {
  const page = await open(browser, server);
  await ready(page);
  const said = async (prompt, seed, id) => {
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
    assert.match(await said("red apple", seed, "seed-error"), /whole number from 0 to 18446744073709551615/);
    assert.equal(await page.textContent("#prompt-error"), "");
  }
  assert.match(await said("   ", "1", "prompt-error"), /prompt is empty/);
  assert.equal(await page.textContent("#seed-error"), "");
  assert.match(await said("☃☃☃", "1", "prompt-error"), /nothing of the prompt.*☃/);
  await draw(page, "red apple ☃", 1);
  assert.match(await page.textContent("#prompt-hint"), /never seen ☃/);
});

test(
  "a graphics process that dies takes no image with it: the model is restored by itself, with nothing fetched",
  { timeout: 300_000 },
  async (t) => {
    // A browser of its own: after two such deaths it gives no adapter any more.
    const own = await launch();
    t.after(() => own.close());
    const page = await open(own, server);
    await ready(page);
    await draw(page, "red apple", 1);
    const session = await own.newBrowserCDPSession();
    await session.send("Browser.crashGpuProcess").catch(() => {});
    await page.waitForTimeout(1_000);
    server.requests.length = 0;
    await draw(page, "red apple", 3);
    assert.match(await page.textContent("#caption"), /red apple · seed 3/);
    assert.deepEqual(
      server.requests.filter((path) => path.endsWith(".safetensors")),
      [],
    );
  },
);
