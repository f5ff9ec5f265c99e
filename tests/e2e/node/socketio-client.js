"use strict";
// A socket.io client as browsers have it: begins with polling, then changes to WebSocket. Prints what it saw as JSON.
const { once } = require("node:events");
const { io } = require("socket.io-client");

async function main() {
  const socket = io(process.argv[2], { reconnection: false });
  const failed = once(socket, "connect_error").then(([error]) => { throw error; });
  const began = socket.io.engine.transport.name;
  // Asked for before anything has happened: the change may come before "connect".
  const changed = once(socket.io.engine, "upgrade");
  await Promise.race([once(socket, "connect"), failed]);
  const first = await socket.emitWithAck("echo", "first");
  await changed;
  const second = await socket.emitWithAck("echo", { large: "x".repeat(200000), bytes: Buffer.from([1, 2, 3]) });
  const saw = { began, first: first.data, transport: second.transport, large: second.data.large.length };
  saw.bytes = [...second.data.bytes];
  socket.disconnect();
  console.log(JSON.stringify(saw));
}
main().catch((error) => { console.error(error); process.exit(1); });
