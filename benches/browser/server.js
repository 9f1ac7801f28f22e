// Serves the built page, onnxruntime-web and the networks to the browser, cross-origin isolated: without that
// there are no threads.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
};

/**
 * `folders` maps the first part of a path to a folder; what has none of them is looked for in `folders[""]`.
 */
export async function serve(folders) {
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
    const headers = {
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-embedder-policy": "require-corp",
      "cross-origin-resource-policy": "same-origin",
      "cache-control": "no-store",
    };
    if (path === "/empty.html")
      return response
        .writeHead(200, { ...headers, "content-type": TYPES[".html"] })
        .end("<!doctype html><title>empty</title>");
    const [, first, ...rest] = path.split("/");
    const file = first in folders ? join(folders[first], ...rest) : join(folders[""], path);
    try {
      const bytes = await readFile(file);
      response
        .writeHead(200, {
          ...headers,
          "content-type": TYPES[extname(file)] ?? "application/octet-stream",
          "content-length": bytes.length,
        })
        .end(bytes);
    } catch {
      response.writeHead(404, headers).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  return {
    address: `http://localhost:${port}/`,
    close: () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve))),
  };
}
