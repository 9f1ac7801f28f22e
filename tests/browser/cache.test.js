// The persistent cache: models are downloaded once, resumed, used without a network, and never
// trusted without their hashes.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { breakConnection, downloadModel, launch, openPage, waitForModel, waitForState } from "./browser.js";
import { bytesBeforeWeights } from "./bundles.js";
import { serve } from "./server.js";
import { BUNDLE, RESULTS } from "./settings.js";

let server, browser;
before(async () => {
  server = await serve();
  browser = await launch();
});
beforeEach(() => {
  server.change = undefined;
  [server.requests.length, server.ranges.length] = [0, 0];
});
after(() => Promise.all([browser?.close(), server?.close()]));

/** An empty page. These tests are about bytes, so they use the CPU. */
const empty = () => openPage(browser, server, { path: "empty.html" });
const MANIFEST = JSON.parse(readFileSync(join(BUNDLE, "manifest.json"), "utf8"));
const BEFORE_WEIGHTS = bytesBeforeWeights(MANIFEST, "cpu");
const isWeights = (path) => path.endsWith(".safetensors");

/** Loads a model, generates an image, and returns what that cost. */
const generate = (page, options = {}) =>
  page.evaluate(async (options) => {
    const { load, probe } = await import("/web/packages/onestep/src/public/index.js");
    const before = await probe("/bundle/", { backend: "cpu" });
    let last;
    const show = (progress) => progress.phase === "download" && (window.done = (last = progress).done);
    try {
      const model = await load("/bundle/", { assets: "/", backend: "cpu", onProgress: show, ...options });
      const image = await model.generate("red apple", { seed: 1 });
      await model.dispose();
      return { before, last, notices: model.notices, pixels: [...image.pixels().data].join() };
    } catch ({ kind, message }) {
      return { before, last, kind, message };
    }
  }, options);

test("what was fetched once is not fetched again, and the probe knows it", { timeout: 120_000 }, async () => {
  const page = await empty();
  const first = await generate(page);
  assert.equal(first.before.cachedBytes, 0);
  assert.ok(first.before.downloadBytes > 1e6 && first.before.freeBytes > first.before.downloadBytes);
  assert.deepEqual([first.last.cached, first.last.done], [0, first.before.downloadBytes]);
  server.requests.length = 0;
  const second = await generate(page);
  assert.deepEqual([second.before.cachedBytes, second.before.downloadBytes], [first.before.downloadBytes, 0]);
  assert.equal(second.last.cached, second.last.total);
  assert.ok(second.pixels === first.pixels);
  assert.deepEqual(
    server.requests.filter((path) => path.startsWith("/bundle/") && path !== "/bundle/manifest.json"),
    [],
  );
  // With the cache `memory` everything comes from the network.
  const third = await generate(page, { cache: "memory" });
  assert.equal(third.last.cached, 0);
});

test("an interrupted download is resumed where it broke", { timeout: 180_000 }, async () => {
  for (const part of [0.001, 0.37, 0.999]) {
    const page = await empty();
    let cut = 0;
    server.change = (path, bytes, response) => {
      if (!isWeights(path)) return bytes;
      cut = Math.floor(bytes.length * part);
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, cut));
      breakConnection(page, response, BEFORE_WEIGHTS + cut);
    };
    const broken = await generate(page);
    assert.equal(broken.kind, "network", `cut at ${part}: ${broken.message}`);
    assert.match(broken.message, /What arrived is stored/);
    server.change = undefined;
    server.ranges.length = 0;
    const whole = await generate(page);
    assert.equal(whole.message, undefined);
    const asked = server.ranges.filter(({ path }) => isWeights(path));
    assert.deepEqual(
      asked.map(({ start }) => start),
      [cut],
      `cut at ${part}`,
    );
    assert.ok(whole.last.cached >= cut);
    await page.context().close();
  }
});

test(
  "a server without range requests sends everything, and what is stored already is skipped",
  { timeout: 120_000 },
  async () => {
    const page = await empty();
    let half = true;
    server.change = (path, bytes, response) => {
      if (!isWeights(path)) return bytes;
      response.writeHead(200, { "content-length": bytes.length });
      if (!half) return void response.end(bytes);
      const cut = bytes.length >> 1;
      response.write(bytes.subarray(0, cut));
      breakConnection(page, response, BEFORE_WEIGHTS + cut);
    };
    assert.equal((await generate(page)).kind, "network");
    half = false;
    assert.equal((await generate(page)).message, undefined);
  },
);

/** Flips a bit of each stored chunk, and may cut a byte off; returns how many chunks there are. */
const damage = (page, cut) =>
  page.evaluate(async (cut) => {
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("onestep");
    const chunks = /** @type {any} */ (await root.getDirectoryHandle("chunks"));
    let changed = 0;
    for await (const handle of chunks.values()) {
      const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
      bytes[bytes.length >> 1] ^= 4;
      const stream = await handle.createWritable();
      await stream.write(cut ? bytes.subarray(0, bytes.length - 1) : bytes);
      await stream.close();
      changed++;
    }
    return changed;
  }, cut);

test(
  "a flipped bit in the cache is found, and the right bytes are downloaded",
  { timeout: 180_000 },
  async () => {
    const page = await empty();
    const first = await generate(page);
    for (const cut of [false, true]) {
      assert.ok((await damage(page, cut)) >= 5);
      const again = await generate(page);
      assert.equal(again.message, undefined, `cut: ${cut}`);
      assert.ok(again.pixels === first.pixels);
      server.requests.length = 0;
      await generate(page);
      assert.deepEqual(server.requests.filter(isWeights), [], "it was stored again");
    }
  },
);

test(
  "where there is no room the model runs all the same, and a sentence says what that means",
  { timeout: 120_000 },
  async () => {
    const page = await empty();
    const session = await page.context().newCDPSession(page);
    await session.send("Storage.overrideQuotaForOrigin", {
      origin: new URL(server.address).origin,
      quotaSize: 2_000_000,
    });
    const result = await generate(page);
    assert.equal(result.message, undefined);
    assert.match(result.notices.join(), /no more room.*fetched again/);
  },
);

test("the page says below its first image that there was no room", { timeout: 120_000 }, async () => {
  const page = await openPage(browser, server, { path: "?backend=cpu" });
  const session = await page.context().newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", {
    origin: new URL(server.address).origin,
    quotaSize: 2_000_000,
  });
  await downloadModel(page);
  assert.match(await page.textContent("#prompt-hint"), /no more room/);
});

test("a browser that stores nothing generates images too", { timeout: 120_000 }, async () => {
  const page = await openPage(browser, server, {
    path: "empty.html",
    prepare: () => (StorageManager.prototype.getDirectory = undefined),
  });
  assert.equal((await generate(page)).message, undefined);
  assert.deepEqual(
    await page.evaluate(async () => (await import("/web/packages/onestep/src/public/index.js")).cache.list()),
    [],
  );
});

test(
  "models are listed and removed; another model at the same address replaces the old one",
  { timeout: 180_000 },
  async () => {
    const page = await empty();
    const cached = (how, ...given) =>
      page.evaluate(
        async ([how, given]) =>
          (await import("/web/packages/onestep/src/public/index.js")).cache[how](...given),
        [how, given],
      );
    await generate(page);
    const [entry, ...others] = await cached("list");
    assert.deepEqual(others, []);
    assert.ok(entry.complete && entry.bytes > 1e6 && /^[0-9a-f]{64}$/.test(entry.id), JSON.stringify(entry));
    server.change = (path, bytes) =>
      path === "/bundle/manifest.json"
        ? Buffer.from(JSON.stringify({ ...JSON.parse(bytes), title: "Another" }))
        : bytes;
    server.requests.length = 0;
    await generate(page);
    assert.deepEqual(server.requests.filter(isWeights), [], "its chunks are the same");
    const list = await cached("list");
    assert.deepEqual(
      list.map(({ title }) => title),
      ["Another"],
    );
    assert.equal(await cached("remove", list[0].id), entry.bytes);
    assert.deepEqual(await cached("list"), []);
    await generate(page);
    assert.equal(await cached("clear"), entry.bytes);
    assert.equal((await generate(page)).before.cachedBytes, 0);
  },
);

test("the page opens and generates without a network the second time", { timeout: 180_000 }, async () => {
  const page = await openPage(browser, server, { path: "?backend=cpu" });
  // What workers fetch passes the service worker only once it is there.
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  await downloadModel(page);
  const stored = () =>
    page.evaluate(async () =>
      (await (await caches.open("onestep-page")).keys()).map(({ url }) => new URL(url).pathname),
    );
  const parts = new Set(
    server.requests.filter(
      (path) => /(\/|\.js|\.css|\.wasm|\/gallery\.json)$/.test(path) && path !== "/service-worker.js",
    ),
  );
  assert.ok(
    [...parts].some((path) => path.endsWith(".wasm")),
    [...parts].join(),
  );
  for (let here = []; ![...parts].every((path) => here.includes(path)); here = await stored())
    await page.waitForTimeout(100);
  await page.context().setOffline(true);
  await page.reload();
  await waitForModel(page);
  assert.match(await page.textContent("#caption"), /red apple · seed 1/);
  await page.screenshot({ path: join(RESULTS, "offline.png"), fullPage: true });
  // Without the model and a network the page says so instead of waiting.
  await page.evaluate(() => (document.getElementById("models").open = true));
  await page.click("#models-clear");
  await page.waitForFunction(() =>
    /No model is stored/.test(document.getElementById("models-cached").textContent),
  );
  await page.reload();
  await waitForState(page, "offer");
  assert.match(await page.textContent("#model-error"), /could not be fetched/);
});
