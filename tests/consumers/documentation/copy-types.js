// typedoc takes what is in node_modules for the types of others, so it gets a copy.
import { cpSync, rmSync } from "node:fs";

rmSync("types", { recursive: true, force: true });
cpSync("node_modules/onestep/types", "types", { recursive: true });
