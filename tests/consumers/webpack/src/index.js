import { load } from "onestep";

const model = await load("/bundle/", { backend: "cpu" });
const image = await model.generate("red apple", { seed: 1 });
document.querySelector("canvas").getContext("2d").putImageData(image.pixels(), 0, 0);
document.body.dataset.generated = "yes";
