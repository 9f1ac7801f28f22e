import { useEffect, useState } from "react";
import { load } from "onestep";

/**
 * A model for as long as a component is there. Loading begins once `wanted` is true and is given up when the
 * component goes, so that the double mount of strict mode leaves nothing behind.
 * @param {import("onestep").BundleRef} bundle a text or a URL that stays the same from render to render
 * @param {boolean} wanted
 * @returns {{ model?: import("onestep").Model, progress: number, error?: Error }} `progress` from 0 to 1
 */
export function useOneStep(bundle, wanted) {
  const [state, setState] = useState({ progress: 0 });
  useEffect(() => {
    if (!wanted) return undefined;
    const gone = new AbortController();
    let model;
    const onProgress = ({ phase, done, total }) =>
      phase === "download" && setState({ progress: done / total });
    load(bundle, { signal: gone.signal, onProgress }).then(
      (loaded) => {
        model = loaded;
        if (gone.signal.aborted) return void model.dispose();
        model.lost.then((error) => !gone.signal.aborted && setState({ progress: 0, error }));
        setState({ progress: 1, model });
      },
      (error) => !gone.signal.aborted && setState({ progress: 0, error }),
    );
    return () => {
      gone.abort();
      model?.dispose();
      setState({ progress: 0 });
    };
  }, [bundle, wanted]);
  return state;
}
