// What the page says. One place, so that it says the same thing the same way.

/** @param {number} bytes */
export const megabytes = (bytes) => (bytes < 1e5 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** What the model is and costs. */
export function offer({ model, downloadBytes }) {
  const [width, height] = model.sizes[0];
  return `${model.title} draws pictures of ${width} × ${height} pixels. Its licence is ${model.license}. It has to be fetched once, ${megabytes(downloadBytes)}, before you can draw.`;
}

/** A phase of loading, for the eye. */
export function loading({ phase, done, total }, backend) {
  switch (phase) {
    case "download":
      return `Fetching: ${megabytes(done)} of ${megabytes(total)}`;
    case "verify":
      return "Checking what was fetched…";
    default:
      if (done >= total) return "Ready";
      return `${backend === "cpu" ? "Preparing for this processor" : "Compiling for this graphics processor"}: part ${done + 1} of ${total}`;
  }
}

/** What computed. */
export function device({ backend, device: { name, interface: by, software } }) {
  if (backend === "cpu") return "This device's processor, by WebAssembly";
  return `${name || "GPU"}${software ? ", in software" : ""} (${by})`;
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
  if (unknown) sentences.push(`The model has never seen ${[...unknown].slice(0, 20).join(" ")} and drew without.`);
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
