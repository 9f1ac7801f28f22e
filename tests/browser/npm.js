// Projects of users, installed from npm's packages as their lock files say.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export const CONSUMERS = fileURLToPath(new URL("../consumers/", import.meta.url));
export const EXAMPLES = fileURLToPath(new URL("../../web/examples/", import.meta.url));
export const run = promisify(execFile);
export const npm = (folder, ...words) =>
  run("npm", [...words, "--no-audit", "--no-fund", "--ignore-scripts"], { cwd: folder });

/** Installs what a project's lock file says; false, with a word, where there is no network to do it by. */
export async function installed(t, project) {
  try {
    await npm(project, "ci");
    return true;
  } catch (error) {
    if (!/EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|EIDLETIMEOUT|ETIMEDOUT|ENETUNREACH/.test(error.stderr))
      throw error;
    t.skip("npm's packages cannot be fetched: there is no network");
    return false;
  }
}
