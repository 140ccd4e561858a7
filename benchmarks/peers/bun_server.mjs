// A broadcaster as one writes it with Bun, with topics of µWebSockets; published to through lines on standard input.
const [port, text] = process.argv.slice(2);
const server = Bun.serve({
  port: Number(port),
  hostname: "127.0.0.1",
  fetch: (request, server) => (server.upgrade(request) ? undefined : new Response("", { status: 426 })),
  websocket: {
    open: (client) => client.subscribe("events"),
    message: () => {},
    perMessageDeflate: false,
    idleTimeout: 0, // no pings
  },
});

for await (const line of console) for (let i = 0; i < Number(line); i++) server.publish("events", text);
process.exit(0);
