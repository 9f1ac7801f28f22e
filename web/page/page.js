// The page. It is in one state at a time, written on <body data-state>:
//
//   start ─► probing ─► offer ─► loading ─► ready ⇄ generating
//               │         ▲         │         │
//               │         └─────────┴─────────┘ (paused, cancelled, failed, device lost)
//               └► unsupported
import { cache, load, probe } from "../packages/onestep/src/public/index.js";
import { dataUrl, imageItem } from "./images.js";
import { readLink, writeLink } from "./link.js";
import { generateNineSeeds } from "./nine-seeds.js";
import { readMetadata } from "./png-metadata.js";
import {
  LABELS,
  altText,
  caption,
  errorSentence,
  megabytes,
  modelSentence,
  omittedSentence,
  progressSentence,
} from "./sentences.js";
import { TimingsPanel } from "./timings.js";
import { Walk } from "./walk.js";

/** @import { BackendChoice, GeneratedImage, Model, Noise } from "../packages/onestep/src/public/index.js" */
/** @import { Probe, Progress } from "../packages/onestep/src/public/index.js" */

/**
 * What the fields are set to; `seed`, `to` and `t` as in a link.
 * @typedef {{ prompt: string, seed?: string | bigint, to?: string, t?: number, model?: string }} FieldValues
 */

/**
 * An example of `gallery.json`.
 * @typedef {object} Example
 * @property {string} prompt
 * @property {string | number} seed
 * @property {[number, number]} size
 * @property {{ png: string }} student
 * @property {{ png: string, evaluations: number, milliseconds: number }} teacher
 */

const ASSETS = new URL("./", document.baseURI);
/** Images are enlarged by a whole factor to about this many pixels a side. */
const SHOWN_PIXELS = 512;
/** `?backend=webgpu` or `?backend=cpu` sets the backend, for tests and comparisons. */
const BACKEND = /** @type {BackendChoice} */ (new URLSearchParams(location.search).get("backend") ?? "auto");
/** The reason with which a load is aborted that will be resumed. */
const PAUSED = "paused";
/** So many images of the visit are listed. */
const VISIT_IMAGES = 60;
const SEEDS = 1n << 64n;
const RANDOM_SEEDS = 1_000_000;

/** @type {(id: string) => any} */
const $ = (id) => document.getElementById(id);

/** The bundle: its address, or its files. @type {URL | { files: File[] }} */
let bundle = new URL("bundle/", document.baseURI);
/** @type {Probe | undefined} */
let probed;
/** @type {Model | undefined} */
let model;
/** The image on the canvas. @type {GeneratedImage | undefined} */
let shownImage;
/** Aborts the load or the task that is running. @type {AbortController | undefined} */
let running;
/** The last task: the next one starts after it. @type {Promise<unknown>} */
let lastTask = Promise.resolve();
/** The examples that came with the model. @type {Example[]} */
let examples = [];
/** What a link or a file asks for, until it is generated. @type {Partial<FieldValues> | undefined} */
let requested = readLink();

/** @param {"probing" | "offer" | "loading" | "unsupported" | "ready" | "generating"} state */
function enterState(state) {
  document.body.dataset.state = state;
  const isLoaded = state === "ready" || state === "generating";
  $("controls").disabled = !isLoaded;
  $("download").hidden = state !== "offer";
  $("progress").hidden = state !== "loading";
  $("model").hidden = isLoaded;
  $("walk").hidden = !isLoaded;
  $("frame").setAttribute("aria-busy", String(state === "generating"));
  $("generate").textContent = state === "generating" ? LABELS.cancel : LABELS.generate;
  if (state !== "loading") document.title = "onestep";
}

const isInState = (/** @type {string[]} */ ...states) => states.includes(document.body.dataset.state ?? "");

/** Says something to people who listen instead of looking. @param {string} text */
const announce = (text) => ($("status").textContent = text);

// The model: what it costs, loading it, and what may go wrong.

async function probeModel({ paused = false } = {}) {
  enterState("probing");
  try {
    probed = await probe(bundle, { backend: BACKEND });
  } catch (error) {
    return showLoadError(error);
  }
  if (probed.backend === null) return showUnsupported(probed.reasons.join(" "));
  $("model-about").textContent = modelSentence(probed);
  listNotes(probed);
  const action = paused ? LABELS.resume : LABELS.download;
  const { downloadBytes } = probed;
  $("download").textContent = downloadBytes > 0 ? `${action} ${megabytes(downloadBytes)}` : LABELS.open;
  enterState("offer");
  if (paused) return $("download").focus();
  // A model that is on this device is loaded without asking.
  if (downloadBytes === 0) await loadModel();
}

/** Lists why the GPU does not compute, and whether a link is for another model. @param {Probe} probe */
function listNotes({ reasons, model: { id } }) {
  const sentences = [...reasons];
  if (requested?.model && !id.startsWith(requested.model)) {
    sentences.push("The link was made with another model; the image will be another.");
  }
  const items = sentences.map((textContent) => Object.assign(document.createElement("li"), { textContent }));
  $("model-notes").replaceChildren(...items);
  $("model-notes").hidden = items.length === 0;
}

/** @param {string} reason */
function showUnsupported(reason) {
  $("model-about").textContent = "The model cannot run here.";
  $("model-error").textContent = reason;
  enterState("unsupported");
}

/**
 * Says why the model could not be loaded, and offers to try again where that makes sense.
 * @param {any} error
 */
function showLoadError(error) {
  if (error?.kind === "unsupported") return showUnsupported(errorSentence(error));
  $("model-error").textContent = errorSentence(error);
  $("download").textContent = LABELS.retry;
  enterState("offer");
}

async function loadModel() {
  $("model-error").textContent = "";
  if (!probed) return probeModel();
  enterState("loading");
  const controller = new AbortController();
  running = controller;
  const { signal } = controller;
  let loaded;
  try {
    loaded = await load(bundle, { backend: BACKEND, assets: ASSETS, signal, onProgress: showProgress });
  } catch (error) {
    if (!signal.aborted) return showLoadError(error);
    return showAbortedLoad(signal.reason === PAUSED, probed);
  }
  model = loaded;
  loaded.lost.then((error) => model === loaded && handleLostModel(error));
  replaceCanvas(loaded);
  $("card").hidden = false;
  $("card-text").textContent = loaded.card;
  listCachedModels();
  enterState("ready");
  announce("The model is ready.");
  // The focus moves only if it was on what is hidden now.
  const active = document.activeElement;
  if (active === document.body || $("model").contains(active)) $("prompt").focus();
  if (requested) setFields(/** @type {FieldValues} */ (requested));
  await generate();
}

/** @param {boolean} paused @param {Probe} before what was probed before the load */
async function showAbortedLoad(paused, { cachedBytes, model: { id } }) {
  // A cancelled download leaves nothing behind, unless some of the model was there before.
  if (!paused && cachedBytes === 0) await cache.remove(id);
  await probeModel({ paused });
  if (!paused) return announce("Cancelled.");
  announce(`Paused.${probed && probed.cachedBytes > 0 ? " What has come is stored." : ""}`);
}

/** A canvas belongs to one model for good, so each model gets a new one. @param {Model} loaded */
function replaceCanvas(loaded) {
  const [width, height] = loaded.model.sizes[0];
  const scale = Math.max(1, Math.floor(SHOWN_PIXELS / Math.max(width, height)));
  const canvas = $("image").cloneNode();
  Object.assign(canvas, { width: width * scale, height: height * scale });
  canvas.style.aspectRatio = `${width} / ${height}`;
  $("image").replaceWith(canvas);
}

/** The progress that was announced last. @type {string | undefined} */
let announced;

/**
 * Moves the bar with every report; announces every phase and every quarter of the download.
 * @param {Progress} progress
 */
function showProgress(progress) {
  const { phase, done, total } = progress;
  const fraction = total > 0 ? done / total : 1;
  // The download is most of the time; the bar never goes back.
  const starts = { download: 0, verify: 0.8, compile: 0.85 };
  const lengths = { download: 0.8, verify: 0, compile: 0.15 };
  const value = starts[phase] + lengths[phase] * fraction;
  const sentence = progressSentence(progress, probed?.backend ?? null);
  $("progress-bar").value = value;
  $("progress-text").textContent = sentence;
  document.title = `${Math.floor(value * 100)} % · onestep`;
  const quarter = Math.floor(fraction * 4);
  const mark = phase === "download" ? `${phase} ${quarter}` : phase;
  if (mark === announced) return;
  announced = mark;
  announce(phase === "download" ? `Fetching the model: ${quarter * 25} percent.` : sentence);
}

/** @param {unknown} error */
function handleLostModel(error) {
  model = undefined;
  running?.abort();
  $("model-about").textContent = "The model has to be loaded again.";
  showLoadError(error);
}

/** Changes to another model. @param {URL | { files: File[] }} newBundle */
async function changeModel(newBundle) {
  await model?.dispose();
  [model, probed, shownImage, examples] = [undefined, undefined, undefined, []];
  bundle = newBundle;
  $("model-error").textContent = "";
  for (const id of ["comparison", "gallery", "grid", "card"]) $(id).hidden = true;
  for (const id of ["save", "link"]) $(id).disabled = true;
  $("model").scrollIntoView({ block: "nearest" });
  await probeModel();
  if (newBundle instanceof URL) await readExamples(newBundle);
}

async function listCachedModels() {
  const models = await cache.list();
  const bytes = models.reduce((sum, entry) => sum + entry.bytes, 0);
  const titles = models.map(({ title }) => title).join(", ");
  $("models-cached").textContent =
    bytes > 0 ? `${titles}: ${megabytes(bytes)} on this device.` : "No model is stored on this device.";
  $("models-clear").disabled = bytes === 0;
}

// The fields.

/** Sets the fields to what a link, a file or an example says. @param {FieldValues} values */
function setFields({ prompt, seed, to, t = 0 }) {
  $("prompt").value = prompt;
  if (seed !== undefined) $("seed").value = String(seed);
  if (to !== undefined) $("walk-to").value = String(to);
  $("walk-at").value = to === undefined ? "0" : String(Math.round(t * 100));
  requested = to === undefined ? undefined : { to, t };
}

/** Sets the fields, and generates that image once there is a model. @param {FieldValues} values */
function requestImage(values) {
  setFields(values);
  requested = values;
}

/** The seed in a field; null, and a sentence below it, if it has none. An empty field is 0. */
function seedOf(/** @type {HTMLInputElement} */ field, /** @type {HTMLElement} */ error) {
  const digits = field.value.trim() || "0";
  const seed = /^\d+$/.test(digits) ? BigInt(digits) : -1n;
  const isSeed = seed >= 0n && seed < SEEDS;
  error.textContent = isSeed ? "" : "The seed must be a whole number from 0 to 18446744073709551615.";
  return isSeed ? seed : null;
}

const firstSeed = () => seedOf($("seed"), $("seed-error"));
const secondSeed = () => seedOf($("walk-to"), $("walk-error"));

function chooseRandomSeed() {
  // Small enough to read out and type again.
  $("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0] % RANDOM_SEEDS);
}

// Images.

/** Starts a task after those before it. @param {() => unknown} task */
function enqueue(task) {
  lastTask = lastTask.then(task);
  return lastTask;
}

/**
 * Runs a task that takes the model's time and can be cancelled. Says below the prompt what went wrong.
 * @param {(signal: AbortSignal) => Promise<void>} task
 */
async function runTask(task) {
  enterState("generating");
  running = new AbortController();
  const { signal } = running;
  try {
    await task(signal);
  } catch (error) {
    if (!model) return;
    if (!signal.aborted) $("prompt-error").textContent = errorSentence(error);
    announce(signal.aborted ? "Cancelled." : "");
  }
  if (model) enterState("ready");
}

/** Generates the image of the fields, and cancels the one that is being generated. */
function generate({ isNewPrompt = false } = {}) {
  if (isInState("generating")) running?.abort();
  return enqueue(() => generateNow(isNewPrompt));
}

/** @param {boolean} isNewPrompt */
async function generateNow(isNewPrompt) {
  const current = model;
  if (!current || !isInState("ready")) return;
  for (const id of ["prompt-error", "prompt-hint", "seed-error", "walk-error"]) $(id).textContent = "";
  if (isNewPrompt && !$("lock").checked) chooseRandomSeed();
  const seed = firstSeed();
  if (seed === null) return;
  // A link may be to the middle of a walk.
  const { to, t = 0 } = requested ?? {};
  /** @type {Noise} */
  const noise = to === undefined ? { seed } : { from: seed, to: BigInt(to), t };
  requested = undefined;
  await runTask(async (signal) => {
    const options = { noise, canvas: $("image"), signal, stages: $("timings").open };
    const image = await current.generate($("prompt").value, options);
    showImage(current, image);
    addToVisit(current, image);
    announce(`${altText(image)} is ready.`);
  });
}

/** Generates the images of nine seeds, from that of the field on. */
async function generateNine() {
  const current = model;
  const [prompt, first] = [$("prompt").value, firstSeed()];
  if (!current || first === null || !isInState("ready")) return;
  $("prompt-error").textContent = "";
  await runTask(async (signal) => {
    const options = { prompt, first, signal };
    await generateNineSeeds($("grid"), current, options, (seed) => generateFrom({ prompt, seed }));
    announce(`Nine images for: ${prompt}.`);
  });
}

/**
 * Generates while a user types or moves along a walk: a newer image supersedes an older one.
 * @param {Noise} noise
 */
async function generateLive(noise) {
  const current = model;
  if (!current || !isInState("ready", "generating")) return undefined;
  try {
    const image = await current.live($("prompt").value, { noise, canvas: $("image") });
    if (image) showImage(current, image);
    $("prompt-error").textContent = "";
    return image;
  } catch (error) {
    // The model may not know the first letters of a word.
    const kind = /** @type {{ kind?: unknown }} */ (error).kind;
    if (model && kind !== "invalid-option") $("prompt-error").textContent = errorSentence(error);
    return undefined;
  }
}

/** Generates the image of an example or an older image. @param {FieldValues} values */
function generateFrom(values) {
  setFields(values);
  $("frame").scrollIntoView({ block: "nearest" });
  generate();
}

/**
 * Describes the image on the canvas in everything around it.
 * @param {Model} by
 * @param {GeneratedImage} image
 */
function showImage(by, image) {
  shownImage = image;
  $("image").setAttribute("aria-label", altText(image));
  $("caption").textContent = caption(image);
  $("prompt-hint").textContent = [omittedSentence(image.reading), ...by.notices].join(" ").trim();
  timingsPanel.show(by, image);
  for (const id of ["save", "link"]) $(id).disabled = false;
  showComparison(image);
}

/** Lists an image of this visit, the newest first. @param {Model} by @param {GeneratedImage} image */
function addToVisit(by, image) {
  const { prompt, seed } = image;
  if (seed === undefined) return;
  const listed = { url: dataUrl(image.pixels()), text: altText(image), size: by.model.sizes[0] };
  $("visit").hidden = false;
  $("visit-images").prepend(imageItem(listed, () => generateFrom({ prompt, seed })));
  while ($("visit-images").children.length > VISIT_IMAGES) $("visit-images").lastChild.remove();
}

/** Lists the examples that came with the model, if there are any. @param {URL} address of the bundle */
async function readExamples(address) {
  try {
    const response = await fetch(new URL("gallery.json", address));
    examples = response.ok ? (await response.json()).images : [];
  } catch {
    examples = [];
  }
  const items = examples.map(({ prompt, seed, size, student }) => {
    const values = { prompt, seed: String(seed) };
    return imageItem({ url: student.png, text: `${prompt}, seed ${seed}`, caption: prompt, size }, () => {
      if (model) return generateFrom(values);
      // The model is downloaded only when the user presses the button.
      requestImage(values);
      $("download").focus();
    });
  });
  $("gallery").hidden = items.length === 0;
  $("gallery-images").replaceChildren(...items);
}

/**
 * Shows the teacher's image of the same prompt and noise, if it is among the examples.
 * @param {GeneratedImage} image
 */
function showComparison(image) {
  const example = examples.find(
    ({ prompt, seed }) => prompt === image.prompt && String(image.seed) === String(seed),
  );
  $("comparison").hidden = !example;
  if (!example) return;
  const { prompt, seed, size, teacher } = example;
  $("comparison-images").replaceChildren(
    imageItem({
      url: dataUrl(image.pixels()),
      text: `The student’s image for: ${prompt}, seed ${seed}`,
      caption: `Student, 1 evaluation, ${Math.round(image.timings.total)} ms`,
      size,
    }),
    imageItem({
      url: teacher.png,
      text: `The teacher’s image for: ${prompt}, seed ${seed}`,
      caption: `Teacher, ${teacher.evaluations} evaluations, ${Math.round(teacher.milliseconds)} ms`,
      size,
    }),
  );
}

// Files and links.

async function saveImage() {
  if (!shownImage) return;
  const { noise, seed } = shownImage;
  try {
    const href = URL.createObjectURL(await shownImage.png());
    const name = "from" in noise ? `${noise.from}-${noise.to}` : seed;
    Object.assign(document.createElement("a"), { href, download: `onestep-${name}.png` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
  } catch (error) {
    $("prompt-error").textContent = errorSentence(error);
  }
}

async function copyLink() {
  if (!shownImage) return;
  const { prompt, seed, noise } = shownImage;
  const origin =
    "from" in noise ? { seed: String(noise.from), to: String(noise.to), t: noise.t } : { seed: String(seed) };
  const address = writeLink({ prompt, model: model?.model.id, ...origin });
  if (!address) return announce("This prompt is too long for a link.");
  history.replaceState(null, "", address);
  let sentence = "The link is in the address bar; whoever opens it gets this image.";
  try {
    await navigator.clipboard.writeText(address);
    sentence = "The link is copied; whoever opens it gets this image.";
  } catch {
    // The address bar has it.
  }
  $("caption").textContent = sentence;
  announce(sentence);
}

/** Opens the folder of a model, or an image that was saved here. @param {File[]} files */
async function openFiles(files) {
  const say = (/** @type {string} */ sentence) => ($("prompt-error").textContent = announce(sentence));
  if (files.some(({ name }) => name === "manifest.json")) return changeModel({ files });
  const metadata = files.length > 0 ? await readMetadata(files[0]) : undefined;
  if (!metadata) return say("That is neither the folder of a model nor an image that was saved here.");
  const { prompt, noise, bundle: id } = metadata;
  const seed = metadata.seed ?? noise?.from;
  if (seed === undefined) return say("The noise of that image is not in its file.");
  requestImage({ prompt, seed, to: noise?.to, t: noise?.t });
  if (model) await generate();
  if (probed && id !== probed.model.id) say("That image was made by another model, so this one is another.");
}

/**
 * The files of a drop, or those of the first folder in it.
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
async function droppedFiles({ items, files }) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.());
  const folder = /** @type {FileSystemDirectoryEntry | undefined} */ (
    entries.find((entry) => entry?.isDirectory)
  );
  if (!folder) return [...files];
  const reader = folder.createReader();
  /** @type {File[]} */
  const found = [];
  /** @returns {Promise<FileSystemEntry[]>} */
  const readBatch = () => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
  for (let batch = await readBatch(); batch.length > 0; batch = await readBatch()) {
    for (const entry of batch.filter(({ isFile }) => isFile)) {
      const fileEntry = /** @type {FileSystemFileEntry} */ (entry);
      found.push(await new Promise((resolve, reject) => fileEntry.file(resolve, reject)));
    }
  }
  return found;
}

// What the user does.

const timingsPanel = new TimingsPanel($, { runTask, announce });
const walk = new Walk($, { generate: generateLive, firstSeed, secondSeed });

$("download").addEventListener("click", loadModel);
$("cancel-load").addEventListener("click", () => running?.abort());
$("pause-load").addEventListener("click", () => running?.abort(PAUSED));
$("measure").addEventListener("click", () =>
  enqueue(() => {
    if (model && shownImage && isInState("ready")) return timingsPanel.measureKernels(model, shownImage);
  }),
);
$("save").addEventListener("click", saveImage);
$("link").addEventListener("click", copyLink);
$("nine-seeds").addEventListener("click", () => enqueue(generateNine));
$("random-seed").addEventListener("click", () => {
  chooseRandomSeed();
  generate();
});
$("prompt-form").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  if (isInState("generating")) running?.abort();
  else generate({ isNewPrompt: true });
});
for (const id of ["prompt", "seed"]) {
  $(id).addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const isModified = event.shiftKey || event.ctrlKey || event.metaKey || event.isComposing;
    if (event.key !== "Enter" || isModified) return;
    event.preventDefault();
    generate({ isNewPrompt: id === "prompt" });
  });
}
$("prompt").addEventListener("input", () => {
  const seed = $("live").checked ? firstSeed() : null;
  if (seed !== null && $("prompt").value.trim()) generateLive({ seed });
});
document.addEventListener("keydown", (event) => {
  const isCommand = event.ctrlKey || event.metaKey;
  if (event.key === "Escape") {
    walk.stop();
    if (isInState("generating")) running?.abort();
  }
  if (event.key === "Enter" && isCommand) generate({ isNewPrompt: true });
  if (event.key === "s" && isCommand && shownImage) {
    event.preventDefault();
    saveImage();
  }
});

$("models-form").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  let address;
  try {
    address = new URL($("models-address").value, document.baseURI);
  } catch {
    address = undefined;
  }
  if (address?.origin !== location.origin) {
    $("models-cached").textContent =
      "That is no address on this site. Get the model's folder onto this device and open it.";
    return;
  }
  if (!address.pathname.endsWith("/") && !address.pathname.endsWith(".json")) address.pathname += "/";
  changeModel(address);
});
$("models-files").addEventListener("change", () => {
  const { files } = $("models-files");
  if (files.length > 0) openFiles([...files]);
});
$("models-clear").addEventListener("click", async () => {
  await cache.clear();
  await listCachedModels();
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  if (event.dataTransfer) await openFiles(await droppedFiles(event.dataTransfer));
});
window.addEventListener("hashchange", () => {
  const values = readLink();
  if (!values) return;
  if (!model) return requestImage(values);
  setFields(values);
  generate();
});

if (requested) requestImage(/** @type {FieldValues} */ (requested));
readExamples(/** @type {URL} */ (bundle));
listCachedModels();
probeModel();

// From the next visit on the page opens without a network.
if ("serviceWorker" in navigator && window.isSecureContext) {
  const { serviceWorker } = navigator;
  serviceWorker.register(new URL("service-worker.js", document.baseURI)).then(
    async () => {
      const { active } = await serviceWorker.ready;
      const fetched = performance.getEntriesByType("resource").map(({ name }) => name);
      active?.postMessage([location.href.split("#")[0], ...fetched]);
    },
    () => {},
  );
}
