// The page: one state at a time, written on <body data-state>, and what may be done in it.
//
//   start ─► probing ─► offer ─► getting ─► ready ⇄ working
//               │         ▲         │         │
//               └► cannot └─────────┴─────────┘ (paused, cancelled, failed, lost)
import { cache, load, probe } from "../packages/onestep/src/public/index.js";
import * as link from "./link.js";
import { item, source } from "./images.js";
import { facts } from "./png-facts.js";
import { caption, failure, loading, megabytes, offer, omitted, wanted } from "./sentences.js";
import { drawSeveral } from "./several.js";
import { Panel } from "./timings.js";
import { Walk } from "./walk.js";

const ASSETS = new URL("./", document.baseURI);
/** Images are shown at about this many pixels a side, each of theirs as a square of whole ones. */
const SHOWN = 512;
/** `?backend=webgpu` or `?backend=cpu` decides what computes, for tests and for those who compare. */
const BACKEND = new URLSearchParams(location.search).get("backend") ?? "auto";
/** Why a download ends that is to go on later. */
const PAUSED = "paused";
/** Of the visit's images, so many are kept. */
const KEPT = 60;

const $ = (id) => document.getElementById(id);

/** The model's address, or its files. */
let bundle = new URL("bundle/", document.baseURI);
let offered;
let model;
let image;
let running;
/** The image that is being drawn, and those that are to come. */
let drawing = Promise.resolve();
/** The examples that came with the model. */
let examples = [];
/** What a link or an image asks for, until it is drawn. */
let asked = link.read();

function enter(state) {
  document.body.dataset.state = state;
  const usable = state === "ready" || state === "working";
  $("controls").disabled = !usable;
  $("download").hidden = state !== "offer";
  $("progress").hidden = state !== "getting";
  $("model").hidden = usable;
  $("walk").hidden = !usable;
  $("frame").setAttribute("aria-busy", String(state === "working"));
  $("generate").textContent = state === "working" ? "Cancel" : "Draw";
  if (state !== "getting") document.title = "onestep";
}

/** For those who listen instead of looking. */
const announce = (text) => ($("status").textContent = text);

async function look({ paused = false } = {}) {
  enter("probing");
  try {
    offered = await probe(bundle, { backend: BACKEND });
  } catch (error) {
    return refuse(error);
  }
  if (offered.backend === null) return cannot(offered.reasons.join(" "));
  $("model-about").textContent = offer(offered);
  notes(offered.reasons);
  const act = paused ? "Go on with" : "Download";
  $("download").textContent =
    offered.downloadBytes > 0 ? `${act} ${megabytes(offered.downloadBytes)}` : "Open";
  enter("offer");
  if (paused) return $("download").focus();
  // All of it is on this device: nobody has to be asked.
  if (offered.downloadBytes === 0) await get();
}

/** What else there is to say of the model. */
function notes(sentences) {
  const asks =
    asked && offered && asked.model && !offered.model.id.startsWith(asked.model)
      ? ["The link was made with another model; the image will be another."]
      : [];
  $("model-notes").replaceChildren(
    ...[...sentences, ...asks].map((sentence) =>
      Object.assign(document.createElement("li"), { textContent: sentence }),
    ),
  );
  $("model-notes").hidden = $("model-notes").children.length === 0;
}

function cannot(reason) {
  $("model-about").textContent = "The model cannot run here.";
  $("model-error").textContent = reason;
  enter("cannot");
}

/** Says what went wrong with the model and offers to try again, where that makes sense. */
function refuse(error) {
  if (error?.kind === "unsupported") return cannot(failure(error));
  $("model-error").textContent = failure(error);
  $("download").textContent = "Try again";
  enter("offer");
}

async function get() {
  if (!offered) {
    $("model-error").textContent = "";
    return look();
  }
  enter("getting");
  $("model-error").textContent = "";
  running = new AbortController();
  try {
    model = await load(bundle, {
      backend: BACKEND,
      assets: ASSETS,
      signal: running.signal,
      onProgress: show,
    });
  } catch (error) {
    if (!running.signal.aborted) return refuse(error);
    const paused = running.signal.reason === PAUSED;
    // Who cancels wants nothing of it, but for what was here before.
    if (!paused && offered.cachedBytes === 0) await cache.remove(offered.model.id);
    await look({ paused });
    return announce(
      paused ? `Paused.${offered?.cachedBytes > 0 ? " What has come is kept." : ""}` : "Cancelled.",
    );
  }
  const own = model;
  model.lost.then((error) => own === model && lose(error));
  // The canvas belongs to one model for good, so a model that was loaded again gets a new one.
  const [width, height] = model.model.sizes[0];
  const scale = Math.max(1, Math.floor(SHOWN / Math.max(width, height)));
  const canvas = $("image").cloneNode();
  Object.assign(canvas, { width: width * scale, height: height * scale });
  canvas.style.aspectRatio = `${width} / ${height}`;
  $("image").replaceWith(canvas);
  $("card").hidden = false;
  $("card-text").textContent = model.card;
  listKept();
  enter("ready");
  announce("The model is ready.");
  // Only who has not gone elsewhere meanwhile is taken along.
  const active = document.activeElement;
  if (active === document.body || $("model").contains(active)) $("prompt").focus();
  if (asked) restore(asked);
  await draw();
}

let heard;
/** The bar goes on all the time, the voice at every phase and every quarter. */
function show(progress) {
  const { phase, done, total } = progress;
  const part = total > 0 ? done / total : 1;
  // Fetching is most of the way; the bar never goes back.
  const value = phase === "download" ? 0.8 * part : phase === "verify" ? 0.8 : 0.85 + 0.15 * part;
  $("progress-bar").value = value;
  $("progress-text").textContent = loading(progress, offered.backend);
  document.title = `${Math.floor(value * 100)} % · onestep`;
  const mark = `${phase} ${phase === "download" ? Math.floor(part * 4) : ""}`;
  if (mark !== heard) {
    heard = mark;
    announce(
      phase === "download"
        ? `Fetching the model: ${Math.floor(part * 4) * 25} percent.`
        : loading(progress, offered.backend),
    );
  }
}

function lose(error) {
  model = undefined;
  running?.abort();
  $("model-about").textContent = "The model has to be loaded again.";
  refuse(error);
}

/** The fields as a link, an image or an example says. */
function restore({ prompt, seed, to, t }) {
  $("prompt").value = prompt;
  if (seed !== undefined) $("seed").value = String(seed);
  if (to !== undefined) $("walk-to").value = String(to);
  $("walk-at").value = to === undefined ? "0" : String(Math.round(t * 100));
  asked = to === undefined ? undefined : { to, t };
}

/** Keeps what is wanted until there is a model. */
function ask(from) {
  restore(from);
  asked = from;
}

/** The seed of a field, or null with a sentence beside it. Nothing is zero. */
function seedOf(field, error) {
  const digits = field.value.trim() || "0";
  const seed = /^\d+$/.test(digits) ? BigInt(digits) : -1n;
  const right = seed >= 0n && seed < 1n << 64n;
  error.textContent = right ? "" : "The seed must be a whole number from 0 to 18446744073709551615.";
  return right ? seed : null;
}

/** Draws what the fields say. What is being drawn is given up for it. */
function draw(options) {
  if (document.body.dataset.state === "working") running.abort();
  return (drawing = drawing.then(() => drawNow(options)));
}

async function drawNow({ fresh = false } = {}) {
  if (document.body.dataset.state !== "ready") return;
  for (const id of ["prompt-error", "prompt-hint", "seed-error", "walk-error"]) $(id).textContent = "";
  if (fresh && !$("lock").checked) roll();
  const seed = seedOf($("seed"), $("seed-error"));
  if (seed === null) return;
  // A link into the middle of a walk.
  const noise = asked?.to === undefined ? { seed } : { from: seed, to: BigInt(asked.to), t: asked.t };
  asked = undefined;
  await work(async (signal) => {
    const made = await model.generate($("prompt").value, {
      noise,
      canvas: $("image"),
      signal,
      stages: $("timings").open,
    });
    present(made);
    remember(made);
    announce(`${wanted(made)} is ready.`);
  });
}

/** Draws the images of nine seeds, from that of the field on. */
async function drawNine() {
  const [prompt, first] = [$("prompt").value, seedOf($("seed"), $("seed-error"))];
  if (first === null || document.body.dataset.state !== "ready") return;
  $("prompt-error").textContent = "";
  await work(async (signal) => {
    await drawSeveral($, model, prompt, first, signal, (seed) => begin({ prompt, seed }));
    announce(`Nine images for: ${prompt}.`);
  });
}

/** Does what takes the model's time and may be cancelled, and says beside the prompt what went wrong. */
async function work(task) {
  enter("working");
  running = new AbortController();
  const { signal } = running;
  try {
    await task(signal);
  } catch (error) {
    if (!model) return;
    if (!signal.aborted) $("prompt-error").textContent = failure(error);
    announce(signal.aborted ? "Cancelled." : "");
  }
  if (model) enter("ready");
}

/** Newest words win: what is overtaken is not shown. */
async function drawLive(noise) {
  if (!model || !["ready", "working"].includes(document.body.dataset.state)) return undefined;
  try {
    const made = await model.live($("prompt").value, { noise, canvas: $("image") });
    if (made) present(made);
    $("prompt-error").textContent = "";
    return made;
  } catch (error) {
    // Half a word may be none that the model knows.
    if (model && error.kind !== "invalid-option") $("prompt-error").textContent = failure(error);
    return undefined;
  }
}

/** Everything around the canvas says what is on it. */
function present(made) {
  image = made;
  $("image").setAttribute("aria-label", wanted(made));
  $("caption").textContent = caption(made);
  $("prompt-hint").textContent = [omitted(made.reading), ...model.notices].join(" ").trim();
  timings.present(model, made);
  for (const id of ["save", "link"]) $(id).disabled = false;
  compare();
}

/** The visit's images, the newest first; each brings back its words and its seed. */
function remember(made) {
  if (made.seed === undefined) return;
  const { prompt, seed } = made;
  const size = model.model.sizes[0];
  $("visit").hidden = false;
  $("visit-images").prepend(
    item({ source: source(made.pixels()), text: wanted(made), size }, () => begin({ prompt, seed })),
  );
  while ($("visit-images").children.length > KEPT) $("visit-images").lastChild.remove();
}

/** Draws what an example or an older image was drawn from. */
function begin(from) {
  restore(from);
  $("frame").scrollIntoView({ block: "nearest" });
  draw();
}

/** The examples that came with the model, or nothing: they are no part of it. */
async function readExamples() {
  try {
    const response = await fetch(new URL("gallery.json", bundle));
    examples = response.ok ? (await response.json()).images : [];
  } catch {
    examples = [];
  }
  $("gallery").hidden = examples.length === 0;
  $("gallery-images").replaceChildren(
    ...examples.map(({ prompt, seed, size, student }) =>
      item({ source: student.png, text: `${prompt}, seed ${seed}`, caption: prompt, size }, () => {
        if (model) return begin({ prompt, seed });
        // Nothing is fetched unasked; the button is the next thing to press.
        ask({ prompt, seed });
        $("download").focus();
      }),
    ),
  );
}

/** Beside the image that the teacher made from the same noise, where that came with the model. */
function compare() {
  const example = examples.find(
    ({ prompt, seed }) => prompt === image.prompt && String(image.seed) === String(seed),
  );
  $("comparison").hidden = !example;
  if (!example) return;
  const { prompt, seed, size, teacher } = example;
  const pixels = source(image.pixels());
  $("comparison-images").replaceChildren(
    item({
      source: pixels,
      text: `The student’s image for: ${prompt}, seed ${seed}`,
      caption: `Student, 1 evaluation, ${Math.round(image.timings.total)} ms`,
      size,
    }),
    item({
      source: teacher.png,
      text: `The teacher’s image for: ${prompt}, seed ${seed}`,
      caption: `Teacher, ${teacher.evaluations} evaluations, ${Math.round(teacher.milliseconds)} ms`,
      size,
    }),
  );
}

function roll() {
  // Small enough to read out and type again.
  $("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000);
}

async function save() {
  if (!image) return;
  try {
    const address = URL.createObjectURL(await image.png());
    const name = image.seed ?? `${image.noise.from}-${image.noise.to}`;
    Object.assign(document.createElement("a"), { href: address, download: `onestep-${name}.png` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    $("prompt-error").textContent = failure(error);
  }
}

async function copyLink() {
  const { prompt, seed, noise } = image;
  const walked =
    seed === undefined
      ? { seed: String(noise.from), to: String(noise.to), t: noise.t }
      : { seed: String(seed) };
  const address = link.write({ prompt, model: model?.model.id, ...walked });
  if (!address) return announce("This prompt is too long for a link.");
  history.replaceState(null, "", address);
  try {
    await navigator.clipboard.writeText(address);
    $("caption").textContent = "The link is copied; whoever opens it gets this image.";
  } catch {
    $("caption").textContent = "The link is in the address bar; whoever opens it gets this image.";
  }
  announce($("caption").textContent);
}

/** Goes over to another model, by its address or its files. */
async function change(to) {
  await model?.dispose();
  model = undefined;
  [bundle, offered, image, examples] = [to, undefined, undefined, []];
  $("model-error").textContent = "";
  for (const id of ["comparison", "gallery", "grid", "card"]) $(id).hidden = true;
  for (const id of ["save", "link"]) $(id).disabled = true;
  $("model").scrollIntoView({ block: "nearest" });
  await look();
  if (to instanceof URL) await readExamples();
}

/** A model's folder, or an image that was saved here. @param {File[]} files */
async function take(files) {
  const said = (sentence) => ($("prompt-error").textContent = announce(sentence));
  if (files.some(({ name }) => name === "manifest.json")) return change({ files });
  const found = files.length > 0 ? await facts(files[0]) : undefined;
  if (!found) return said("That is neither the folder of a model nor an image that was saved here.");
  const { prompt, seed, noise, bundle: made } = found;
  const from = { prompt, seed: seed ?? noise?.from, to: noise?.to, t: noise?.t };
  if (from.seed === undefined) return said("That image was drawn from numbers that do not stand in it.");
  ask(from);
  if (model) await draw();
  if (offered && made !== offered.model.id)
    said("That image was drawn by another model, so this one is another.");
}

/** Files of a drop, those in folders too. */
async function dropped({ items, files }) {
  const folders = [...items].map((item) => item.webkitGetAsEntry?.()).filter((entry) => entry?.isDirectory);
  if (folders.length === 0) return [...files];
  const reader = folders[0].createReader();
  const found = [];
  // A reader gives some at a time.
  for (
    let entries;
    (entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length > 0;
  ) {
    for (const entry of entries.filter(({ isFile }) => isFile))
      found.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
  }
  return found;
}

async function listKept() {
  const models = await cache.list();
  const bytes = models.reduce((sum, entry) => sum + entry.bytes, 0);
  $("models-kept").textContent =
    bytes > 0
      ? `${models.map(({ title }) => title).join(", ")}: ${megabytes(bytes)} on this device.`
      : "Nothing is kept on this device.";
  $("models-clear").disabled = bytes === 0;
}

const timings = new Panel($, { work, announce });
const walk = new Walk($, {
  draw: drawLive,
  seed: () => seedOf($("seed"), $("seed-error")),
  other: () => seedOf($("walk-to"), $("walk-error")),
});

$("download").addEventListener("click", get);
$("cancel-load").addEventListener("click", () => running?.abort());
$("pause-load").addEventListener("click", () => running?.abort(PAUSED));
$("measure").addEventListener(
  "click",
  () =>
    (drawing = drawing.then(() => document.body.dataset.state === "ready" && timings.measure(model, image))),
);
$("save").addEventListener("click", save);
$("link").addEventListener("click", copyLink);
$("several").addEventListener("click", () => (drawing = drawing.then(drawNine)));
$("dice").addEventListener("click", () => {
  roll();
  draw();
});
$("prompt-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (document.body.dataset.state === "working") running?.abort();
  else draw({ fresh: true });
});
for (const id of ["prompt", "seed"]) {
  $(id).addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey || event.isComposing)
      return;
    event.preventDefault();
    draw({ fresh: id === "prompt" });
  });
}
$("prompt").addEventListener("input", () => {
  const seed = $("live").checked ? seedOf($("seed"), $("seed-error")) : null;
  if (seed !== null && $("prompt").value.trim()) drawLive({ seed });
});
document.addEventListener("keydown", (event) => {
  const command = event.ctrlKey || event.metaKey;
  if (event.key === "Escape") {
    walk.stop();
    if (document.body.dataset.state === "working") running?.abort();
  }
  if (event.key === "Enter" && command) draw({ fresh: true });
  if (event.key === "s" && command && image) {
    event.preventDefault();
    save();
  }
});

$("models-form").addEventListener("submit", (event) => {
  event.preventDefault();
  let address;
  try {
    address = new URL($("models-address").value, document.baseURI);
  } catch {
    address = undefined;
  }
  if (address?.origin !== location.origin) {
    $("models-kept").textContent =
      "That is no address on this site. Get the model's folder onto this device and open it.";
    return;
  }
  if (!address.pathname.endsWith("/") && !address.pathname.endsWith(".json")) address.pathname += "/";
  change(address);
});
$("models-files").addEventListener(
  "change",
  ({ target }) => target.files.length > 0 && take([...target.files]),
);
$("models-clear").addEventListener("click", async () => {
  await cache.clear();
  await listKept();
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  await take(await dropped(event.dataTransfer));
});
window.addEventListener("hashchange", () => {
  const from = link.read();
  if (!from) return;
  if (!model) return ask(from);
  restore(from);
  draw();
});

if (asked) ask(asked);
readExamples();
listKept();
look();

// From the next visit on the page needs no network.
if ("serviceWorker" in navigator && window.isSecureContext) {
  navigator.serviceWorker.register(new URL("service-worker.js", document.baseURI)).then(
    () =>
      navigator.serviceWorker.ready.then(({ active }) =>
        active.postMessage([
          location.href.split("#")[0],
          ...performance.getEntriesByType("resource").map(({ name }) => name),
        ]),
      ),
    () => {},
  );
}
