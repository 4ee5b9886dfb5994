/** Loads a WebAssembly module from base64. Its memory never grows. */

export interface WithMemory {
  readonly memory: { readonly buffer: ArrayBuffer };
}

/** The exports of the module. Throws if WebAssembly with SIMD, or memory for it, is not available. */
export function instantiate(base64: string): object {
  const { Module, Instance } = (globalThis as unknown as Web).WebAssembly;
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Instance(new Module(bytes)).exports;
}

/** The used part of WebAssembly. Its types belong to the DOM library, which the server does not load. */
interface Web {
  readonly WebAssembly: {
    readonly Module: new (bytes: Uint8Array) => object;
    readonly Instance: new (module: object) => { readonly exports: object };
  };
}
