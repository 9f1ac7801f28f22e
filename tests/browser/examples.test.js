// The examples, as somebody who tries them would: installed, built, and used.
import assert from "node:assert/strict";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch } from "./browser.js";
import { EXAMPLES, installed, npm } from "./npm.js";
import { decode, native, psnr, shrink } from "./images.js";
import { PACKAGE, RESULTS } from "./settings.js";
import { serve } from "./site.js";

const LEAST_DECIBELS = 45;

let browser, expected;
before(async () => {
  browser = await launch({ webgpu: false });
  expected = await native("red apple", 1, "cpu");
});
after(() => browser?.close());

/** What is written below the image, once it is an image. */
const waitForImage = (page, prompt) =>
  page.waitForFunction(
    (prompt) => document.querySelector("figcaption")?.textContent.startsWith(`${prompt}, `),
    prompt,
    { timeout: 60_000 },
  );

const USED = {
  async plain(page) {
    await page.waitForFunction(() =>
      /^Download [0-9.]+ MB$/.test(document.getElementById("load").textContent),
    );
    await page.click("#load");
    await waitForImage(page, "red apple");
  },
  async "as-you-type"(page) {
    await page.waitForSelector("#prompt:enabled", { timeout: 60_000 });
    await page.locator("#prompt").pressSequentially("red apple");
    await waitForImage(page, "red apple");
  },
  async react(page) {
    await page.click("button");
    await waitForImage(page, "red apple");
    // Away and back again: nothing of the first is in the second's way.
    await page.click("button");
    await page.waitForSelector("canvas", { state: "detached" });
    await page.click("button");
    await waitForImage(page, "red apple");
  },
};

for (const [example, built] of [
  ["plain", "."],
  ["as-you-type", "."],
  ["react", "dist"],
]) {
  test(`the example ${example} shows the native program's image`, { timeout: 300_000 }, async (t) => {
    const project = await mkdtemp(join(tmpdir(), `onestep-${example}-`));
    t.after(() => rm(project, { recursive: true }));
    await cp(join(EXAMPLES, example), project, { recursive: true });
    if (built !== "." && !(await installed(t, project))) return;
    await npm(project, "install", "--no-save", PACKAGE);
    if (built !== ".") await npm(project, "run", "build");
    const server = await serve(join(project, built));
    t.after(() => server.close());
    const page = await browser.newPage();
    t.after(() => page.close());
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.goto(server.address);
    await USED[example](page);
    const shown = await page.locator("canvas").screenshot({ path: join(RESULTS, `example-${example}.png`) });
    const decibels = psnr(shrink(decode(shown), expected.width, expected.height), expected);
    assert.ok(decibels >= LEAST_DECIBELS, `${decibels.toFixed(1)} dB`);
    assert.deepEqual(errors, []);
  });
}
