// Every kernel, in the browser, against the f64 reference that the native tests use.
import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, openPage } from "./browser.js";
import { serve } from "./server.js";

test("the kernel cases pass in Chromium", { timeout: 900_000 }, async (t) => {
  const server = await serve();
  const browser = await launch();
  t.after(() => Promise.all([browser.close(), server.close()]));
  const page = await openPage(browser, server, { path: "empty.html" });
  const cases = await page.evaluate(async () => {
    const address = "/selftest/onestep_wasm.js";
    const build = await import(address);
    await build.default();
    return build.selftest();
  });
  assert.ok(cases.length > 0, "there is no case");
  for (const { name, passed, detail, worst } of cases) {
    await t.test(`kernel ${name}`, () =>
      assert.ok(passed, `${detail} (worst error ${worst} of its tolerance)`),
    );
  }
  assert.deepEqual(server.violations, []);
});
