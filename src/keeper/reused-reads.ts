/**
 * A socket whose reads all go into the same memory. Node otherwise takes new memory
 * for each read, and a flood of large messages makes it collect garbage for a
 * quarter of the time.
 */
import { connect, type Socket } from "node:net";

/** As much as the system hands over at once. */
const READ_BYTES = 256 * 1024;

/** What its event `data` gives is valid during the call only. */
export function connectReusing(path: string): Socket {
  const socket = connect({
    path,
    onread: {
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      callback(size, buffer) {
        socket.emit(
          "data",
          Buffer.from(buffer.buffer, buffer.byteOffset, size),
        );
        return true;
      },
    },
  });
  return socket;
}
