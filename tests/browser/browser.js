// A headless Chromium, with a WebGPU that needs no GPU.
import { chromium } from "playwright-core";
import { CHROMIUM } from "./settings.js";

const QUIET = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** Adapters of software; the second line is what makes a WebGPU canvas show its pixels. */
const WEBGPU = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-unsafe-swiftshader",
  "--enable-features=Vulkan",
  "--use-vulkan=swiftshader",
  "--use-angle=swiftshader",
];

export const launch = ({ webgpu = true } = {}) =>
  chromium.launch({ executablePath: CHROMIUM, headless: true, args: webgpu ? [...QUIET, ...WEBGPU] : QUIET });

/** What most tests want: left to itself, the page takes the processor where there is only a software adapter. */
export const ON_WEBGPU = "?backend=webgpu";

/** A page that keeps what went wrong in it and which other hosts it asked for. */
export async function open(
  browser,
  server,
  { width = 1280, height = 900, colorScheme = "light", path = ON_WEBGPU, prepare } = {},
) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme,
    acceptDownloads: true,
  });
  const page = await context.newPage();
  // What a page does in a second may take long where another program has the processor.
  page.setDefaultTimeout(120_000);
  page.troubles = [];
  page.foreign = [];
  page.on("pageerror", (error) => page.troubles.push(String(error)));
  page.on(
    "console",
    (message) => ["error", "warning"].includes(message.type()) && page.troubles.push(message.text()),
  );
  context.on(
    "request",
    (request) =>
      !request.url().startsWith(server.address) &&
      !/^(blob|data):/.test(request.url()) &&
      page.foreign.push(request.url()),
  );
  if (prepare) await page.addInitScript(prepare);
  await page.goto(server.address + path);
  return page;
}

export const state = (page, name, timeout = 120_000) =>
  page.waitForFunction((name) => name.split(" ").includes(document.body.dataset.state), name, { timeout });

/** From the first look to a model that has drawn its first image. */
export async function ready(page) {
  await state(page, "offer");
  await page.click("#download");
  await loaded(page);
}

/** To the first image, which a model draws by itself. */
export async function loaded(page) {
  await page.waitForFunction(
    () => {
      const { state } = document.body.dataset;
      return (
        (state === "ready" && document.getElementById("caption").textContent.includes("seed")) ||
        (state === "offer" && document.getElementById("model-error").textContent) ||
        state === "cannot"
      );
    },
    undefined,
    { timeout: 300_000 },
  );
  const [found, error] = await page.evaluate(() => [
    document.body.dataset.state,
    document.getElementById("model-error").textContent,
  ]);
  if (found !== "ready") throw new Error(`the model is not ready but in state ${found}: ${error}`);
}

/** Breaks a connection when all that was sent has been taken: when `window.done`, the bytes that a page counts, stands still. */
export async function breakOff(page, response) {
  for (let [last, rounds] = [undefined, 0]; rounds < 4;) {
    await page.waitForTimeout(500);
    const done = await page.evaluate(() => window.done);
    [last, rounds] = [done, done !== undefined && done === last ? rounds + 1 : 0];
  }
  response.destroy();
}

/** Types, draws, waits, and wants an image. */
export async function draw(page, prompt, seed) {
  await page.fill("#prompt", prompt);
  await page.fill("#seed", String(seed));
  await page.click("#generate");
  await state(page, "ready offer", 300_000);
  const said = await page.evaluate(
    () =>
      document.getElementById("prompt-error").textContent +
      document.getElementById("model-error").textContent,
  );
  if (said) throw new Error(`${prompt}, seed ${seed}: ${said}`);
}
