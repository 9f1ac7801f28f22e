// A site as users of the package have one: a folder, and the model under /bundle/.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { BUNDLE } from "./settings.js";

const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/** @param {string} root */
export async function serve(root) {
  /** @type {any} */
  const served = { missing: [] };
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    const file = path.startsWith("/bundle/")
      ? join(BUNDLE, normalize(path.slice("/bundle".length)))
      : join(root, normalize(path.endsWith("/") ? `${path}index.html` : path));
    try {
      const bytes = await readFile(file);
      response
        .writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" })
        .end(bytes);
    } catch {
      served.missing.push(path);
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen({ port: 0, host: "127.0.0.1" }, () => resolve(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  served.address = `http://localhost:${port}/`;
  served.close = () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve)));
  return served;
}
