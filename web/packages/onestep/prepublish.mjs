// Refuses `npm publish` from a folder where the WebAssembly builds or the generated types are missing,
// because npm packs whatever is there.
import { existsSync, readFileSync } from "node:fs";

const here = new URL(".", import.meta.url);
const { exports } = JSON.parse(readFileSync(new URL("package.json", here), "utf8"));
const builds = Object.values(exports).filter((path) => typeof path === "string" && path.endsWith(".wasm"));
const files = [...builds.flatMap((path) => [path, path.replace(/_bg\.wasm$/, ".js")]), exports["."].types];
const missing = files.filter((path) => !existsSync(new URL(path, here)));
if (builds.length === 0 || missing.length > 0) {
  const what =
    missing.length > 0 ? missing.join(", ") : "a WebAssembly build among the exports of package.json";
  console.error(
    `onestep cannot be published without ${what}; \`cargo xtask package\` builds and packs all of them.`,
  );
  process.exit(1);
}
