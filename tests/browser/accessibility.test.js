// Accessibility of the page: keyboard, announcements, phones, both themes.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { downloadModel, generate, launch, openPage, waitForModel, waitForState } from "./browser.js";
import { serve } from "./server.js";
import { RESULTS } from "./settings.js";

let server, browser;
before(async () => {
  server = await serve();
  browser = await launch();
});
after(() => Promise.all([browser?.close(), server?.close()]));

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

async function findings(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() =>
    axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
  );
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.target).join(", ")}`);
}

const wide = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

for (const [name, view] of Object.entries({
  "desktop-light": { width: 1280, height: 900, colorScheme: "light" },
  "desktop-dark": { width: 1280, height: 900, colorScheme: "dark" },
  "phone-light": { width: 360, height: 740, colorScheme: "light" },
  "phone-dark": { width: 360, height: 740, colorScheme: "dark" },
  narrow: { width: 320, height: 640, colorScheme: "light" },
})) {
  test(
    `${name}: nothing is cut off and no rule of accessibility broken, with and without an image`,
    { timeout: 300_000 },
    async () => {
      const page = await openPage(browser, server, view);
      await waitForState(page, "offer");
      await page.screenshot({ path: join(RESULTS, `${name}-offer.png`), fullPage: true });
      assert.deepEqual(await findings(page), []);
      assert.equal(await wide(page), 0);
      await downloadModel(page);
      await generate(page, "red apple", 1);
      await page.click("#timings summary");
      await page.click("#measure");
      await page.waitForSelector("#kernels-rows tr", { timeout: 120_000 });
      await waitForState(page, "ready");
      await page.screenshot({ path: join(RESULTS, `${name}-image.png`), fullPage: true });
      assert.deepEqual(await findings(page), []);
      assert.equal(await wide(page), 0);
      await page.context().close();
    },
  );
}

test("the whole way by keyboard, and heard", { timeout: 300_000 }, async () => {
  const page = await openPage(browser, server, {
    prepare: () => {
      window.heard = [];
      new MutationObserver(() => {
        const text = document.getElementById("status")?.textContent;
        if (text && window.heard.at(-1) !== text) window.heard.push(text);
      }).observe(document, { subtree: true, childList: true, characterData: true });
    },
  });
  await waitForState(page, "offer");
  assert.equal(await page.getAttribute("html", "lang"), "en");
  const focus = () => page.evaluate(() => document.activeElement.id);
  await page.keyboard.press("Tab");
  assert.equal(await focus(), "download");
  await page.keyboard.press("Enter");
  await waitForModel(page);
  assert.equal(await focus(), "prompt");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("green tree");
  await page.keyboard.press("Tab");
  assert.equal(await focus(), "live");
  await page.keyboard.press("Tab");
  assert.equal(await focus(), "seed");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("9");
  await page.keyboard.press("Enter");
  await page.waitForFunction(
    () => document.getElementById("image").getAttribute("aria-label") === "Image for: green tree, seed 9",
    undefined,
    { timeout: 120_000 },
  );
  await waitForState(page, "ready");
  const heard = await page.evaluate(() => window.heard);
  assert.ok(
    heard.some((text) => /100 percent/.test(text)),
    heard.join(" | "),
  );
  assert.ok(heard.includes("The model is ready."), heard.join(" | "));
  assert.equal(heard.at(-1), "Image for: green tree, seed 9 is ready.");
  assert.ok(heard.length < 16, `${heard.length} announcements are too many`);
});

test(
  "nothing is fetched before it is asked for, and nothing moves when the image comes",
  { timeout: 300_000 },
  async (t) => {
    const fresh = await serve();
    t.after(() => fresh.close());
    const page = await openPage(browser, fresh);
    await waitForState(page, "offer");
    // The manifest and the gallery; the latter once more for the service worker.
    const asked = new Set(fresh.requests.filter((path) => path.startsWith("/bundle/")));
    assert.deepEqual([...asked].sort(), ["/bundle/gallery.json", "/bundle/manifest.json"]);
    assert.ok(!fresh.requests.some((path) => path.endsWith(".wasm")));
    await downloadModel(page);
    const box = () => page.locator("#frame").boundingBox();
    const first = await box();
    await generate(page, "red apple", 1);
    assert.deepEqual(await box(), first);
  },
);
