// The page's side of ort-worker.js.
let worker;
let next = 0;
const calls = new Map();

function call(name, rest) {
  const id = next++;
  worker.postMessage({ id, call: name, ...rest });
  return new Promise((resolve, reject) => calls.set(id, { resolve, reject }));
}

export async function open({ settings, folder }) {
  worker = new Worker(new URL("./ort-worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data: { id, result, error } }) =>
    error === undefined ? calls.get(id).resolve(result) : calls.get(id).reject(new Error(error));
  worker.onerror = (event) => {
    for (const { reject } of calls.values())
      reject(new Error(event.message || "the worker of onnxruntime-web stopped"));
  };
  return call("open", { settings, folder });
}
export const agreement = (component) => call("agreement", { component });
export const run = (component) => call("run", { component });
