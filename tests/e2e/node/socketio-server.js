"use strict";
// A socket.io server; prints its port. "echo" is answered with what was sent and how the client is connected.
const http = require("node:http");
const { Server } = require("socket.io");

const server = http.createServer();
new Server(server).on("connection", (socket) => {
  socket.on("echo", (data, answer) => answer({ data, transport: socket.conn.transport.name }));
});
server.listen(0, "127.0.0.1", () => console.log(`port ${server.address().port}`));
