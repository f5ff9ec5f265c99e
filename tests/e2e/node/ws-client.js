"use strict";
// A client of `ws`: goes through its steps against an echo server and prints what it saw as JSON.
const { once } = require("node:events");
const { WebSocket } = require("ws");

async function main() {
  const socket = new WebSocket(process.argv[2], { perMessageDeflate: { threshold: 0 } });
  await once(socket, "open");
  const saw = { extensions: socket.extensions };
  socket.send("héllo");
  saw.text = (await once(socket, "message"))[0].toString();
  const bytes = Buffer.alloc(1024 * 1024, 7);
  socket.send(bytes);
  const [back, isBinary] = await once(socket, "message");
  saw.binary = isBinary && bytes.equals(back);
  socket.send("one ", { fin: false });
  socket.send("two", { fin: true });
  saw.pieces = (await once(socket, "message"))[0].toString();
  socket.ping("p");
  saw.pong = (await once(socket, "pong"))[0].toString();
  socket.send("close 4002 bye");
  const [code, reason] = await once(socket, "close");
  saw.code = code;
  saw.reason = reason.toString();
  console.log(JSON.stringify(saw));
}
main().catch((error) => { console.error(error); process.exit(1); });
