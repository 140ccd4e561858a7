// A broadcaster as one writes it with Socket.IO; published to through lines on standard input.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Server } from "socket.io";

const [port, text] = process.argv.slice(2);
const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });
http.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });

createInterface({ input: process.stdin })
  .on("line", (line) => {
    for (let i = 0; i < Number(line); i++) io.emit("event", text);
  })
  .on("close", () => process.exit(0));
