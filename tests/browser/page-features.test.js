// Features of the page: the gallery, nine seeds, walks, links, files, live images, other models.
import assert from "node:assert/strict";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { downloadModel, generate, launch, openPage, waitForModel, waitForState } from "./browser.js";
import { variant } from "./bundles.js";
import { serve } from "./server.js";
import { RESULTS } from "./settings.js";

const ON_CPU = "?backend=cpu";

let server, browser;
before(async () => {
  server = await serve();
  browser = await launch();
});
beforeEach(() => ([server.change, server.files] = [undefined, undefined]));
after(async () => {
  await Promise.all([browser?.close(), server?.close()]);
});

const caption = (page) => page.textContent("#caption");
const captioned = (page, pattern) =>
  page.waitForFunction(
    (source) => new RegExp(source).test(document.getElementById("caption").textContent),
    pattern.source,
    { timeout: 60_000 },
  );
/** What is on the canvas, once it stands still: a worker's image is shown with the next frame. */
async function canvas(page) {
  for (let before, shown; ; before = shown) {
    shown = (await page.locator("#image").screenshot()).toString("base64");
    if (shown === before) return shown;
    await page.waitForTimeout(100);
  }
}

test(
  "examples of this very bundle are there before anything is fetched, and begin an image",
  { timeout: 120_000 },
  async () => {
    const page = await openPage(browser, server, { path: ON_CPU });
    await waitForState(page, "offer");
    await page.waitForSelector("#gallery-images button");
    const examples = JSON.parse(
      await readFile(join(process.env.ONESTEP_BUNDLE, "gallery.json"), "utf8"),
    ).images;
    assert.equal(await page.locator("#gallery-images button").count(), examples.length);
    await page.waitForFunction(() =>
      ((image) => image.complete && image.naturalWidth > 0)(document.querySelector("#gallery-images img")),
    );
    await page.locator("#gallery-images button").nth(1).click();
    assert.equal(await page.evaluate(() => document.activeElement.id), "download");
    await page.keyboard.press("Enter");
    await waitForModel(page);
    assert.ok(
      (await caption(page)).startsWith(`${examples[1].prompt} · seed ${examples[1].seed} · `),
      await caption(page),
    );
    // The model generates the example's image, and the teacher's image is shown with it.
    await page.waitForSelector("#comparison-images img");
    const [student, teacher] = await page.$$eval("#comparison-images img", (images) =>
      images.map((image) => image.src),
    );
    const same = await page.evaluate(
      async (sources) => {
        const bytes = await Promise.all(
          sources.map(async (source) => {
            const image = await new Promise((resolve) => {
              const image = new Image();
              image.onload = () => resolve(image);
              image.src = source;
            });
            const canvas = Object.assign(document.createElement("canvas"), {
              width: image.width,
              height: image.height,
            });
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            return context.getImageData(0, 0, image.width, image.height).data;
          }),
        );
        return Math.max(...bytes[0].map((value, index) => Math.abs(value - bytes[1][index])));
      },
      [student, examples[1].student.png],
    );
    assert.ok(same <= 2, `the page's image and the example's differ by ${same} of 255`);
    assert.equal(teacher, examples[1].teacher.png);
    assert.match(await page.textContent("#comparison"), /Teacher, \d+ evaluations, \d+ ms/);
    await page.screenshot({ path: join(RESULTS, "comparison.png"), fullPage: true });
    assert.deepEqual([page.errors, page.foreignRequests, server.violations], [[], [], []]);
  },
);

test("nine seeds, each with its own image, and one is chosen", { timeout: 120_000 }, async () => {
  const page = await openPage(browser, server, { path: ON_CPU });
  await downloadModel(page);
  await page.fill("#seed", "18446744073709551610");
  await page.click("#nine-seeds");
  await page.waitForFunction(
    () => document.querySelectorAll("#grid img").length === 9 && document.body.dataset.state === "ready",
  );
  const seeds = await page.$$eval("#grid span", (spans) => spans.map((span) => span.textContent));
  assert.deepEqual(seeds, [
    "18446744073709551610",
    "18446744073709551611",
    "18446744073709551612",
    "18446744073709551613",
    "18446744073709551614",
    "18446744073709551615",
    "0",
    "1",
    "2",
  ]);
  assert.equal(new Set(await page.$$eval("#grid img", (images) => images.map((image) => image.src))).size, 9);
  await page.screenshot({ path: join(RESULTS, "nine-seeds.png"), fullPage: true });
  await page.locator("#grid button").nth(5).click();
  await captioned(page, /seed 18446744073709551615/);
  // The list of the visit brings an image back.
  await waitForState(page, "ready");
  await page.locator("#visit-images button").last().click();
  await captioned(page, /seed 1 ·/);
});

test(
  "the walk goes where the slider is, by hand, by key and by itself, and stops when told",
  { timeout: 180_000 },
  async () => {
    const page = await openPage(browser, server, { path: ON_CPU });
    await downloadModel(page);
    const first = await canvas(page);
    await page.fill("#walk-to", "9");
    await page.fill("#walk-at", "50");
    await captioned(page, /50 % of the way from seed 1 to 9/);
    assert.notEqual(await canvas(page), first);
    await page.focus("#walk-at");
    await page.keyboard.press("ArrowRight");
    await captioned(page, /51 % of the way/);
    await page.screenshot({ path: join(RESULTS, "walk.png"), fullPage: true });
    await page.keyboard.press("Home");
    await captioned(page, /seed 1 ·/);
    assert.equal(await canvas(page), first);
    await page.click("#walk-play");
    await captioned(page, /[2-9]\d % of the way/);
    await page.keyboard.press("Escape");
    assert.equal(await page.textContent("#walk-play"), "Walk there and back");
    // Only a walk that is playing moves the slider.
    const at = await page.inputValue("#walk-at");
    await generate(page, "red apple", 1);
    assert.equal(await page.inputValue("#walk-at"), at);
  },
);

test(
  "a link restores prompt, seed and position on a walk, and fetches nothing by itself",
  { timeout: 180_000 },
  async () => {
    const page = await openPage(browser, server, { path: ON_CPU });
    await downloadModel(page);
    await generate(page, "tree & sun, 100 %", 7);
    await page.fill("#walk-to", "9");
    await page.fill("#walk-at", "25");
    await captioned(page, /25 % of the way/);
    const image = await canvas(page);
    await page.click("#link");
    const address = page.url();
    assert.match(address, /#v=1&seed=7&to=9&t=0.25&model=[0-9a-f]{16}&prompt=/);
    const other = await openPage(browser, server, { path: "empty.html" });
    await other.goto(address);
    await waitForState(other, "offer");
    assert.equal(await other.inputValue("#prompt"), "tree & sun, 100 %");
    await downloadModel(other);
    assert.match(await caption(other), /25 % of the way from seed 7 to 9/);
    assert.equal(await canvas(other), image);
    // Another model's link says so; a broken one is none.
    await other.goto("about:blank");
    await other.goto(address.replace(/model=\w+/, "model=0123456789abcdef"));
    await waitForModel(other);
    await other.goto("about:blank");
    await other.goto(server.address + ON_CPU + "#v=1&seed=-4&prompt=x");
    await waitForModel(other);
    assert.match(await caption(other), /red apple · seed 1 ·/);
  },
);

test(
  "a saved image that is dropped restores its prompt and its seed; another file is refused with a sentence",
  { timeout: 180_000 },
  async () => {
    const page = await openPage(browser, server, { path: ON_CPU });
    await downloadModel(page);
    await generate(page, "green tree", 41);
    const [download] = await Promise.all([page.waitForEvent("download"), page.keyboard.press("Control+s")]);
    const bytes = [...(await readFile(await download.path()))];
    await generate(page, "red apple", 1);
    const drop = (name, bytes) =>
      page.evaluate(
        ([name, bytes]) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(bytes)], name));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        },
        [name, bytes],
      );
    await drop("image.png", bytes);
    await captioned(page, /green tree · seed 41/);
    await waitForState(page, "ready");
    await drop("image.png", bytes.slice(0, 60));
    await page.waitForFunction(() =>
      /neither the folder of a model nor an image/.test(document.getElementById("prompt-error").textContent),
    );
  },
);

test("live images: the last words are what is generated", { timeout: 120_000 }, async () => {
  const page = await openPage(browser, server, { path: ON_CPU });
  await downloadModel(page);
  await page.check("#live");
  await page.fill("#prompt", "");
  await page.type("#prompt", "green tree", { delay: 15 });
  await captioned(page, /^green tree · seed 1/);
  assert.equal(await page.textContent("#prompt-error"), "");
  assert.equal(await page.evaluate(() => document.body.dataset.state), "ready");
});

test("the seed stays or changes as its checkbox says", { timeout: 120_000 }, async () => {
  const page = await openPage(browser, server, { path: ON_CPU });
  await downloadModel(page);
  await generate(page, "red apple", 5);
  assert.equal(await page.inputValue("#seed"), "5");
  await page.uncheck("#lock");
  await page.click("#generate");
  await page.waitForFunction(
    () => document.getElementById("seed").value !== "5" && document.body.dataset.state === "ready",
  );
  assert.match(await caption(page), new RegExp(`seed ${await page.inputValue("#seed")} ·`));
});

test(
  "a folder that is opened replaces the model; a broken one is refused, and the shipped one loads again by its address",
  { timeout: 180_000 },
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "onestep-"));
    t.after(async () => (await import("node:fs/promises")).rm(folder, { recursive: true }));
    const files = variant({ shards: 2 });
    for (const [name, bytes] of files) await writeFile(join(folder, name), bytes);
    const page = await openPage(browser, server, { path: ON_CPU });
    await downloadModel(page);
    const image = await canvas(page);
    await page.evaluate(() => (document.getElementById("models").open = true));
    await page.setInputFiles("#models-files", folder);
    await page.waitForFunction(
      () => document.getElementById("card").hidden === false && document.body.dataset.state === "ready",
    );
    await captioned(page, /red apple · seed 1 ·/);
    assert.equal(await canvas(page), image);
    const broken = Buffer.from(files.get("shard-1.safetensors"));
    broken[broken.length >> 1] ^= 1;
    await writeFile(join(folder, "shard-1.safetensors"), broken);
    await page.setInputFiles("#models-files", folder);
    await page.waitForFunction(() =>
      /A file of the folder is not the one that this model expects \(shard-1/.test(
        document.getElementById("model-error").textContent,
      ),
    );
    assert.ok(await page.isDisabled("#link"), "there is no image of this model");
    await page.screenshot({ path: join(RESULTS, "broken-folder.png"), fullPage: true });
    await page.fill("#models-address", "https://example.com/model/");
    await page.click("#models-form button");
    assert.match(await page.textContent("#models-cached"), /no address on this site/);
    await page.fill("#models-address", "bundle/");
    await page.click("#models-form button");
    await waitForModel(page);
    assert.deepEqual([page.foreignRequests, server.violations], [[], []]);
  },
);

test(
  "the worker does what takes long: the page's thread runs no WebAssembly, and reads and hashes only the manifest",
  { timeout: 120_000 },
  async () => {
    const page = await openPage(browser, server, {
      path: ON_CPU,
      prepare: () => {
        const seen = { ran: [], hashed: [], read: [], received: [] };
        window.seen = seen;
        const noted = (owner, name, note) => {
          const real = owner[name];
          owner[name] = function (...given) {
            note(this, given);
            return new.target ? Reflect.construct(real, given) : Reflect.apply(real, this, given);
          };
        };
        for (const name of [
          "Module",
          "Instance",
          "compile",
          "compileStreaming",
          "instantiate",
          "instantiateStreaming",
        ])
          noted(WebAssembly, name, () => seen.ran.push(name));
        noted(SubtleCrypto.prototype, "digest", (_, [, bytes]) => seen.hashed.push(bytes.byteLength));
        for (const name of ["arrayBuffer", "blob", "bytes", "json", "text"])
          noted(Response.prototype, name, ({ url }) => seen.read.push(new URL(url).pathname));
        const { get } = Object.getOwnPropertyDescriptor(Response.prototype, "body");
        Object.defineProperty(Response.prototype, "body", {
          get() {
            seen.read.push(new URL(this.url).pathname);
            return get.call(this);
          },
        });
        const bytes = (value) =>
          value?.byteLength ??
          (value && typeof value === "object"
            ? Object.values(value).reduce((sum, part) => sum + bytes(part), 0)
            : 0);
        window.Worker = class extends Worker {
          constructor(address, options) {
            super(address, options);
            this.addEventListener("message", ({ data }) => seen.received.push(bytes(data)));
          }
        };
      },
    });
    await downloadModel(page);
    for (const seed of [1, 2, 3]) await generate(page, "green tree", seed);
    const { ran, hashed, read, received } = await page.evaluate(() => window.seen);
    assert.deepEqual(ran, []);
    const manifest = await readFile(join(process.env.ONESTEP_BUNDLE, "manifest.json"));
    assert.deepEqual([...new Set(hashed)], [manifest.length]);
    assert.deepEqual([...new Set(read)].sort(), ["/bundle/gallery.json", "/bundle/manifest.json"]);
    // Four images, the first of them by itself, with their token ids; nothing else that is large comes over.
    const image = 64 * 64 * 4;
    assert.equal(received.filter((bytes) => bytes >= image).length, 4);
    assert.ok(Math.max(...received) < image + 1024, `a message of ${Math.max(...received)} bytes`);
  },
);
