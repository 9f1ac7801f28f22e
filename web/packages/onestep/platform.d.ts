// Declarations that TypeScript's library for browsers lacks. Not part of the package.

/** Files of the origin private file system, in a worker. */
interface FileSystemFileHandle {
  createSyncAccessHandle(): Promise<FileSystemSyncAccessHandle>;
}
interface FileSystemSyncAccessHandle {
  write(bytes: Uint8Array<ArrayBuffer>, options?: { at: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

/** Modules of Node.js that local files are read with. */
interface NodeBuiltins {
  "node:url": { pathToFileURL(path: string): URL };
  "node:fs/promises": {
    open(url: URL): Promise<{
      stat(): Promise<{ size: number }>;
      read(
        into: Uint8Array,
        offset: number,
        length: number,
        position: number,
      ): Promise<{ bytesRead: number }>;
      close(): Promise<void>;
    }>;
  };
}

interface NodeProcess {
  cwd(): string;
  getBuiltinModule?<Name extends keyof NodeBuiltins>(name: Name): NodeBuiltins[Name] | undefined;
}
