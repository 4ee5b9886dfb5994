import { expect, test } from "vitest";
import type { Frames } from "../../src/zmq/transport.ts";
import { Decoder, LARGE } from "../../src/zmq/zmtp/decoder.ts";

/** A frame as on the wire; the last one of its message. */
function frame(body: Uint8Array): Buffer {
  if (body.length < 256) return Buffer.from([0, body.length, ...body]);
  const head = Buffer.alloc(9);
  head[0] = 2; // the flag of a long frame
  head.writeBigUInt64BE(BigInt(body.length), 1);
  return Buffer.concat([head, body]);
}

/** Copies bytes into the decoder's region; returns the number that fitted. */
function put(decoder: Decoder, region: Uint8Array, bytes: Uint8Array): number {
  const size = Math.min(region.length, bytes.length);
  region.set(bytes.subarray(0, size));
  decoder.filled(size);
  return size;
}

test("a large frame that begins after a region was returned keeps all its bytes", () => {
  const decoder = new Decoder();
  const small = Buffer.from("small");
  const large = Buffer.alloc(2 * LARGE).map((_, at) => at % 251);
  const last = Buffer.from("last");
  const bytes = Buffer.concat([
    ...Array.from({ length: 10 }, () => frame(small)),
    frame(large),
    frame(last),
  ]);
  const received: Buffer[] = [];
  const read = (most: number) => {
    const batch: Frames[] = [];
    decoder.read(batch, most);
    for (const [body] of batch) received.push(Buffer.from(body as Uint8Array));
  };

  put(decoder, decoder.region(), frame(small)); // the first slab is small
  read(1);
  let at = put(decoder, decoder.region(), bytes.subarray(0, LARGE));
  read(4); // reading stops here, with the beginning of the large frame unread
  const region = decoder.region(); // the socket has requested it already
  read(Infinity); // continues, and begins the large frame
  at += put(decoder, region, bytes.subarray(at));
  read(Infinity);
  while (at < bytes.length) {
    at += put(decoder, decoder.region(), bytes.subarray(at));
    read(Infinity);
  }

  expect(received.map(({ length }) => length)).toEqual([
    ...Array.from({ length: 11 }, () => small.length),
    large.length,
    last.length,
  ]);
  expect(received[11]?.equals(large)).toBe(true);
});

test("kept frames stay unchanged by later reads", () => {
  const decoder = new Decoder();
  const bodies = ["a", "b".repeat(LARGE + 1), "c", "d".repeat(LARGE)];
  const kept: (readonly [string, Uint8Array])[] = [];
  const receive = (bytes: Buffer): Frames[] => {
    const batch: Frames[] = [];
    for (let at = 0; at < bytes.length;) {
      at += put(decoder, decoder.region(), bytes.subarray(at));
      decoder.read(batch);
    }
    return batch;
  };
  for (const body of bodies) {
    const [heard] = receive(frame(Buffer.from(body)));
    kept.push([body, heard?.[0] as Uint8Array]);
    decoder.keep();
  }
  for (const filling of [1, 2 * LARGE, 40, LARGE / 2, 2 * LARGE, LARGE]) {
    receive(frame(Buffer.alloc(filling, "z")));
  }
  for (const [body, bytes] of kept) {
    expect(Buffer.from(body).equals(bytes)).toBe(true);
  }
});
