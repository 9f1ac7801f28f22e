// The package outside of browsers: in Node.js on the CPU and through the package webgpu, and in Deno.
import assert from "node:assert/strict";
import { existsSync, realpathSync } from "node:fs";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { EXAMPLES, installed, npm, run } from "./npm.js";
import { decode, native, psnr } from "./images.js";
import { BUNDLE, CHROMIUM, PACKAGE } from "./settings.js";

const LEAST_DECIBELS = 45;

/** Chromium's software rasteriser, because Dawn needs more than the drivers of some systems have. */
const driver = ["/usr/lib/chromium", dirname(realpathSync(CHROMIUM))]
  .map((folder) => join(folder, "vk_swiftshader_icd.json"))
  .find(existsSync);
const environment = { ...process.env, ...(driver ? { VK_ICD_FILENAMES: driver } : {}) };

let project, there, skipped;
before(
  async () => {
    project = await mkdtemp(join(tmpdir(), "onestep-elsewhere-"));
    await cp(join(EXAMPLES, "node"), project, { recursive: true });
    there = await installed({ skip: (why) => (skipped = why) }, project);
    if (there) await npm(project, "install", "--no-save", PACKAGE);
  },
  { timeout: 600_000 },
);
after(() => rm(project, { recursive: true }));

const deno = () => join(project, "node_modules/.bin/deno");

/** @type {[string, string, () => string[]][]} */
const PROGRAMS = [
  ["Node.js", "cpu", () => [process.execPath]],
  ["Node.js", "webgpu", () => [process.execPath]],
  ["Deno", "cpu", () => [deno(), "run", "--allow-all", "--quiet"]],
  ["Deno", "webgpu", () => [deno(), "run", "--allow-all", "--quiet"]],
];
for (const [name, backend, program] of PROGRAMS) {
  test(`${name} generates the native program's image, on ${backend}`, { timeout: 240_000 }, async (t) => {
    if (!there) return t.skip(skipped);
    const file = join(project, "image.png");
    await rm(file, { force: true });
    const [command, ...words] = program();
    // Paths are relative to the working folder, as everywhere.
    const { stdout } = await run(command, [...words, "generate.js", BUNDLE, backend, file], {
      cwd: project,
      env: environment,
    });
    const decibels = psnr(decode(await readFile(file)), await native("red apple", 1, "cpu"));
    console.log(`# ${name}, ${backend}: ${stdout.trim()}, ${decibels.toFixed(1)} dB`);
    assert.ok(decibels >= LEAST_DECIBELS, `${decibels.toFixed(1)} dB`);
  });
}
