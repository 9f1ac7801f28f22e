// The page generates the images of the native program: in its file and on its canvas.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { downloadModel, generate, launch, openPage } from "./browser.js";
import { decode, native, psnr, shrink } from "./images.js";
import { serve } from "./server.js";
import { RESULTS } from "./settings.js";

const LEAST_DECIBELS = 45;
const CASES = [
  ["red apple", 1],
  ["a cat face", 2],
  ["sun behind cloud", 3],
  ["green tree", 4],
  ["woman firefighter", 5],
];

const BACKENDS = ["webgpu", "cpu"];

let server, browser;
const pages = {};
before(async () => {
  server = await serve();
  browser = await launch();
  for (const backend of BACKENDS) {
    pages[backend] = await openPage(browser, server, { path: `?backend=${backend}` });
    await downloadModel(pages[backend]);
  }
});
after(() => Promise.all([browser?.close(), server?.close()]));

for (const [backend, [prompt, seed]] of BACKENDS.flatMap((backend) =>
  CASES.map((words) => [backend, words]),
)) {
  test(`${prompt}, seed ${seed}, on ${backend}`, { timeout: 300_000 }, async () => {
    const page = pages[backend];
    await generate(page, prompt, seed);
    assert.equal(await page.textContent("#prompt-error"), "");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
    const bytes = await readFile(await download.path());
    await writeFile(join(RESULTS, `page-${backend}-${seed}.png`), bytes);
    const file = decode(bytes);
    const screenshot = await page.locator("#image").screenshot();
    await writeFile(join(RESULTS, `canvas-${backend}-${seed}.png`), screenshot);
    const canvas = shrink(decode(screenshot), file.width, file.height);
    const colours = new Set();
    for (let at = 0; at < file.data.length; at += 4) colours.add(file.data.readUInt32LE(at));
    assert.ok(colours.size > 16, `the image has ${colours.size} colours, so there is none`);
    const found = { "canvas and file": psnr(canvas, file) };
    for (const device of ["webgpu", "cpu"]) {
      const expected = await native(prompt, seed, device);
      found[`file and native ${device}`] = psnr(file, expected);
      found[`canvas and native ${device}`] = psnr(canvas, expected);
    }
    const timings = await page.textContent("#timings-rows");
    console.log(
      `# ${prompt}, seed ${seed}, on ${backend} (${timings}):`,
      Object.entries(found)
        .map(([pair, decibels]) => `${pair} ${decibels.toFixed(1)} dB`)
        .join(", "),
    );
    for (const [pair, decibels] of Object.entries(found))
      assert.ok(decibels >= LEAST_DECIBELS, `${pair}: ${decibels.toFixed(1)} dB`);
    // What the file says of itself.
    const text = bytes.toString("latin1");
    assert.match(
      text,
      new RegExp(
        `parameters\\0${prompt}\\nSteps: 1, Sampler: onestep, Seed: ${seed}, Size: ${file.width}x${file.height}`,
      ),
    );
    assert.match(
      text,
      new RegExp(`onestep\\0.*"backend":"${backend}".*"prompt":"${prompt}".*"seed":"${seed}"`),
    );
  });
}

for (const backend of BACKENDS) {
  test(
    `the same prompt and seed give the same bytes, another seed another image, on ${backend}`,
    { timeout: 300_000 },
    async () => {
      const page = pages[backend];
      const file = async (seed) => {
        await generate(page, "red apple", seed);
        const [download] = await Promise.all([page.waitForEvent("download"), page.click("#save")]);
        return readFile(await download.path());
      };
      const [first, other, again] = [await file(1), await file("18446744073709551615"), await file(1)];
      assert.ok(first.equals(again));
      assert.ok(psnr(decode(first), decode(other)) < 40);
    },
  );
}

test("nothing was asked of another host, no rule of the policy broken, nothing written to the console", () => {
  for (const page of Object.values(pages)) {
    assert.deepEqual(page.foreignRequests, []);
    assert.deepEqual(page.errors, []);
  }
  assert.deepEqual(server.violations, []);
});
