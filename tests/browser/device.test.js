// Devices of the caller, cancelled calls, and the memory budget of a model pool.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, openPage } from "./browser.js";
import { serve } from "./server.js";

let server, browser, page;
before(async () => {
  server = await serve();
  browser = await launch();
  page = await openPage(browser, server, { path: "empty.html" });
  await page.evaluate(async () => {
    window.onestep = await import("/web/packages/onestep/src/public/index.js");
    window.pixels = (image) => [...image.pixels().data].join();
    window.outcome = (promise) =>
      promise.then(
        () => "made",
        ({ kind, message }) => ({ kind, message }),
      );
    window.begin = (options) => onestep.load("/bundle/", { assets: "/", backend: "webgpu", ...options });
    /** WebGPU that records its devices and counts submissions. */
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
  "a model on a device of the caller generates the same, also on a canvas, and the caller keeps the device",
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
      // Only a device that is not lost reports errors.
      device.pushErrorScope("validation");
      device.createBuffer({ size: 16, usage: 0 });
      const alive = (await device.popErrorScope()) !== null;
      return {
        same,
        shown: shown.width,
        heard: heard.length,
        handlerStays: device.onuncapturederror === handler,
        mine,
        alive,
        untouched: before === Object.getOwnPropertyDescriptor(navigator, "gpu"),
      };
    });
    assert.deepEqual(found, {
      same: true,
      shown: 64,
      heard: 1,
      handlerStays: true,
      mine: "made",
      alive: true,
      untouched: true,
    });
  },
);

test(
  "a destroyed device of the caller ends the call with device-lost, and every later call",
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

test("a lost device of the model is replaced within the same call", { timeout: 180_000 }, async () => {
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
});

test("a cancelled call frees the queue within one submission", { timeout: 180_000 }, async () => {
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

test("a GPU with a worker is refused, and so is a device that is none", { timeout: 60_000 }, async () => {
  const refused = await page.evaluate(async () => [
    await outcome(begin({ gpu: navigator.gpu, worker: () => new Worker("/nothing.js") })),
    await outcome(begin({ device: {} })),
    await outcome(onestep.probe("/bundle/", { device: 7 })),
  ]);
  assert.deepEqual(
    refused.map(({ kind }) => kind),
    ["invalid-option", "invalid-option", "invalid-option"],
  );
});

test(
  "a model pool stays within its budget: the least recently used model goes first, and what never fits is not downloaded",
  { timeout: 180_000 },
  async () => {
    const found = await page.evaluate(async () => {
      const { ModelPool } = onestep;
      const options = { assets: "/", backend: "cpu" };
      // The same bundle by three addresses.
      const addresses = ["/bundle/", "/bundle/?two", "/bundle/?three"].map(
        (path) => new URL(path, location.href),
      );
      const alone = new ModelPool({ ...options, maxMemoryBytes: 1e9 });
      const first = await alone.load(addresses[0]);
      await first.generate("red apple", { seed: 1 });
      const one = alone.memoryBytes;
      const known = (await alone.load(addresses[0])) === first;
      await alone.dispose();
      const disposed = await outcome(first.generate("red apple", { seed: 1 }));

      const two = new ModelPool({ ...options, maxMemoryBytes: 2.6 * one });
      const [a, b] = [await two.load(addresses[0]), await two.load(addresses[1])];
      await two.load(addresses[0]);
      const c = await two.load(addresses[2]);
      const loaded = [two.models.length, two.models[0] === c, two.models[1] === a];
      const evicted = (await outcome(b.generate("red apple", { seed: 1 }))).kind;
      const within = two.memoryBytes <= 2.6 * one;
      const works = await outcome(a.generate("red apple", { seed: 1 }));
      await two.dispose();
      const small = await outcome(new ModelPool({ ...options, maxMemoryBytes: 1000 }).load(addresses[0]));
      return {
        known,
        disposed: disposed.kind,
        loaded,
        evicted,
        within,
        works,
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
      loaded: [2, true, true],
      evicted: "disposed",
      within: true,
      works: "made",
      small: "out-of-memory",
      left: 0,
    });
  },
);
