// The page without a network: its own files as they were last fetched. With a network every file is asked for again, so that the page is never an old
// one. Models are not kept here; the package keeps them.
const KEPT = "onestep-page";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

/** The page's document, its programs, its looks, and its examples. */
const PARTS = /(\/|\.html|\.js|\.css|\.svg|\.wasm|\/gallery\.json)$/;
const isPart = (address) => {
  const { origin, pathname } = new URL(address);
  return origin === self.location.origin && PARTS.test(pathname);
};

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && isPart(request.url)) event.respondWith(answer(request));
});

async function answer(request) {
  try {
    const response = await fetch(request);
    if (response.ok) await keep(request, response.clone());
    return response;
  } catch (error) {
    const kept = await caches.match(request, { cacheName: KEPT, ignoreSearch: request.mode === "navigate" });
    if (kept) return kept;
    throw error;
  }
}

async function keep(request, response) {
  try {
    await (await caches.open(KEPT)).put(request, response);
  } catch {
    // No room: the page needs its network then.
  }
}

// What the page had fetched before this was here: from the browser's own cache where that has it, as it was fetched a moment ago.
self.addEventListener("message", ({ data }) => {
  for (const address of data.filter(isPart)) {
    fetch(address, { cache: "force-cache" }).then(
      (response) => response.ok && keep(address, response),
      () => {},
    );
  }
});
