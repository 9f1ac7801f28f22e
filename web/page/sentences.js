// What the page says. One place, so that it says the same thing the same way.

/** @param {number} bytes */
export const megabytes = (bytes) =>
  bytes < 1e5 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

/** What the model is and costs. */
export function offer({ model, downloadBytes, cachedBytes, freeBytes }) {
  const [width, height] = model.sizes[0];
  const about = `${model.title} draws pictures of ${width} × ${height} pixels. Its licence is ${model.license}.`;
  if (downloadBytes === 0) return `${about} It is on this device.`;
  const left =
    cachedBytes > 0
      ? `${megabytes(cachedBytes)} of it are on this device, ${megabytes(downloadBytes)} have to be fetched`
      : `It has to be fetched once, ${megabytes(downloadBytes)},`;
  const room =
    freeBytes !== undefined && freeBytes < downloadBytes
      ? ` The browser has room for ${megabytes(freeBytes)} only, so it will have to be fetched again the next time.`
      : "";
  return `${about} ${left} before you can draw.${room}`;
}

/** A picture, for those who do not see it. */
export const wanted = ({ prompt, seed, noise }) =>
  `Picture for: ${prompt}, ${seed === undefined ? `between seeds ${noise.from} and ${noise.to}` : `seed ${seed}`}`;

/** A picture and how long it took. */
export function caption({ prompt, seed, noise, timings }) {
  const where =
    seed === undefined
      ? `${Math.round(noise.t * 100)} % of the way from seed ${noise.from} to ${noise.to}`
      : `seed ${seed}`;
  return `${prompt} · ${where} · ${Math.round(timings.total)} ms`;
}

/** A phase of loading, for the eye. */
export function loading({ phase, done, total, cached }, backend) {
  switch (phase) {
    case "download":
      return cached === total
        ? "Reading what is on this device…"
        : `Fetching: ${megabytes(done)} of ${megabytes(total)}`;
    case "verify":
      return "Checking what was fetched…";
    default:
      if (done >= total) return "Ready";
      return `${backend === "cpu" ? "Preparing for this processor" : "Compiling for this graphics processor"}: part ${done + 1} of ${total}`;
  }
}

/** What computed, and in how much memory. */
export function device({ backend, memoryBytes, device: { name, interface: by, software } }) {
  const memory = `The model takes ${megabytes(memoryBytes)} of memory.`;
  if (backend === "cpu") return `This device's processor, by WebAssembly. ${memory}`;
  const slow = software
    ? " A processor does the work of the graphics processor here, which takes several times as long."
    : "";
  return `${name || "GPU"}${software ? ", in software" : ""} (${by}). ${memory}${slow}`;
}

/** What went wrong. The package's sentences are for people already; only a page without a model is the page's own matter. */
export function failure(error) {
  if (error?.name !== "OneStepError") return `Something unexpected happened: ${error?.message ?? error}`;
  if (error.kind === "network" && error.detail.file === "manifest.json" && error.detail.status === 404) {
    return "There is no model beside this page. It was built before one was put into models/emoji.";
  }
  return error.message;
}

/** What the model did not take from the prompt, or nothing. */
export function omitted({ truncated, unknown }) {
  const sentences = [];
  if (unknown)
    sentences.push(`The model has never seen ${[...unknown].slice(0, 20).join(" ")} and drew without.`);
  if (truncated) sentences.push("The prompt was longer than the model reads; its end was left out.");
  return sentences.join(" ");
}

/** Rows of the table of timings. */
export const TIMINGS = [
  ["queue", "Waiting"],
  ["text", "Text encoder"],
  ["generator", "Generator, one step"],
  ["decoder", "Decoder"],
  ["present", "Showing"],
  ["total", "Together"],
];
