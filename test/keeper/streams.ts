/** Streams in memory, and the raw end of a keeper's stream. */
import { Duplex } from "node:stream";
import {
  FRAME_LIMIT,
  type Frame,
  FrameReader,
  jsonFrame,
  MAGIC,
  frameKinds,
} from "../../src/keeper/frames.ts";
import { versions } from "../../src/keeper/hello.ts";

/** One end of a pair in memory. */
class End extends Duplex {
  other: End | undefined;
  /** Called when the other end's last write was read. */
  #taken: (() => void) | undefined;

  override _read(): void {
    const taken = this.#taken;
    this.#taken = undefined;
    taken?.();
  }

  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.other?.receive(Buffer.from(chunk), done);
  }

  override _final(done: () => void): void {
    this.other?.push(null);
    done();
  }

  override _destroy(
    error: Error | null,
    done: (error: Error | null) => void,
  ): void {
    const { other } = this;
    this.other = undefined;
    setImmediate(() => other?.destroy());
    done(error);
  }

  receive(chunk: Buffer, done: () => void): void {
    if (this.destroyed || this.push(chunk)) done();
    else this.#taken = done;
  }
}

/** Two ends: what one writes, the other reads. Destroying one ends the other. */
export function duplexPair(): [Duplex, Duplex] {
  const [one, two] = [new End(), new End()];
  one.other = two;
  two.other = one;
  return [one, two];
}

/** An end of a connection: it does not break the other end if it has closed both halves. */
class PlaceEnd extends End {
  override _destroy(
    error: Error | null,
    done: (error: Error | null) => void,
  ): void {
    if (this.readableEnded && this.writableFinished) done(error);
    else super._destroy(error, done);
  }
}

/** Two ends, each half of which closes by itself. Destroying one breaks the other. */
export function placePair(): [Duplex, Duplex] {
  const [one, two] = [new PlaceEnd(), new PlaceEnd()];
  one.other = two;
  two.other = one;
  for (const end of [one, two]) end.on("error", () => {});
  return [one, two];
}

/** A server's end, byte by byte. */
export class RawServer {
  readonly frames: Frame[] = [];
  isClosed = false;
  readonly #stream: Duplex;

  constructor(stream: Duplex, magic: Uint8Array = MAGIC) {
    this.#stream = stream;
    const reader = new FrameReader(FRAME_LIMIT);
    stream.on("data", (chunk: Buffer) => {
      for (const { kind, body, isOwn } of reader.read(chunk)) {
        this.frames.push({ kind, body: Buffer.from(body), isOwn });
      }
    });
    stream.on("error", () => {});
    stream.on("close", () => (this.isClosed = true));
    stream.on("end", () => (this.isClosed = true));
    stream.write(magic);
  }

  hello(fields: Readonly<Record<string, unknown>>): this {
    return this.write(
      jsonFrame(frameKinds.hello, { ...versions, server: "raw", ...fields }),
    );
  }

  write(pieces: readonly Uint8Array[]): this {
    for (const piece of pieces) this.#stream.write(piece);
    return this;
  }

  /** The values of the JSON frames of this kind. */
  values(kind: number): Readonly<Record<string, unknown>>[] {
    return this.frames
      .filter((frame) => frame.kind === kind)
      .map(
        ({ body }) => JSON.parse(body.toString()) as Record<string, unknown>,
      );
  }

  leave(): void {
    this.#stream.destroy();
  }
}
