// The worker: an engine whose calls come as messages.
import { Engine } from "./engine.js";

const engine = new Engine((message, transfer) => self.postMessage(message, transfer));
self.onmessage = ({ data }) => engine.receive(data);
