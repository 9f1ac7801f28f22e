"use client";
import { load } from "onestep";
import { useEffect, useRef } from "react";

export function GeneratedImage() {
  const canvas = useRef(null);
  useEffect(() => {
    const leaving = new AbortController();
    let model;
    (async () => {
      model = await load("/bundle/", { backend: "cpu", signal: leaving.signal });
      const image = await model.generate("red apple", { seed: 1, signal: leaving.signal });
      canvas.current.getContext("2d").putImageData(image.pixels(), 0, 0);
      document.body.dataset.generated = "yes";
    })().catch((error) => leaving.signal.aborted || console.error(error));
    // React mounts twice in development: what was begun the first time is given up.
    return () => {
      leaving.abort();
      model?.dispose();
    };
  }, []);
  return <canvas ref={canvas} width="64" height="64" />;
}
