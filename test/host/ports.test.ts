import { once } from "node:events";
import { createServer } from "node:net";
import { expect, it } from "vitest";
import { reservePorts, type PortReservation } from "../../src/host/ports.ts";

const numbers = ({ ports }: PortReservation) =>
  Object.values(ports) as number[];

it("five different ports are reserved, and free to be bound", async () => {
  using reservation = await reservePorts();
  expect(Object.keys(reservation.ports).sort()).toEqual([
    "control_port",
    "hb_port",
    "iopub_port",
    "shell_port",
    "stdin_port",
  ]);
  expect(new Set(numbers(reservation)).size).toBe(5);
  for (const port of numbers(reservation)) {
    const server = createServer().listen({ host: "127.0.0.1", port });
    await once(server, "listening");
    server.close();
    await once(server, "close");
  }
});

it("no port is given twice, even to concurrent callers", async () => {
  const reservations = await Promise.all(
    Array.from({ length: 60 }, () => reservePorts()),
  );
  const all = reservations.flatMap(numbers);
  expect(new Set(all).size).toBe(300);

  // A released port is not reused for a while, so that old clients do not reach new kernels.
  for (const reservation of reservations) reservation[Symbol.dispose]();
  const next = await Promise.all(
    Array.from({ length: 60 }, () => reservePorts()),
  );
  expect(next.flatMap(numbers).filter((port) => all.includes(port))).toEqual(
    [],
  );
  for (const reservation of next) reservation[Symbol.dispose]();
});

it("a reservation may be released twice", async () => {
  const reservation = await reservePorts();
  reservation[Symbol.dispose]();
  reservation[Symbol.dispose]();
});

it("an address of another machine is an error", async () => {
  await expect(reservePorts("192.0.2.1")).rejects.toMatchObject({
    code: "EADDRNOTAVAIL",
  });
});
