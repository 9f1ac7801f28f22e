// A headless Chromium, with a WebGPU that needs no GPU.
import { chromium } from "playwright-core";
import { QUIET, SOFTWARE_WEBGPU } from "./chromium-flags.js";
import { CHROMIUM } from "./settings.js";

export const launch = ({ webgpu = true } = {}) =>
  chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: webgpu ? [...QUIET, ...SOFTWARE_WEBGPU] : QUIET,
  });

/**
 * What most tests want: without this choice the page takes the CPU, because the adapter is software.
 */
export const ON_WEBGPU = "?backend=webgpu";

/** A page that records its errors and the requests to other hosts. */
/**
 * @param {any} browser
 * @param {any} server
 * @param {{ width?: number, height?: number, colorScheme?: string, path?: string, prepare?: () => void }}
 *   [options] `prepare` runs on the page before its scripts
 * @returns {Promise<any>}
 */
export async function openPage(
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
  // What a page does in a second may take long while another program has the CPU.
  page.setDefaultTimeout(120_000);
  page.errors = [];
  page.foreignRequests = [];
  page.on("pageerror", (error) => page.errors.push(String(error)));
  page.on(
    "console",
    (message) => ["error", "warning"].includes(message.type()) && page.errors.push(message.text()),
  );
  context.on(
    "request",
    (request) =>
      !request.url().startsWith(server.address) &&
      !/^(blob|data):/.test(request.url()) &&
      page.foreignRequests.push(request.url()),
  );
  if (prepare) await page.addInitScript(prepare);
  await page.goto(server.address + path);
  return page;
}

export const waitForState = (page, name, timeout = 120_000) =>
  page.waitForFunction((name) => name.split(" ").includes(document.body.dataset.state), name, { timeout });

/** Downloads the model that a page offers, and waits for its first image. */
export async function downloadModel(page) {
  await waitForState(page, "offer");
  await page.click("#download");
  await waitForModel(page);
}

/** Waits for the first image, which a page generates without being asked. */
export async function waitForModel(page) {
  await page.waitForFunction(
    () => {
      const { state } = document.body.dataset;
      return (
        (state === "ready" && document.getElementById("caption").textContent.includes("seed")) ||
        (state === "offer" && document.getElementById("model-error").textContent) ||
        state === "unsupported"
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

/** Breaks a connection once the page has counted `bytes` in `window.done`. */
export async function breakConnection(page, response, bytes) {
  await page.waitForFunction((count) => window.done >= count, bytes);
  response.destroy();
}

/** Crashes the GPU process of a browser, and waits until it is gone. */
export async function crashGpuProcess(browser, page) {
  const session = await browser.newBrowserCDPSession();
  const gpuProcesses = async () => {
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    return processInfo.filter(({ type }) => type === "GPU").map(({ id }) => id);
  };
  const before = await gpuProcesses();
  await session.send("Browser.crashGpuProcess").catch(() => {});
  while ((await gpuProcesses()).some((id) => before.includes(id))) await page.waitForTimeout(50);
}

/** Generates an image by the fields of the page, and fails if there is an error instead. */
export async function generate(page, prompt, seed) {
  await page.fill("#prompt", prompt);
  await page.fill("#seed", String(seed));
  await page.click("#generate");
  await waitForState(page, "ready offer", 300_000);
  const error = await page.evaluate(
    () =>
      document.getElementById("prompt-error").textContent +
      document.getElementById("model-error").textContent,
  );
  if (error) throw new Error(`${prompt}, seed ${seed}: ${error}`);
}
