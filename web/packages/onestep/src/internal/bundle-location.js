// Where the files of a bundle are.
import { OneStepError } from "../public/errors.js";
import { baseUrl } from "./local-files.js";

/** @import { BundleRef } from "../public/types.js" */

/**
 * The URL of a manifest, or the files of a folder by name. Can be sent to a worker.
 * @typedef {{ url: string, files?: undefined } | { files: Map<string, File>, url?: undefined }} Location
 */

/**
 * The location of a bundle and the expected hash of its manifest.
 * @param {BundleRef} bundle
 * @returns {{ location: Location, sha256?: string }}
 */
export function locateBundle(bundle) {
  /** @type {{ url?: string | URL, files?: Iterable<File>, sha256?: string }} */
  const given = typeof bundle === "string" || bundle instanceof URL ? { url: bundle } : (bundle ?? {});
  if (given.sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(given.sha256)) {
    throw new OneStepError("invalid-option", "sha256 must be 64 hexadecimal digits.");
  }
  const sha256 = given.sha256?.toLowerCase();
  if (given.files !== undefined) {
    const files = [...given.files];
    if (!files.every((file) => file instanceof File)) {
      throw new OneStepError("invalid-option", "The files of a model must be File objects.");
    }
    return { location: { files: new Map(files.map((file) => [file.name, file])) }, sha256 };
  }
  let url;
  try {
    url = new URL(/** @type {string | URL} */ (given.url), baseUrl());
  } catch {
    throw new OneStepError(
      "invalid-option",
      `The address of a model must be a URL, and ${String(given.url).slice(0, 200)} is none.`,
    );
  }
  if (!url.pathname.endsWith(".json")) {
    if (!url.pathname.endsWith("/")) url.pathname += "/";
    url.pathname += "manifest.json";
  }
  return { location: { url: url.href }, sha256 };
}
