// A broadcaster as one writes it with `ws` on Node.js; published to through lines on standard input.
import { createInterface } from "node:readline";
import { WebSocketServer } from "ws";

const [port, text] = process.argv.slice(2);
const server = new WebSocketServer({ port: Number(port), host: "127.0.0.1", perMessageDeflate: false, backlog: 4096 });

createInterface({ input: process.stdin })
  .on("line", (line) => {
    for (let i = 0; i < Number(line); i++) for (const client of server.clients) client.send(text);
  })
  .on("close", () => process.exit(0));
