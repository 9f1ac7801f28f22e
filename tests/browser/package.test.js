// The npm package as users have it: what is in it, what it weighs, and that their projects work with it as
// they are.
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { launch } from "./browser.js";
import { CONSUMERS, installed, npm, run } from "./npm.js";
import { native, psnr } from "./images.js";
import { PACKAGE, RESULTS } from "./settings.js";
import { serve } from "./site.js";

/** Gzipped: the JavaScript that every page fetches, with its documentation, and the build for WebGPU. */
const MOST = { script: 44 << 10, wasm: 1.5 * 2 ** 20 };
const LEAST_DECIBELS = 45;

let browser, folder;
before(async () => {
  browser = await launch({ webgpu: false });
  folder = await mkdtemp(join(tmpdir(), "onestep-package-"));
  await writeFile(join(folder, "package.json"), '{ "name": "any", "private": true, "type": "module" }');
  await npm(folder, "install", PACKAGE);
});
after(async () => {
  await browser?.close();
  if (folder) await rm(folder, { recursive: true });
});

const own = () => join(folder, "node_modules/onestep");

test("the archive has what the package promises and nothing else, and weighs little", async () => {
  const files = (await readdir(own(), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(own().length + 1))
    .sort();
  const sources = (
    await readdir(new URL("../../web/packages/onestep/src/", import.meta.url), { recursive: true })
  )
    .filter((name) => name.endsWith(".js"))
    .map((name) => `src/${name}`);
  // Generated from the sources when the package is packed.
  const types = sources.map((name) => name.replace(/^src(.*)\.js$/, "types$1.d.ts"));
  const builds = ["", "-cpu", "-cpu-relaxed"].flatMap((kind) => [
    `wasm/onestep-wasm${kind}.js`,
    `wasm/onestep-wasm${kind}_bg.wasm`,
  ]);
  assert.deepEqual(
    files,
    ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "package.json", ...sources, ...types, ...builds].sort(),
  );
  const gzipped = async (names) =>
    (await Promise.all(names.map(async (name) => gzipSync(await readFile(join(own(), name))).length))).reduce(
      (sum, size) => sum + size,
      0,
    );
  const found = {
    script: await gzipped(sources),
    wasm: await gzipped(["wasm/onestep-wasm_bg.wasm"]),
    archive: (await stat(PACKAGE)).size,
  };
  console.log(
    `# KiB, gzipped: ${Object.entries(found)
      .map(([what, size]) => `${what} ${(size / 1024).toFixed(0)}`)
      .join(", ")}`,
  );
  for (const [what, most] of Object.entries(MOST))
    assert.ok(found[what] <= most, `${what}: ${found[what]} bytes`);
  const { exports } = JSON.parse(await readFile(join(own(), "package.json"), "utf8"));
  const named = Object.values(exports).flatMap((value) =>
    typeof value === "string" ? value : Object.values(value),
  );
  for (const name of named) await stat(join(own(), name));
});

test(
  "a server may import it: nothing happens, a probe says that there is no browser, and the CPU generates",
  { timeout: 120_000 },
  async (t) => {
    const server = await serve(folder);
    t.after(() => server.close());
    const script = `
    const before = Object.keys(globalThis).length;
    const { probe, load, cache } = await import("onestep");
    if (Object.keys(globalThis).length !== before) throw new Error("the import left something behind");
    const { backend, reasons, cachedBytes, downloadBytes } = await probe(${JSON.stringify(`${server.address}bundle/`)});
    const model = await load(${JSON.stringify(`${server.address}bundle/`)});
    const { data } = (await model.generate("red apple", { seed: 1 })).pixels();
    await model.dispose();
    const left = Object.keys(globalThis).length - before;
    console.log(JSON.stringify({ backend, reasons, cachedBytes, downloadBytes, data: [...data], left, list: await cache.list() }));`;
    await writeFile(join(folder, "server.js"), script);
    const { stdout } = await run(process.execPath, ["server.js"], { cwd: folder });
    const { backend, reasons, cachedBytes, downloadBytes, data, left, list } = JSON.parse(stdout);
    assert.deepEqual([backend, cachedBytes, left, list], ["cpu", 0, 0, []]);
    const decibels = psnr(
      { width: 64, height: 64, data: Buffer.from(data) },
      await native("red apple", 1, "cpu"),
    );
    assert.ok(decibels >= LEAST_DECIBELS, `${decibels.toFixed(1)} dB`);
    assert.match(reasons.join(), /no browser here/);
    assert.ok(downloadBytes > 1e6);
  },
);

for (const [consumer, built] of [
  ["plain", "."],
  ["vite", "dist"],
  ["webpack", "dist"],
  ["next", "out"],
]) {
  test(
    `a project with ${consumer === "plain" ? "no build" : consumer} shows the native program's image`,
    { timeout: 600_000 },
    async (t) => {
      const project = await mkdtemp(join(tmpdir(), `onestep-${consumer}-`));
      try {
        await cp(join(CONSUMERS, consumer), project, { recursive: true });
        if (consumer !== "plain" && !(await installed(t, project))) return;
        await npm(project, "install", "--no-save", PACKAGE);
        if (consumer !== "plain") await npm(project, "run", "build");
        if (consumer === "webpack") await cp(join(project, "index.html"), join(project, "dist/index.html"));
        const server = await serve(join(project, built));
        t.after(() => server.close());
        const page = await browser.newPage();
        const errors = [];
        page.on("pageerror", (error) => errors.push(String(error)));
        await page.goto(server.address);
        await page
          .waitForFunction(() => document.body?.dataset.generated, undefined, { timeout: 60_000 })
          .catch((error) => {
            throw new Error(`${error.message} ${errors.join("; ")} ${JSON.stringify(server.missing)}`);
          });
        const data = Buffer.from(
          await page.evaluate(() => [
            ...document.querySelector("canvas").getContext("2d").getImageData(0, 0, 64, 64).data,
          ]),
        );
        const decibels = psnr({ width: 64, height: 64, data }, await native("red apple", 1, "cpu"));
        assert.ok(decibels >= LEAST_DECIBELS, `${decibels.toFixed(1)} dB`);
        assert.deepEqual(errors, []);
        await page.close();
      } finally {
        await rm(project, { recursive: true });
      }
    },
  );
}

test("its types describe every call", { timeout: 600_000 }, async (t) => {
  const project = await mkdtemp(join(tmpdir(), "onestep-types-"));
  try {
    await cp(join(CONSUMERS, "types"), project, { recursive: true });
    if (!(await installed(t, project))) return;
    await npm(project, "install", "--no-save", PACKAGE);
    for (const [module, resolution] of [
      ["esnext", "bundler"],
      ["nodenext", "nodenext"],
    ]) {
      const words = [
        "--noEmit",
        "--strict",
        "--target",
        "esnext",
        "--module",
        module,
        "--moduleResolution",
        resolution,
        "--types",
        "",
        "use.ts",
      ];
      await run(process.execPath, [join(project, "node_modules/typescript/bin/tsc"), ...words], {
        cwd: project,
      }).catch(({ stdout }) => assert.fail(`${resolution}: ${stdout}`));
    }
  } finally {
    await rm(project, { recursive: true });
  }
});

test("every export is documented", { timeout: 600_000 }, async (t) => {
  const project = await mkdtemp(join(tmpdir(), "onestep-documentation-"));
  try {
    await cp(join(CONSUMERS, "documentation"), project, { recursive: true });
    if (!(await installed(t, project))) return;
    await npm(project, "install", "--no-save", PACKAGE);
    await npm(project, "run", "build").catch(({ stdout, stderr }) => assert.fail(stdout + stderr));
    const pages = await readdir(join(project, "api"), { recursive: true });
    for (const page of [
      "functions/load.html",
      "classes/Model.html",
      "classes/ModelPool.html",
      "variables/cache.html",
    ])
      assert.ok(pages.includes(page), page);
    await cp(join(project, "api"), join(RESULTS, "api"), { recursive: true });
  } finally {
    await rm(project, { recursive: true });
  }
});
