// Devices of the caller's own, on its own thread; what is cancelled, and what does not fit.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open } from "./browser.js";
import { serve } from "./server.js";

let server, browser, page;
before(async () => {
  server = await serve();
  browser = await launch();
  page = await open(browser, server, { path: "empty.html" });
  await page.evaluate(async () => {
    window.onestep = await import("/web/packages/onestep/src/public/index.js");
    window.pixels = (image) => [...image.pixels().data].join();
    window.outcome = (promise) =>
      promise.then(
        () => "made",
        ({ kind, message }) => ({ kind, message }),
      );
    window.begin = (options) => onestep.load("/bundle/", { assets: "/", backend: "webgpu", ...options });
    /** WebGPU whose devices and submissions are known. */
    window.watched = () => {
      const seen = { devices: [], submissions: 0 };
      seen.gpu = {
        getPreferredCanvasFormat: () => navigator.gpu.getPreferredCanvasFormat(),
        async requestAdapter(options) {
          const adapter = await navigator.gpu.requestAdapter(options);
          const { info, features, limits } = adapter;
          return {
            info,
            features,
            limits,
            async requestDevice(description) {
              const device = await adapter.requestDevice(description);
              const submit = device.queue.submit.bind(device.queue);
              device.queue.submit = (...commands) => (seen.submissions++, submit(...commands));
              seen.devices.push(device);
              return device;
            },
          };
        },
      };
      return seen;
    };
    window.inWorker = await begin();
    window.expected = pixels(await inWorker.generate("red apple", { seed: 1 }));
  });
});
after(() => Promise.all([browser?.close(), server?.close()]));

test(
  "a model on a device of the caller's draws the same, also on a canvas, and the device stays the caller's",
  { timeout: 180_000 },
  async () => {
    const found = await page.evaluate(async () => {
      const device = await (await navigator.gpu.requestAdapter()).requestDevice();
      const heard = [];
      const handler = ({ error }) => heard.push(error.message);
      device.onuncapturederror = handler;
      const before = Object.getOwnPropertyDescriptor(navigator, "gpu");
      const model = await begin({ device });
      const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
      const same = pixels(await model.generate("red apple", { seed: 1, canvas })) === expected;
      const shown = await createImageBitmap(canvas);
      device.createBuffer({ size: 16, usage: 0 });
      await device.queue.onSubmittedWorkDone();
      const mine = await outcome(model.generate("red apple", { seed: 1 }));
      await model.dispose();
      await device.queue.onSubmittedWorkDone();
      const alive = await Promise.race([
        device.lost.then(() => false),
        new Promise((resolve) => setTimeout(resolve, 100, true)),
      ]);
      return {
        same,
        shown: shown.width,
        heard: heard.length,
        kept: device.onuncapturederror === handler,
        mine,
        alive,
        untouched: before === Object.getOwnPropertyDescriptor(navigator, "gpu"),
      };
    });
    assert.deepEqual(found, {
      same: true,
      shown: 64,
      heard: 1,
      kept: true,
      mine: "made",
      alive: true,
      untouched: true,
    });
  },
);

test(
  "a device of the caller's that is destroyed ends the call with that, and every later one",
  { timeout: 180_000 },
  async () => {
    const found = await page.evaluate(async () => {
      const device = await (await navigator.gpu.requestAdapter()).requestDevice();
      const model = await begin({ device });
      await model.generate("red apple", { seed: 1 });
      const pending = outcome(model.generate("red apple", { seed: 2 }));
      setTimeout(() => device.destroy(), 20);
      const ended = await pending;
      const later = await outcome(model.generate("red apple", { seed: 2 }));
      return { pending: ended, later, lost: (await model.lost).kind };
    });
    // The image may have been faster than the end of its device; then the next one meets it.
    assert.ok(found.pending === "made" || found.pending.kind === "device-lost", JSON.stringify(found));
    assert.deepEqual([found.lost, found.later.kind], ["device-lost", "device-lost"]);
  },
);

test(
  "a device of the model's own that is destroyed is replaced within the same call",
  { timeout: 180_000 },
  async () => {
    const found = await page.evaluate(async () => {
      const seen = watched();
      const model = await begin({ gpu: seen.gpu });
      await model.generate("red apple", { seed: 2 });
      const pending = model.generate("red apple", { seed: 1 });
      setTimeout(() => seen.devices[0].destroy(), 1);
      const same = pixels(await pending) === expected;
      const again = pixels(await model.generate("red apple", { seed: 1 })) === expected;
      await model.dispose();
      return { same, again, devices: seen.devices.length };
    });
    assert.deepEqual(found, { same: true, again: true, devices: 2 });
  },
);

test("what is cancelled frees the queue within one submission", { timeout: 180_000 }, async () => {
  const found = await page.evaluate(async () => {
    const seen = watched();
    const model = await begin({ gpu: seen.gpu });
    await model.generate("red apple", { seed: 1 });
    seen.submissions = 0;
    await model.generate("red apple", { seed: 1 });
    const one = seen.submissions;
    seen.submissions = 0;
    const controller = new AbortController();
    const given = Array.from({ length: 6 }, (_, seed) =>
      model.generate("red apple", { seed, signal: controller.signal }).then(
        () => "made",
        (reason) => reason,
      ),
    );
    // Until the first of them is on its way.
    while (seen.submissions === 0) await new Promise((resolve) => setTimeout(resolve));
    controller.abort("enough");
    const same = pixels(await model.generate("red apple", { seed: 1 })) === expected;
    const reasons = await Promise.all(given);
    await model.dispose();
    return { same, reasons, images: seen.submissions / one };
  });
  // The one that had begun, and the one that was wanted.
  assert.deepEqual(found, { same: true, reasons: Array(6).fill("enough"), images: 2 });
});

test(
  "what cannot be sent to a worker is not, and a device that is none is refused",
  { timeout: 60_000 },
  async () => {
    const refused = await page.evaluate(async () => [
      await outcome(begin({ gpu: navigator.gpu, worker: () => new Worker("/nothing.js") })),
      await outcome(begin({ device: {} })),
      await outcome(onestep.probe("/bundle/", { device: 7 })),
    ]);
    assert.deepEqual(
      refused.map(({ kind }) => kind),
      ["invalid-option", "invalid-option", "invalid-option"],
    );
  },
);

test(
  "a shelf keeps models within its budget: the one asked for longest ago goes first, and what never fits is not fetched",
  { timeout: 180_000 },
  async () => {
    const found = await page.evaluate(async () => {
      const { shelf } = onestep;
      const options = { assets: "/", backend: "cpu" };
      // The same bundle by three addresses.
      const places = ["/bundle/", "/bundle/?two", "/bundle/?three"].map(
        (path) => new URL(path, location.href),
      );
      const alone = shelf({ ...options, maxMemoryBytes: 1e9 });
      const first = await alone.take(places[0]);
      await first.generate("red apple", { seed: 1 });
      const one = alone.memoryBytes;
      const known = (await alone.take(places[0])) === first;
      await alone.dispose();
      const disposed = await outcome(first.generate("red apple", { seed: 1 }));

      const two = shelf({ ...options, maxMemoryBytes: 2.6 * one });
      const [a, b] = [await two.take(places[0]), await two.take(places[1])];
      await two.take(places[0]);
      const c = await two.take(places[2]);
      const kept = [two.models.length, two.models[0] === c, two.models[1] === a];
      const gone = (await outcome(b.generate("red apple", { seed: 1 }))).kind;
      const within = two.memoryBytes <= 2.6 * one;
      const draws = await outcome(a.generate("red apple", { seed: 1 }));
      await two.dispose();
      const small = await outcome(shelf({ ...options, maxMemoryBytes: 1000 }).take(places[0]));
      return {
        known,
        disposed: disposed.kind,
        kept,
        gone,
        within,
        draws,
        small: small.kind,
        left: two.models.length,
        one,
      };
    });
    const { one, ...rest } = found;
    assert.ok(one > 1e6, String(one));
    assert.deepEqual(rest, {
      known: true,
      disposed: "disposed",
      kept: [2, true, true],
      gone: "disposed",
      within: true,
      draws: "made",
      small: "out-of-memory",
      left: 0,
    });
  },
);
