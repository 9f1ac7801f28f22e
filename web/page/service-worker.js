// Lets the page open without a network: with a network every file of the page is fetched again, so that the
// page is never an old one, and stored; without a network the stored file is used. Models are the package's
// matter.
const CACHE = "onestep-page";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

/** The page's document, scripts, styles, WebAssembly and examples. */
const FILES = /(\/|\.html|\.js|\.css|\.svg|\.wasm|\/gallery\.json)$/;
const isPageFile = (address) => {
  const { origin, pathname } = new URL(address);
  return origin === self.location.origin && FILES.test(pathname);
};

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && isPageFile(request.url)) event.respondWith(answer(request));
});

async function answer(request) {
  try {
    const response = await fetch(request);
    if (response.ok) await store(request, response.clone());
    return response;
  } catch (error) {
    const options = { cacheName: CACHE, ignoreSearch: request.mode === "navigate" };
    const stored = await caches.match(request, options);
    if (stored) return stored;
    throw error;
  }
}

async function store(request, response) {
  try {
    await (await caches.open(CACHE)).put(request, response);
  } catch {
    // There is no room: the page then needs a network.
  }
}

// The page sends the addresses that it fetched before this worker was there. The browser's own cache still
// has them.
self.addEventListener("message", ({ data }) => {
  for (const address of data.filter(isPageFile)) {
    fetch(address, { cache: "force-cache" }).then(
      (response) => response.ok && store(address, response),
      () => {},
    );
  }
});
