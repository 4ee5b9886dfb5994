/**
 * The boundary between what a kernel sends and what we do about it, for every
 * link of a kernel and for both drivers.
 *
 * The callbacks of a driver run in the event loop's own hands: what they throw
 * ends the process. Here they may throw. The fault ends the one message, is
 * counted for the session, and the next message is heard as if nothing had been.
 */
import type { Faults } from "../log/faults.ts";
import { inOrder } from "../time/in-order.ts";
import {
  type Frames,
  FRAMES_LIMIT,
  type KernelTransport,
  type Link,
  type LinkOptions,
  MESSAGE_LIMIT,
} from "../zmq/transport.ts";

export interface ContainedOptions extends Omit<LinkOptions, "onMessages"> {
  /** kernel → us, one at a time and in order. May throw; frames are valid for the time of the call. */
  readonly onMessage: (frames: Frames) => void;
  /** The same of a message that is large, in short steps; nothing that comes after it on the channel is heard before its end. */
  readonly onLarge?: (frames: Frames) => Generator<void, void>;
  /** Told when a large message is being heard, with what resolves when none is. */
  readonly busy?: (until: Promise<void>) => void;
}

/** Bytes. Smaller messages are heard at once. */
const LARGE = 2 * 1024 * 1024;

export type Boundary = ReturnType<typeof boundaryOf>;

export function boundaryOf(
  transport: KernelTransport,
  faults: Faults,
  session: string,
) {
  /** A message that was not taken: what was wrong with it, never what it held. */
  const refused = (channel: string, why: string): void =>
    faults.count("A message from the kernel was refused", why, {
      session,
      channel,
    });
  /** A message that was nearly JSON, and is now. */
  const repaired = (channel: string, what: string): void =>
    faults.count("A message from the kernel was repaired", what, {
      session,
      channel,
    });

  /** Throws as the driver does, for options that could never work. */
  const connect = (channel: string, options: ContainedOptions): Link => {
    const {
      onMessage,
      onLarge,
      busy,
      onTooLarge,
      onState,
      backpressure,
      bulk,
      ...rest
    } = options;
    const { limit = MESSAGE_LIMIT } = rest;
    const caught = (error: unknown): void =>
      faults.caught("A message from the kernel was dropped", error, {
        session,
        channel,
      });
    const contained =
      <A extends unknown[], R>(callback: (...args: A) => R) =>
      (...args: A): R | undefined => {
        try {
          return callback(...args);
        } catch (error) {
          caught(error);
          return undefined;
        }
      };
    const tooLarge = (size: number): void => {
      const why = `it has more than ${limit} bytes or ${FRAMES_LIMIT} frames`;
      refused(channel, why);
      onTooLarge?.(size);
    };
    const receive = contained((frames: Frames) => {
      if (frames.length > FRAMES_LIMIT) tooLarge(sizeOf(frames));
      else onMessage(frames);
    });
    const isLarge = (frames: Frames) =>
      onLarge !== undefined &&
      frames.length <= FRAMES_LIMIT &&
      sizeOf(frames) >= LARGE;
    function* receiving(frames: Frames): Generator<void, void> {
      if (onLarge === undefined || !isLarge(frames)) {
        receive(frames);
        return;
      }
      try {
        yield* onLarge(frames);
      } catch (error) {
        caught(error);
      }
    }
    let caughtUp: Promise<void> | undefined;
    let catchUp = (): void => {};
    const enqueue = inOrder({
      pause() {
        caughtUp = new Promise((resolve) => (catchUp = resolve));
        busy?.(caughtUp);
      },
      resume() {
        caughtUp = undefined;
        catchUp();
      },
    });
    return transport.connect({
      ...rest,
      onMessages: (batch) => {
        for (const frames of batch) {
          if (caughtUp === undefined && !isLarge(frames)) receive(frames);
          else enqueue(receiving(frames));
        }
      },
      onTooLarge: contained(tooLarge),
      onState: contained((state, error) => onState?.(state, error)),
      ...(bulk !== undefined && {
        bulk: {
          refilled: () => bulk.refilled(),
          take: (read) => contained(bulk.take.bind(bulk))(read) ?? 0,
          get isCut() {
            return bulk.isCut;
          },
        },
      }),
      backpressure: contained(
        () => caughtUp ?? backpressure?.()?.catch(caught),
      ),
    });
  };

  return { connect, refused, repaired };
}

function sizeOf(frames: Frames): number {
  let size = 0;
  for (const { length } of frames) size += length;
  return size;
}
