// The worker: an engine that gets its calls as messages.
import { Engine } from "./engine.js";

const engine = new Engine((response, transfer) => self.postMessage(response, { transfer }));
self.onmessage = ({ data }) => engine.receive(data);
