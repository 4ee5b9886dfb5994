/**
 * Contains errors in the handling of a kernel's messages, for every link of a
 * kernel and for both drivers.
 *
 * The event loop calls the callbacks of a driver, so an error that they throw
 * would end the process. The callbacks that are passed here may throw: the error
 * drops this one message and is counted for the session. The next message is
 * received as usual.
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
  /** kernel → server, one message at a time and in order. May throw. Frames are valid during the call. */
  readonly onMessage: (frames: Frames) => void;
  /** The same for a large message, in short steps. Later messages of the channel wait for it. */
  readonly onLarge?: (frames: Frames) => Generator<void, void>;
  /** Called while large messages are received. `until` resolves when none is left. */
  readonly busy?: (until: Promise<void>) => void;
}

/** Bytes. Smaller messages are received at once. */
const LARGE = 2 * 1024 * 1024;

export type Boundary = ReturnType<typeof boundaryOf>;

export function boundaryOf(
  transport: KernelTransport,
  faults: Faults,
  session: string,
) {
  /** Counts a refused message. `why` never contains any of the message. */
  const refused = (channel: string, why: string): void =>
    faults.count("A message from the kernel was refused", why, {
      session,
      channel,
    });
  /** Counts a message whose JSON was repaired. */
  const repaired = (channel: string, what: string): void =>
    faults.count("A message from the kernel was repaired", what, {
      session,
      channel,
    });

  /** Throws, as the driver does, for options that cannot work. */
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
