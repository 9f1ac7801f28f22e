// What cargo xtask test browser says, by environment variables.
import { existsSync } from "node:fs";

function folder(name, what) {
  const path = process.env[name];
  if (!path || !existsSync(path))
    throw new Error(`${name} must name ${what}; cargo xtask test browser sets it`);
  return path;
}

/** The built page. */
export const PAGE = folder("ONESTEP_PAGE", "the built page");
/** The WebAssembly build with the kernel cases. */
export const SELFTEST = folder(
  "ONESTEP_SELFTEST",
  "the folder of the WebAssembly build with the kernel cases",
);
/** The npm package, as npm packs it. */
export const PACKAGE = folder("ONESTEP_PACKAGE", "the packed npm package");
/** The program `onestep`. */
export const PROGRAM = folder("ONESTEP_PROGRAM", "the program onestep");
/** The bundle that the page was built with. */
export const BUNDLE = folder("ONESTEP_BUNDLE", "the bundle that the page was built with");
/** Where screenshots and images are left. */
export const RESULTS = folder("ONESTEP_RESULTS", "a folder for screenshots");
/** The browser. */
export const CHROMIUM = folder("ONESTEP_CHROMIUM", "Chromium");
