import { StrictMode, useEffect, useRef, useState } from "react";
import { createRoot } from "react-dom/client";
import { useOneStep } from "./use-onestep.js";

function App() {
  const [wanted, setWanted] = useState(false);
  const { model, progress, error } = useOneStep("/bundle/", wanted);
  return (
    <main>
      <button onClick={() => setWanted(!wanted)}>{wanted ? "Put the model away" : "Load the model"}</button>
      {wanted && !model && !error && <progress value={progress} aria-label="Download" />}
      {error && <p role="alert">{error.message}</p>}
      {model && <Image model={model} />}
    </main>
  );
}

function Image({ model }) {
  const frame = useRef(null);
  const [prompt, setPrompt] = useState("red apple");
  const [caption, setCaption] = useState("");
  useEffect(() => {
    // A canvas belongs to one model for good, so it is made with it, and not by React, which would hand the
    // same one over twice.
    const canvas = Object.assign(document.createElement("canvas"), { width: 512, height: 512 });
    frame.current.replaceChildren(canvas);
    return () => canvas.remove();
  }, [model]);
  useEffect(() => {
    let current = true;
    const canvas = frame.current.firstElementChild;
    model.live(prompt, { seed: 1, canvas }).then(
      (image) => current && image && setCaption(`${image.prompt}, ${Math.round(image.timings.total)} ms`),
      (error) => current && error.kind !== "invalid-option" && setCaption(error.message),
    );
    return () => (current = false);
  }, [model, prompt]);
  return (
    <>
      <label>
        Prompt <input value={prompt} onChange={({ target }) => setPrompt(target.value)} />
      </label>
      <figure>
        <div ref={frame} />
        <figcaption role="status">{caption}</figcaption>
      </figure>
    </>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
