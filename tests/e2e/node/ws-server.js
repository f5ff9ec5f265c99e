"use strict";
// An echo server of `ws`; prints its port. Answers "head" with the request's fields, "close N R" by closing.
const { WebSocketServer } = require("ws");

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: true }, () =>
  console.log(`port ${server.address().port}`),
);
server.on("connection", (socket, request) => {
  socket.on("message", (data, isBinary) => {
    const text = isBinary ? "" : data.toString();
    const close = /^close (\d+) (.*)$/.exec(text);
    if (close) socket.close(Number(close[1]), close[2]);
    else if (text === "head") socket.send(JSON.stringify(request.headers));
    else socket.send(data, { binary: isBinary });
  });
});
