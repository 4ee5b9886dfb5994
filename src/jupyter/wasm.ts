/** WebAssembly that is written down as text, with a memory of its own that never grows. */

export interface WithMemory {
  readonly memory: { readonly buffer: ArrayBuffer };
}

/** Its exports. Throws where there is no WebAssembly, or none with SIMD, or no memory for it. */
export function instantiate(base64: string): object {
  const { Module, Instance } = (globalThis as unknown as Web).WebAssembly;
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Instance(new Module(bytes)).exports;
}

/** As much of WebAssembly as is needed: its types come with the browser's, which the server has not. */
interface Web {
  readonly WebAssembly: {
    readonly Module: new (bytes: Uint8Array) => object;
    readonly Instance: new (module: object) => { readonly exports: object };
  };
}
