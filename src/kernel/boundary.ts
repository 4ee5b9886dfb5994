/**
 * The boundary between what a kernel sends and what we do about it, for every
 * link of a kernel and for both drivers.
 *
 * The callbacks of a driver run in the event loop's own hands: what they throw
 * ends the process. Here they may throw. The fault ends the one message, is
 * counted for the session, and the next message is heard as if nothing had been.
 */
import type { Faults } from "../log/faults.ts";
import {
  type Frames,
  FRAMES_LIMIT,
  type KernelTransport,
  type Link,
  type LinkOptions,
  type LinkState,
  MESSAGE_LIMIT,
} from "../zmq/transport.ts";

export interface ContainedOptions extends Omit<LinkOptions, "onMessages"> {
  /** kernel → us, one at a time and in order. May throw; frames are valid for the time of the call. */
  readonly onMessage: (frames: Frames) => void;
}

export class Boundary {
  readonly #transport: KernelTransport;
  readonly #faults: Faults;
  readonly #session: string;

  constructor(transport: KernelTransport, faults: Faults, session_id: string) {
    this.#transport = transport;
    this.#faults = faults;
    this.#session = session_id;
  }

  /** Throws as the driver does, for options that could never work. */
  connect(channel: string, options: ContainedOptions): Link {
    const { onMessage, onTooLarge, onState, behind, ...rest } = options;
    const caught = (error: unknown): void => this.#caught(channel, error);
    const tooLarge = (size: number): void => {
      const limit = rest.limit ?? MESSAGE_LIMIT;
      this.refused(
        channel,
        `it has more than ${limit} bytes or ${FRAMES_LIMIT} frames`,
      );
      onTooLarge?.(size);
    };
    return this.#transport.connect({
      ...rest,
      onMessages: (batch) => {
        for (const frames of batch) {
          try {
            if (frames.length > FRAMES_LIMIT) tooLarge(sizeOf(frames));
            else onMessage(frames);
          } catch (error) {
            caught(error);
          }
        }
      },
      onTooLarge: (size) => {
        try {
          tooLarge(size);
        } catch (error) {
          caught(error);
        }
      },
      onState: (state: LinkState, error?: Error) => {
        try {
          onState?.(state, error);
        } catch (error) {
          caught(error);
        }
      },
      ...(behind !== undefined && {
        behind: () => {
          try {
            return behind()?.catch(caught);
          } catch (error) {
            caught(error);
            return undefined;
          }
        },
      }),
    });
  }

  /** A message that was not taken: what was wrong with it, never what it held. */
  refused(channel: string, why: string): void {
    this.#faults.count("A message from the kernel was refused", why, {
      session: this.#session,
      channel,
    });
  }

  /** A message that was nearly JSON, and is now. */
  mended(channel: string, what: string): void {
    this.#faults.count("A message from the kernel was mended", what, {
      session: this.#session,
      channel,
    });
  }

  #caught(channel: string, error: unknown): void {
    this.#faults.caught("A message from the kernel was dropped", error, {
      session: this.#session,
      channel,
    });
  }
}

function sizeOf(frames: Frames): number {
  return frames.reduce((sum, frame) => sum + frame.length, 0);
}
