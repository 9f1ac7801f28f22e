// What the page says. One file, so that it says the same thing the same way.

/** @import { Backend, GeneratedImage, Model, Probe } from "../packages/onestep/src/public/index.js" */
/** @import { Progress } from "../packages/onestep/src/public/index.js" */
/** @import { Reading } from "../packages/onestep/src/public/index.js" */

/** Labels of buttons that change. */
export const LABELS = {
  generate: "Draw",
  cancel: "Cancel",
  download: "Download",
  resume: "Resume with",
  open: "Open",
  retry: "Try again",
};

/** @param {number} bytes */
export const megabytes = (bytes) =>
  bytes < 1e5 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

/** What the model is and what loading it costs. @param {Probe} probe */
export function modelSentence({ model, downloadBytes, cachedBytes, freeBytes }) {
  const [width, height] = model.sizes[0];
  const about = `${model.title} draws pictures of ${width} × ${height} pixels. Its licence is ${model.license}.`;
  if (downloadBytes === 0) return `${about} It is on this device.`;
  const cost =
    cachedBytes > 0
      ? `${megabytes(cachedBytes)} of it are on this device, ${megabytes(downloadBytes)} have to be fetched`
      : `It has to be fetched once, ${megabytes(downloadBytes)},`;
  const room =
    freeBytes !== undefined && freeBytes < downloadBytes
      ? ` The browser has room for ${megabytes(freeBytes)} only, so it will have to be fetched again the next time.`
      : "";
  return `${about} ${cost} before you can draw.${room}`;
}

/**
 * An image, for people who do not see it.
 * @param {Pick<GeneratedImage, "prompt" | "seed" | "noise">} image
 */
export function altText({ prompt, seed, noise }) {
  const origin = "from" in noise ? `between seeds ${noise.from} and ${noise.to}` : `seed ${seed}`;
  return `Image for: ${prompt}, ${origin}`;
}

/** An image and how long it took. @param {GeneratedImage} image */
export function caption({ prompt, seed, noise, timings }) {
  const origin =
    "from" in noise
      ? `${Math.round(noise.t * 100)} % of the way from seed ${noise.from} to ${noise.to}`
      : `seed ${seed}`;
  return `${prompt} · ${origin} · ${Math.round(timings.total)} ms`;
}

/** A phase of loading. @param {Progress} progress @param {Backend | null} backend */
export function progressSentence({ phase, done, total, cached }, backend) {
  switch (phase) {
    case "download":
      if (cached === total) return "Reading what is on this device…";
      return `Fetching: ${megabytes(done)} of ${megabytes(total)}`;
    case "verify":
      return "Checking what was fetched…";
    default: {
      if (done >= total) return "Ready";
      const what = backend === "cpu" ? "Preparing for this CPU" : "Compiling for this GPU";
      return `${what}: part ${done + 1} of ${total}`;
    }
  }
}

/** What computed, and in how much memory. @param {Model} model */
export function deviceSentence({ backend, memoryBytes, device }) {
  const memory = `The model takes ${megabytes(memoryBytes)} of memory.`;
  if (backend === "cpu") return `This device's CPU, by WebAssembly. ${memory}`;
  const name = `${device.name || "GPU"}${device.software ? ", in software" : ""} (${device.interface}).`;
  const slow = device.software ? " The CPU stands in for a GPU here, which takes several times as long." : "";
  return `${name} ${memory}${slow}`;
}

/**
 * What went wrong. The package's sentences are for people already; only a page without a model is the page's
 * matter.
 * @param {any} error
 */
export function errorSentence(error) {
  if (error?.name !== "OneStepError") return `Something unexpected happened: ${error?.message ?? error}`;
  if (error.kind === "network" && error.detail.file === "manifest.json" && error.detail.status === 404) {
    return "There is no model beside this page. It was built before one was put into models/emoji.";
  }
  return error.message;
}

/** What the model did not take from the prompt, or nothing. @param {Reading} reading */
export function omittedSentence({ truncated, unknown }) {
  const sentences = [];
  if (unknown) {
    sentences.push(`The model has never seen ${[...unknown].slice(0, 20).join(" ")} and drew without.`);
  }
  if (truncated) sentences.push("The prompt was longer than the model reads; its end was left out.");
  return sentences.join(" ");
}

/** Rows of the table of timings. @type {[keyof GeneratedImage["timings"], string][]} */
export const TIMINGS = [
  ["queue", "Waiting"],
  ["text", "Text encoder"],
  ["generator", "Generator, one step"],
  ["decoder", "Decoder"],
  ["present", "Showing"],
  ["total", "Together"],
];
