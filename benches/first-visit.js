// What a first visit of the page costs: bytes that reach a browser with an empty profile, times until there
// is something to see, and how long the page was busy at a stretch meanwhile. Then the same profile's second
// visit. `cargo xtask bench --first-visit` builds the page and calls this; it writes first-visit.md.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { QUIET, SOFTWARE_WEBGPU } from "../tests/browser/chromium-flags.js";

const { ONESTEP_PAGE: PAGE, ONESTEP_CHROMIUM: CHROMIUM, ONESTEP_BENCH_ROUNDS: GIVEN } = process.env;
if (!PAGE || !CHROMIUM)
  throw new Error("ONESTEP_PAGE and ONESTEP_CHROMIUM are not set; cargo xtask bench --first-visit sets them");
const ROUNDS = Number(GIVEN || 5);
const { chromium } = createRequire(fileURLToPath(new URL("../tests/browser/package.json", import.meta.url)))(
  "playwright-core",
);

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".wasm": "application/wasm",
};
/** What hosts of static files compress. */
const COMPRESSED = new Set(Object.keys(TYPES));
/**
 * Lines on which the page is visited: bits a second of all answers together, and milliseconds before each
 * answer.
 */
const LINES = {
  "this machine": {},
  "50 Mbit/s, 20 ms": { rate: 50e6, delay: 20 },
  "10 Mbit/s, 50 ms": { rate: 10e6, delay: 50 },
};
const SIDES = {
  "WASM on the CPU": { path: "?backend=cpu", args: [] },
  WebGPU: { path: "?backend=webgpu", args: SOFTWARE_WEBGPU },
};

/** Sends files as a host of static files would, through one line of the given rate. */
async function serve({ rate, delay = 0 }) {
  const sent = { bytes: {}, requests: 0 };
  const packed = new Map();
  // When the line is free again.
  let free = 0;
  const pause = (until) =>
    new Promise((resolve) => setTimeout(resolve, Math.max(0, until - performance.now())));
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    const name = normalize(path === "/" ? "/index.html" : path);
    let bytes;
    try {
      bytes = packed.get(name) ?? (await readFile(join(PAGE, name)));
    } catch {
      return response.writeHead(404).end();
    }
    const compress = COMPRESSED.has(extname(name));
    if (compress && !packed.has(name)) packed.set(name, (bytes = gzipSync(bytes, { level: 9 })));
    sent.requests++;
    const kind = path.startsWith("/bundle/")
      ? path.endsWith("gallery.json")
        ? "examples"
        : "model"
      : path.endsWith(".wasm")
        ? "wasm"
        : "page";
    await pause(performance.now() + delay);
    response.writeHead(200, {
      "content-type": TYPES[extname(name)] ?? "application/octet-stream",
      "content-length": bytes.length,
      // As a host that names its files by their contents would, for a visit's length.
      "cache-control": "max-age=3600",
      ...(compress ? { "content-encoding": "gzip" } : {}),
    });
    for (let at = 0; at < bytes.length; at += 16 << 10) {
      const part = bytes.subarray(at, at + (16 << 10));
      if (rate) {
        free = Math.max(free, performance.now()) + (part.length * 8e3) / rate;
        await pause(free);
      }
      if (response.destroyed) return;
      sent.bytes[kind] = (sent.bytes[kind] ?? 0) + part.length;
      response.write(part);
    }
    response.end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    sent,
    address: `http://localhost:${server.address().port}/`,
    close: () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))),
  };
}

const inState = (page, state) =>
  page.waitForFunction((state) => document.body?.dataset.state === state, state, {
    timeout: 300_000,
    polling: 10,
  });
const firstImage = (page) =>
  page.waitForFunction(() => document.getElementById("caption")?.textContent.includes("seed"), undefined, {
    timeout: 300_000,
    polling: 10,
  });

/** Browsers call a task long from 50 ms on, and tell of no shorter one. */
const watchTasks = () => {
  window.longTasks = [];
  new PerformanceObserver((list) =>
    window.longTasks.push(...list.getEntries().map(({ duration }) => duration)),
  ).observe({ type: "longtask", buffered: true });
};

/** Milliseconds of a first visit and of a second one, and the bytes of each. */
async function visits(line, { path, args }) {
  const profile = await mkdtemp(join(tmpdir(), "onestep-visit-"));
  const server = await serve(line);
  const open = () =>
    chromium.launchPersistentContext(profile, {
      executablePath: CHROMIUM,
      headless: true,
      args: [...QUIET, ...args],
    });
  const times = {};
  try {
    let context = await open();
    await context.addInitScript(watchTasks);
    let page = context.pages()[0] ?? (await context.newPage());
    let begun = performance.now();
    await page.goto(server.address + path, { waitUntil: "commit" });
    await inState(page, "offer");
    times.offer = performance.now() - begun;
    begun = performance.now();
    await page.click("#download");
    await firstImage(page);
    times.first = performance.now() - begun;
    times.busy = Math.max(0, ...(await page.evaluate(() => window.longTasks)));
    const adapter = await page.textContent("#device");
    // The service worker takes what it keeps from the browser's cache.
    await page.waitForTimeout(500);
    const first = structuredClone(server.sent);
    await context.close();

    context = await open();
    page = context.pages()[0] ?? (await context.newPage());
    begun = performance.now();
    await page.goto(server.address + path, { waitUntil: "commit" });
    await firstImage(page);
    times.again = performance.now() - begun;
    const bytes =
      Object.values(server.sent.bytes).reduce((a, b) => a + b, 0) -
      Object.values(first.bytes).reduce((a, b) => a + b, 0);
    await context.close();
    return { times, first, again: bytes, adapter };
  } finally {
    await server.close();
    await rm(profile, { recursive: true, force: true });
  }
}

const task = (milliseconds) => (milliseconds === 0 ? "under 50" : milliseconds.toFixed(0));
const median = (values) =>
  values.toSorted?.((a, b) => a - b)[values.length >> 1] ??
  [...values].sort((a, b) => a - b)[values.length >> 1];
const seconds = (values) =>
  `${(median(values) / 1e3).toFixed(2)} (${(Math.min(...values) / 1e3).toFixed(2)}–${(Math.max(...values) / 1e3).toFixed(2)})`;
/** Of a visit's tasks on the page's thread the longest: its median and the most. */
const busiest = (results) => {
  const longest = results.map(({ times }) => times.busy);
  return `${task(median(longest))} (${task(Math.max(...longest))})`;
};
const kilobytes = (bytes) => `${Math.round(bytes / 1e3).toLocaleString("en")}`;

const found = {};
const load = loadavg()[0].toFixed(1);
// In turns: what else the machine does falls on all.
for (let round = 0; round < ROUNDS; round++) {
  for (const [line, settings] of Object.entries(LINES)) {
    for (const [side, how] of Object.entries(SIDES)) {
      const result = await visits(settings, how);
      ((found[side] ??= {})[line] ??= []).push(result);
      const { offer, first, again, busy } = result.times;
      console.log(
        `round ${round + 1}/${ROUNDS}, ${side}, ${line}: offer ${offer.toFixed(0)} ms, first image ${first.toFixed(0)} ms, ` +
          `second visit ${again.toFixed(0)} ms, longest task ${task(busy)} ms`,
      );
    }
  }
}

const version = await chromium
  .launch({ executablePath: CHROMIUM, args: QUIET })
  .then(async (browser) => [browser.version(), await browser.close()][0]);
let text = `# What a first visit costs

Medians of ${ROUNDS} rounds (least–most), Chromium ${version} with an empty profile each time, on ${cpus().length} × ${cpus()[0].model.trim()}, load ${load}. Text and wasm are sent gzipped, the
weights as they are; a line's rate holds for all answers together, its delay before each. The second visit is of the same profile, with the model kept on the device.
The longest task is that of the page's own thread, on which it hears clicks and keys: its median, the most in brackets.

| KB sent | page | examples | wasm | model | together | second visit |
| --- | --- | --- | --- | --- | --- | --- |
`;
for (const [side, lines] of Object.entries(found)) {
  const { first, again } = Object.values(lines)[0].at(-1);
  const { page, examples = 0, wasm, model } = first.bytes;
  text += `| ${side} | ${[page, examples, wasm, model, page + examples + wasm + model, again].map(kilobytes).join(" | ")} |\n`;
}
text +=
  "\n| seconds | line | address to offer | click to first image | second visit, address to image | longest task of the first visit, ms |\n| --- | --- | --- | --- | --- | --- |\n";
for (const [side, lines] of Object.entries(found)) {
  for (const [line, results] of Object.entries(lines)) {
    text += `| ${side} | ${line} | ${["offer", "first", "again"].map((what) => seconds(results.map(({ times }) => times[what]))).join(" | ")} | ${busiest(results)} |\n`;
  }
}
text += `\nWhat computed: ${[
  ...new Set(
    Object.values(found).flatMap((lines) =>
      Object.values(lines)
        .flat()
        .map(({ adapter }) => adapter),
    ),
  ),
].join(" · ")}\n`;
await writeFile(fileURLToPath(new URL("first-visit.md", import.meta.url)), text);
console.log(text);
