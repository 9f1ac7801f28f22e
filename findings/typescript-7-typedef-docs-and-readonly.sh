#!/usr/bin/env bash
# typescript 7.0.2 (npm; the native compiler): declarations of JavaScript lose the doc comments of most `@typedef`s, and `@readonly` of
# properties that a constructor assigns.
#
# Expected: as with 6.0.3, every `export type` has its description, and `@readonly` becomes `readonly`. Seen with 7.0.2: a type has its
# description only if the comment of its typedef is the very first thing in the file. Any other such comment stays where the source has it,
# in front of the next declaration, or is gone if that declaration is not exported. Descriptions of properties are always kept.
# `@readonly` works on a class field. On `this.depth = 3` the declarations lack it, so their users may assign to the property.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{ "private": true, "type": "module" }' >package.json
npm install --silent --no-audit --no-fund typescript6@npm:typescript@6.0.3 typescript7@npm:typescript@7.0.2
mkdir source
cat >source/size.js <<'JAVASCRIPT'
/**
 * Doc of First.
 * @typedef {object} First
 * @property {number} width Doc of First.width.
 */

/**
 * Doc of Second.
 * @typedef {object} Second
 * @property {number} width Doc of Second.width.
 */

/** Doc of Size. */
export class Size {
  /**
   * Doc of Size.width.
   * @readonly
   */
  width = 1;

  constructor() {
    /**
     * Doc of Size.depth.
     * @readonly
     */
    this.depth = 3;
  }
}

/**
 * Doc of Unexported.
 * @typedef {object} Unexported
 * @property {number} width Doc of Unexported.width.
 */

const unit = 1;

/**
 * Doc of area.
 * @param {First} size
 */
export function area(size) {
  return size.width * unit;
}

/**
 * Doc of Last.
 * @typedef {object} Last
 * @property {number} width Doc of Last.width.
 */
JAVASCRIPT
cat >source/again.js <<'JAVASCRIPT'
/** Doc of one. */
export const one = 1;

/**
 * Doc of Again.
 * @typedef {import("./size.js").First} Again
 */
JAVASCRIPT
for version in 6 7; do
  node "node_modules/typescript$version/bin/tsc" --version
  node "node_modules/typescript$version/bin/tsc" --declaration --emitDeclarationOnly --allowJs --checkJs --strict --target esnext \
    --module nodenext --outDir "types$version" source/size.js source/again.js
done
# Both results are read by the same parser, so what is compared is what an editor or a documentation generator sees.
cat >read.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import ts from "typescript6";

const read = (version, name) => {
  const path = `types${version}/${name}.d.ts`;
  const text = readFileSync(path, "utf8");
  const seen = {};
  const visit = (node, owner) => {
    const name = owner + (node.name?.text ?? "");
    if (ts.isTypeAliasDeclaration(node) || ts.isPropertySignature(node) || ts.isPropertyDeclaration(node)) {
      const description = `Doc of ${name}.`;
      const attached = ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc).at(-1)?.comment === description;
      const isReadonly = node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ReadonlyKeyword);
      seen[name] = (attached ? "doc" : text.includes(`${description}\n`) ? "doc elsewhere" : "doc lost") + (isReadonly ? ", readonly" : "");
    }
    const hasMembers = ts.isTypeAliasDeclaration(node) || ts.isClassDeclaration(node);
    ts.forEachChild(node, (child) => visit(child, hasMembers ? `${name}.` : owner));
  };
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true), "");
  return seen;
};

const [six, seven] = [6, 7].map((version) => ({ ...read(version, "size"), ...read(version, "again") }));
const expected = {
  First: ["doc", "doc"],
  "First.width": ["doc", "doc"],
  Second: ["doc", "doc elsewhere"],
  "Second.width": ["doc", "doc"],
  Unexported: ["doc", "doc lost"],
  "Unexported.width": ["doc", "doc"],
  Last: ["doc", "doc elsewhere"],
  "Last.width": ["doc", "doc"],
  Again: ["doc", "doc elsewhere"],
  "Size.width": ["doc, readonly", "doc, readonly"],
  "Size.depth": ["doc, readonly", "doc"],
};
let same = true;
for (const [name, values] of Object.entries(expected)) {
  console.log(`${name}: ${six[name]} (6.0.3); ${seven[name]} (7.0.2)`);
  same &&= six[name] === values[0] && seven[name] === values[1];
}
process.exit(same ? 0 : 1);
JAVASCRIPT
node read.mjs
