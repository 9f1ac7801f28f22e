// Serves the built page as a strict host would, with range requests, and records requests and policy
// violations.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { PAGE, SELFTEST } from "./settings.js";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/**
 * The page's own policy, sent as a header so that it holds for the worker too, with an address for
 * violations.
 */
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; report-uri /csp-report";

/**
 * `change(path, bytes, response)` may give other bytes, or answer itself and give nothing; `files` of what is
 * returned has files by path that are not on disk.
 * @param {{ change?(path: string, bytes: Buffer, response: import("node:http").ServerResponse): Buffer |
 *   undefined | Promise<Buffer | undefined> }} options
 */
export async function serve({ change } = {}) {
  /** @type {any} */
  const served = { requests: [], ranges: [], violations: [], change };
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    served.requests.push(path);
    if (path === "/csp-report") {
      let text = "";
      for await (const part of request) text += part;
      served.violations.push(text);
      return response.writeHead(204).end();
    }
    if (path === "/empty.html")
      return response
        .writeHead(200, { "content-type": TYPES[".html"], "content-security-policy": POLICY })
        .end("<!doctype html><title>empty</title>");
    const file = path.startsWith("/selftest/")
      ? join(SELFTEST, normalize(path.slice("/selftest".length)))
      : join(PAGE, normalize(path === "/" ? "/index.html" : path));
    let bytes;
    try {
      bytes = served.files?.get(path) ?? (await readFile(file));
    } catch {
      return response.writeHead(404).end();
    }
    bytes = served.change ? await served.change(path, bytes, response) : bytes;
    if (bytes === undefined) return;
    const part = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const [start, end] = part ? [Number(part[1]), Number(part[2]) + 1] : [0, bytes.length];
    if (part) served.ranges.push({ path, start, end });
    const whole = bytes.length;
    bytes = bytes.subarray(start, end);
    response.writeHead(part ? 206 : 200, {
      ...(part ? { "content-range": `bytes ${start}-${end - 1}/${whole}` } : {}),
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
      "content-length": bytes.length,
      "cache-control": "no-store",
      "content-security-policy": POLICY,
      "x-content-type-options": "nosniff",
    });
    response.end(bytes);
  });
  await new Promise((resolve) => server.listen({ port: 0, host: "127.0.0.1" }, () => resolve(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  served.address = `http://localhost:${port}/`;
  served.close = () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve)));
  return served;
}
