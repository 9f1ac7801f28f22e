// Lints of everything that is JavaScript here; what lines look like is prettier's.
import js from "@eslint/js";
import globals from "globals";

const PAGE = { ...globals.browser };

export default [
  {
    ignores: [
      "**/node_modules/",
      "dist/",
      "dist-docs/",
      "target/",
      "web/packages/onestep/wasm/",
      "web/packages/onestep/types/",
    ],
  },
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    languageOptions: { ecmaVersion: "latest", sourceType: "module" },
    rules: {
      eqeqeq: ["error", "always", { null: "ignore" }],
      "no-unused-vars": ["error", { args: "after-used", varsIgnorePattern: "^_", ignoreRestSiblings: true }],
      "no-var": "error",
      "prefer-const": ["error", { destructuring: "all" }],
      "object-shorthand": "error",
      "no-implicit-coercion": "error",
      "no-throw-literal": "error",
      "no-shadow": "error",
      "no-console": "error",
      "max-len": [
        "error",
        {
          code: 110,
          ignoreUrls: true,
          ignoreStrings: true,
          ignoreTemplateLiterals: true,
          ignoreRegExpLiterals: true,
        },
      ],
    },
  },
  // The package runs on pages, in workers, in Node.js and in Deno: no names of one of them alone.
  {
    files: ["web/packages/onestep/src/**"],
    languageOptions: { globals: { ...globals["shared-node-browser"], ...PAGE } },
  },
  {
    files: [
      "web/page/**",
      "web/examples/**",
      "tests/consumers/**",
      "benches/browser/o*-*.js",
      "benches/browser/tensors.js",
    ],
    languageOptions: { globals: PAGE },
  },
  {
    files: ["web/page/service-worker.js"],
    languageOptions: { globals: globals.serviceworker, sourceType: "script" },
  },
  { files: ["benches/browser/ort-worker.js"], languageOptions: { globals: globals.worker } },
  {
    files: ["**/*.jsx", "tests/consumers/next/app/**"],
    languageOptions: { parserOptions: { ecmaFeatures: { jsx: true } } },
    rules: { "no-unused-vars": "off" },
  },
  // Functions of tests and benchmarks run in Node.js and, handed to a page, in the browser.
  {
    files: ["tests/**", "benches/**", "web/examples/node/**", "web/packages/onestep/*.mjs"],
    languageOptions: { globals: { ...globals.node, ...PAGE } },
    rules: { "no-console": "off", "no-shadow": "off" },
  },
  // What a test puts on a page for its later calls; see globals.d.ts.
  {
    files: ["tests/browser/**"],
    languageOptions: {
      globals: Object.fromEntries(
        ["axe", "begin", "expected", "inWorker", "model", "onestep", "outcome", "pixels", "watched"].map(
          (name) => [name, "readonly"],
        ),
      ),
    },
  },
];
