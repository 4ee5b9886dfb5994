/** Clients of Jupyter's protocols: how long the server remembers them. */
import { expect, test } from "vitest";
import { JupyterClients } from "../../src/session/jupyter-clients.ts";

const socket = () => ({ ping() {} });

test("a connected client is never dropped, with any number of clients", () => {
  const clients = new JupyterClients();
  for (let index = 0; index < 100; index += 1) {
    clients.get(`client-${index}`, 0).sockets.add(socket());
  }
  expect(clients.connected).toBe(100);
});

test("a client that left is remembered, until 64 others have left after it", () => {
  const clients = new JupyterClients();
  clients.get("first", 7).acknowledge(9);
  for (let index = 0; index < 63; index += 1) clients.get(`other-${index}`, 0);
  expect(clients.get("first", 0).acknowledged).toBe(9);

  for (let index = 0; index < 66; index += 1) clients.get(`later-${index}`, 0);
  expect(clients.get("first", 0).acknowledged).toBe(0);
});

test("a client has settled when it has acknowledged all sent entries, or its sockets have closed", async () => {
  const client = new JupyterClients().get("one", 0);
  let requested = 0;
  const open = { ping: () => (requested += 1) };
  client.sockets.add(open);
  client.sent(3);
  const acknowledged = client.settled(60_000);
  client.acknowledge(3);
  await acknowledged;
  expect(requested).toBe(1);

  client.sent(5);
  const closed = client.settled(60_000);
  client.left(open);
  await closed;
  expect(client.acknowledged).toBe(3);
});
