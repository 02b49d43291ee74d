// The npm MCP client as a command: connects, lists the tools, calls one, and prints what happens,
// one JSON object a line. Written in CommonJS because only that looks into NODE_PATH.
//
//   node client.cjs URL http|sse TOOL ARGUMENTS-AS-JSON [TOOL-TO-CALL-ON-EACH-PROGRESS]
//
// MCP_CONNECT_TO   address to dial for every name, as with curl --connect-to
// NODE_EXTRA_CA_CERTS   who certifies the server (Node's own variable)
"use strict";

const dns = require("node:dns");

const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { SSEClientTransport } = require("@modelcontextprotocol/sdk/client/sse.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");

const [url, kind, tool, argumentsText, onProgress] = process.argv.slice(2);
const transports = { http: StreamableHTTPClientTransport, sse: SSEClientTransport };

if (process.env.MCP_CONNECT_TO) {
  const lookup = dns.lookup;
  dns.lookup = (_name, ...rest) => lookup(process.env.MCP_CONNECT_TO, ...rest);
}

function say(event, fields) {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

async function main() {
  const transport = new transports[kind](new URL(url));
  const client = new Client({ name: "mcp-judge", version: "1" });
  await client.connect(transport);
  say("connected", { server: client.getServerVersion().name });
  const { tools } = await client.listTools();
  say("tools", { names: tools.map((item) => item.name).sort() });
  const answers = [];
  const onprogress = ({ progress }) => {
    say("progress", { progress });
    if (onProgress) {
      answers.push(client.callTool({ name: onProgress, arguments: {} }));
    }
  };
  const result = await client.callTool({ name: tool, arguments: JSON.parse(argumentsText) }, undefined, {
    onprogress,
    timeout: 20000,
  });
  await Promise.all(answers);
  say("result", { isError: Boolean(result.isError), content: result.content });
  if (kind === "http") {
    await transport.terminateSession();
  }
  await client.close();
}

main().catch((error) => {
  say("failed", { message: String(error), cause: String(error.cause ?? "") });
  process.exitCode = 1;
});
