// The calls of a model: noise of every kind, live images, walks, files, memory, and a lost device.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { platform } from "node:os";
import { after, before, test } from "node:test";
import { crashGpuProcess, launch, openPage } from "./browser.js";
import { serve } from "./server.js";

let server, browser, page;
before(async () => {
  server = await serve();
  browser = await launch();
  page = await openPage(browser, server, { path: "empty.html" });
  await begin(page, "cpu");
});
after(() => Promise.all([browser?.close(), server?.close()]));

/** A model in the page's `model`. */
const begin = (page, backend) =>
  page.evaluate(async (backend) => {
    const onestep = await import("/web/packages/onestep/src/public/index.js");
    window.model = await onestep.load("/bundle/", { assets: "/", backend });
    window.pixels = (image) => [...image.pixels().data].join();
    window.outcome = (promise) =>
      promise.then(
        (value) => (value === null ? null : "made"),
        ({ kind, message }) => ({ kind, message }),
      );
  }, backend);

test(
  "noise between two seeds starts and ends at their images, and its middle is neither",
  { timeout: 120_000 },
  async () => {
    const found = await page.evaluate(async () => {
      const generate = async (options) => window.pixels(await model.generate("red apple", options));
      return {
        from: (await generate({ seed: 3 })) === (await generate({ noise: { from: 3, to: 9n, t: 0 } })),
        to:
          (await generate({ noise: { seed: 9 } })) === (await generate({ noise: { from: 3, to: 9n, t: 1 } })),
        middle: new Set([
          await generate({ seed: 3 }),
          await generate({ seed: 9 }),
          await generate({ noise: { from: 3, to: 9, t: 0.5 } }),
        ]).size,
      };
    });
    assert.deepEqual(found, { from: true, to: true, middle: 3 });
  },
);

test("the file of an image between two seeds says both", { timeout: 60_000 }, async () => {
  const text = await page.evaluate(async () => {
    const image = await model.generate("red apple", {
      noise: { from: 3, to: 18446744073709551615n, t: 0.25 },
    });
    return [image.seed, new TextDecoder("latin1").decode(await (await image.png()).arrayBuffer())];
  });
  assert.equal(text[0], undefined);
  assert.match(text[1], /Seed: 3, Variation seed: 18446744073709551615, Variation seed strength: 0.25/);
});

test("noise can be given as numbers; wrong ones are refused", { timeout: 60_000 }, async () => {
  const refusals = await page.evaluate(() =>
    Promise.all(
      [
        { latent: new Float32Array(7) },
        { latent: [1, 2] },
        { from: 1, to: 2, t: 1.5 },
        { from: -1, to: 2, t: 0 },
        {},
        "noise",
        null,
      ].map((noise) => window.outcome(model.generate("red apple", { noise }))),
    ),
  );
  for (const { kind, message } of refusals) assert.equal(kind, "invalid-option", message);
  assert.match(refusals[0].message, /7 values.*\d{3,}/);
  const count = Number(/expected (\d+)/.exec(refusals[0].message)[1]);
  assert.equal(
    await page.evaluate(
      (count) =>
        window.outcome(model.generate("red apple", { noise: { latent: new Float32Array(count).fill(0.1) } })),
      count,
    ),
    "made",
  );
  assert.equal(
    (
      await page.evaluate(
        (count) =>
          window.outcome(
            model.generate("red apple", { noise: { latent: new Float32Array(count).fill(NaN) } }),
          ),
        count,
      )
    ).kind,
    "invalid-option",
  );
});

test(
  "of live images the newest is made, those before it are null, and the queue is free afterwards",
  { timeout: 120_000 },
  async () => {
    const { outcomes, words, ends } = await page.evaluate(async () => {
      const words = [..."red apple"].map((_, index, all) => all.slice(0, index + 1).join(""));
      const outcomes = await Promise.all(words.map((word) => window.outcome(model.live(word, { seed: 1 }))));
      const controller = new AbortController();
      const aborted = model
        .live("red apple", { seed: 1, signal: controller.signal })
        .then(String, (reason) => reason);
      controller.abort("enough");
      const reason = await aborted;
      const before = performance.now();
      await model.generate("red apple", { seed: 1 });
      return { outcomes, words, ends: [reason, performance.now() - before] };
    });
    assert.equal(outcomes.at(-1), "made");
    assert.deepEqual(
      outcomes.slice(0, -1),
      words.slice(0, -1).map(() => null),
    );
    assert.equal(ends[0], "enough");
  },
);

test(
  "a walk gives its frames in order, ends at its last seed, and stops when nobody asks for more",
  { timeout: 180_000 },
  async () => {
    const { noises, first, last, refused } = await page.evaluate(async () => {
      const noises = [];
      let first, last;
      for await (const image of model.walk("red apple", [3, 9n, 4], 3)) {
        noises.push(
          image.seed === undefined
            ? `${image.noise.from}-${image.noise.to} ${image.noise.t.toFixed(3)}`
            : String(image.seed),
        );
        first ??= window.pixels(image);
        last = window.pixels(image);
      }
      for await (const _ of model.walk("red apple", [1, 2], 1000)) break;
      const refused = [];
      for (const given of [
        [[1], 3],
        [[1, 2], 0],
        [[1, -2], 3],
      ])
        refused.push(await window.outcome(model.walk("red apple", ...given).next()));
      return {
        noises,
        first: first === window.pixels(await model.generate("red apple", { seed: 3 })),
        last: last === window.pixels(await model.generate("red apple", { seed: 4 })),
        refused: refused.map(({ kind }) => kind),
      };
    });
    assert.deepEqual(noises, ["3", "3-9 0.333", "3-9 0.667", "9", "9-4 0.333", "9-4 0.667", "4"]);
    assert.deepEqual(
      [first, last, refused],
      [true, true, ["invalid-option", "invalid-option", "invalid-option"]],
    );
  },
);

test(
  "a model from the files of a folder generates the same, stores nothing, and a missing file is named",
  { timeout: 120_000 },
  async () => {
    const found = await page.evaluate(async () => {
      const { cache, load } = await import("/web/packages/onestep/src/public/index.js");
      const manifest = await (await fetch("/bundle/manifest.json")).blob();
      const names = JSON.parse(await manifest.text()).files.map(({ name }) => name);
      const files = await Promise.all(
        names.map(async (name) => new File([await (await fetch(`/bundle/${name}`)).blob()], name)),
      );
      files.push(new File([manifest], "manifest.json"));
      const before = (await cache.list()).length;
      const other = await load({ files }, { assets: "/", backend: "cpu" });
      const same =
        window.pixels(await other.generate("red apple", { seed: 1 })) ===
        window.pixels(await model.generate("red apple", { seed: 1 }));
      await other.dispose();
      const incomplete = await window.outcome(
        load(
          { files: files.filter(({ name }) => !name.endsWith(".safetensors")) },
          { assets: "/", backend: "cpu" },
        ),
      );
      const none = await window.outcome(load({ files: [] }, { assets: "/", backend: "cpu" }));
      return { same, stored: (await cache.list()).length - before, incomplete, none };
    });
    assert.deepEqual(
      [found.same, found.stored, found.incomplete.kind, found.none.kind],
      [true, 0, "invalid-bundle", "invalid-bundle"],
    );
    assert.match(found.incomplete.message, /has no \S+\.safetensors/);
    assert.match(found.none.message, /has no manifest\.json/);
  },
);

/**
 * Resident bytes of the page's and the GPU's processes together, once they have stopped changing.
 */
async function memory(browser, page) {
  const session = await page.context().newCDPSession(page);
  const system = await browser.newBrowserCDPSession();
  const residentBytes = async (pid) => {
    const pages = (await readFile(`/proc/${pid}/statm`, "utf8").catch(() => "0 0")).split(" ")[1];
    return Number(pages) * 4096;
  };
  const measure = async () => {
    await session.send("HeapProfiler.collectGarbage");
    const { processInfo } = await system.send("SystemInfo.getProcessInfo");
    // A browser starts other processes when it likes.
    const ours = processInfo.filter(({ type }) => ["renderer", "GPU"].includes(type));
    const bytes = await Promise.all(ours.map(({ id }) => residentBytes(id)));
    return bytes.reduce((sum, each) => sum + each, 0);
  };
  for (let before = await measure(); ;) {
    await page.waitForTimeout(200);
    const now = await measure();
    if (Math.abs(now - before) < 2 ** 20) return now;
    before = now;
  }
}

// In software an image of WebGPU takes most of a second while the machine does other work.
/** @type {["cpu" | "webgpu", number][]} */
const COUNTS = [
  ["cpu", 1000],
  ["webgpu", 200],
];
for (const [backend, many] of COUNTS) {
  test(
    `on ${backend} ${many} images take no more memory than fifty, and disposing gives it back`,
    { timeout: 1_200_000, skip: platform() !== "linux" && "reads /proc" },
    async (t) => {
      const own = await launch();
      t.after(() => own.close());
      const page = await openPage(own, server, { path: "empty.html" });
      /** @type {Record<string, number>} */
      const at = { empty: await memory(own, page) };
      const generate = (count) =>
        page.evaluate(async (count) => {
          for (let seed = 0; seed < count; seed++) await model.generate("red apple", { seed });
        }, count);
      await begin(page, backend);
      await generate(50);
      at.fifty = await memory(own, page);
      await generate(many - 50);
      at.many = await memory(own, page);
      await page.evaluate(() => model.dispose());
      // The browser does not free all of its code and its pools. A worker takes its time to
      // end.
      const isBack = () => at.disposed - at.empty < 0.35 * (at.fifty - at.empty) + 20 * 2 ** 20;
      for (let tries = 0; tries === 0 || (tries < 20 && !isBack()); tries++)
        at.disposed = await memory(own, page);
      console.log(
        `# ${backend}, MiB: ${Object.entries(at)
          .map(([when, bytes]) => `${when} ${Math.round(bytes / 2 ** 20)}`)
          .join(", ")}`,
      );
      assert.ok(at.many < 1.05 * at.fifty, `${at.fifty} and ${at.many} bytes`);
      assert.ok(isBack(), JSON.stringify(at));
    },
  );
}

test(
  "on WebGPU a lost device is replaced and the call continues; without another device every call rejects with device-lost",
  { timeout: 300_000 },
  async (t) => {
    // A separate browser: after two such crashes it gives no adapter any more.
    const own = await launch();
    t.after(() => own.close());
    const page = await openPage(own, server, { path: "empty.html" });
    await begin(page, "webgpu");
    const first = await page.evaluate(async () =>
      window.pixels(await model.generate("red apple", { seed: 1 })),
    );
    server.requests.length = 0;
    await crashGpuProcess(own, page);
    const again = await page.evaluate(() =>
      model
        .generate("red apple", { seed: 1 })
        .then(window.pixels, (error) => `${error.kind}: ${error.message}`),
    );
    assert.equal(again === first ? "the same" : again.slice(0, 200), "the same");
    assert.deepEqual(
      server.requests.filter((path) => path.endsWith(".safetensors")),
      [],
    );
    // This browser gives no adapter after the second time: the call ends all the same, and so does every
    // later one.
    await crashGpuProcess(own, page);
    const outcome = await page.evaluate(() => window.outcome(model.generate("red apple", { seed: 2 })));
    assert.ok(outcome === "made" || outcome.kind === "device-lost", JSON.stringify(outcome));
    if (outcome !== "made") {
      assert.equal(await page.evaluate(async () => (await model.lost).kind), "device-lost");
      assert.equal(
        (await page.evaluate(() => window.outcome(model.generate("red apple", { seed: 2 })))).kind,
        "device-lost",
      );
    }
  },
);
