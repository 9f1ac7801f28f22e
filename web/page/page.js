// The page: one state at a time, written on <body data-state>, and what may be done in it.
//
//   start ─► probing ─► offer ─► getting ─► ready ⇄ working
//               │         ▲         │         │
//               └► cannot └─────────┴─────────┘ (cancelled, failed, lost)
import { load, probe } from "../packages/onestep/src/public/index.js";
import { TIMINGS, device, failure, loading, megabytes, offer, omitted } from "./sentences.js";

const BUNDLE = new URL("bundle/", document.baseURI);
const ASSETS = new URL("./", document.baseURI);
/** Pictures are shown at about this many pixels a side, each of theirs as a square of whole ones. */
const SHOWN = 512;
/** `?backend=webgpu` or `?backend=cpu` decides what computes, for tests and for those who compare. */
const BACKEND = new URLSearchParams(location.search).get("backend") ?? "auto";

const $ = (id) => document.getElementById(id);

let offered;
let model;
let picture;
let running;

function enter(state) {
  document.body.dataset.state = state;
  const usable = state === "ready" || state === "working";
  $("controls").disabled = !usable;
  $("download").hidden = state !== "offer";
  $("progress").hidden = state !== "getting";
  $("model").hidden = usable;
  $("frame").setAttribute("aria-busy", String(state === "working"));
  $("generate").textContent = state === "working" ? "Cancel" : "Draw";
  if (state !== "getting") document.title = "onestep";
}

/** For those who listen instead of looking. */
const announce = (text) => ($("status").textContent = text);

async function look() {
  enter("probing");
  try {
    offered = await probe(BUNDLE, { backend: BACKEND });
  } catch (error) {
    return refuse(error);
  }
  if (offered.backend === null) return cannot(offered.reasons.join(" "));
  $("model-about").textContent = offer(offered);
  $("model-notes").replaceChildren(...offered.reasons.map((reason) => Object.assign(document.createElement("li"), { textContent: reason })));
  $("model-notes").hidden = offered.reasons.length === 0;
  $("download").textContent = `Download ${megabytes(offered.downloadBytes)}`;
  enter("offer");
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
    model = await load(BUNDLE, { backend: BACKEND, assets: ASSETS, signal: running.signal, onProgress: show });
  } catch (error) {
    if (running.signal.aborted) {
      announce("Cancelled.");
      return enter("offer");
    }
    return refuse(error);
  }
  model.lost.then(lose);
  // The canvas belongs to one model for good, so a model that was loaded again gets a new one.
  const [width, height] = model.model.sizes[0];
  const scale = Math.max(1, Math.floor(SHOWN / Math.max(width, height)));
  const canvas = $("picture").cloneNode();
  Object.assign(canvas, { width: width * scale, height: height * scale });
  canvas.style.aspectRatio = `${width} / ${height}`;
  $("picture").replaceWith(canvas);
  enter("ready");
  announce("The model is ready.");
  const active = document.activeElement;
  if (active === document.body || active === $("download") || active === $("cancel-load")) $("prompt").focus();
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
    announce(phase === "download" ? `Fetching the model: ${Math.floor(part * 4) * 25} percent.` : loading(progress, offered.backend));
  }
}

function lose(error) {
  model = undefined;
  running?.abort();
  $("model-about").textContent = "The model has to be loaded again.";
  refuse(error);
}

async function draw() {
  if (document.body.dataset.state !== "ready") return;
  for (const id of ["prompt-error", "prompt-hint", "seed-error"]) $(id).textContent = "";
  const seed = readSeed($("seed").value);
  if (seed === null) {
    $("seed-error").textContent = "The seed must be a whole number from 0 to 18446744073709551615.";
    return;
  }
  enter("working");
  running = new AbortController();
  try {
    picture = await model.generate($("prompt").value, { seed, canvas: $("picture"), signal: running.signal, stages: $("timings").open });
  } catch (error) {
    if (!model) return;
    if (!running.signal.aborted) $("prompt-error").textContent = failure(error);
    announce(running.signal.aborted ? "Cancelled." : "");
    return enter("ready");
  }
  const text = `Picture for: ${picture.prompt}, seed ${picture.seed}`;
  $("picture").setAttribute("aria-label", text);
  $("caption").textContent = `${picture.prompt} · seed ${picture.seed} · ${Math.round(picture.timings.total)} ms`;
  $("prompt-hint").textContent = omitted(picture.reading);
  $("timings-rows").replaceChildren(...TIMINGS.filter(([key]) => key in picture.timings).map(([key, name]) => row(name, picture.timings[key])));
  $("device").textContent = device(model);
  $("save").disabled = false;
  enter("ready");
  announce(`${text} is ready.`);
}

/** A seed, or null where that is none. Nothing is zero. */
function readSeed(text) {
  const digits = text.trim() || "0";
  const seed = /^\d+$/.test(digits) ? BigInt(digits) : -1n;
  return seed >= 0n && seed < 1n << 64n ? seed : null;
}

function row(name, milliseconds) {
  const row = document.createElement("tr");
  const head = Object.assign(document.createElement("th"), { scope: "row", textContent: name });
  row.append(head, Object.assign(document.createElement("td"), { textContent: `${milliseconds.toFixed(1)} ms` }));
  return row;
}

async function save() {
  try {
    const address = URL.createObjectURL(await picture.png());
    Object.assign(document.createElement("a"), { href: address, download: `onestep-${picture.seed}.png` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    $("prompt-error").textContent = failure(error);
  }
}

$("download").addEventListener("click", get);
$("cancel-load").addEventListener("click", () => running?.abort());
$("save").addEventListener("click", save);
$("dice").addEventListener("click", () => {
  // Small enough to read out and type again.
  $("seed").value = String(crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000);
  draw();
});
$("prompt-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (document.body.dataset.state === "working") running?.abort();
  else draw();
});
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    draw();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.dataset.state === "working") running?.abort();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) draw();
});

look();
