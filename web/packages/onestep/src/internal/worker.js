// The worker: an engine whose calls come as messages.
import { Engine } from "./engine.js";

const engine = new Engine((response, transfer) => self.postMessage(response, { transfer }));
self.onmessage = ({ data }) => engine.receive(data);
