/** Serves the page with the clients on loopback: our script, and the libraries' own bundles as they are in their packages. */
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { ROOT } from "./paths.ts";

const FILES: Readonly<Record<string, readonly [path: string, type: string]>> = {
  "/": ["interop/browser/index.html", "text/html; charset=utf-8"],
  "/page.js": ["interop/browser/page.js", "text/javascript; charset=utf-8"],
  "/stomp.js": ["node_modules/@stomp/stompjs/bundles/stomp.umd.min.js", "text/javascript"],
  "/mqtt.js": ["node_modules/mqtt/dist/mqtt.min.js", "text/javascript"],
};

export interface PageServer {
  readonly port: number;
  close(): Promise<void>;
}

export async function servePage(): Promise<PageServer> {
  const server: Server = createServer((request, response) => {
    const file = FILES[request.url ?? ""];
    if (file === undefined) {
      response.writeHead(404).end();
      return;
    }
    const [path, type] = file;
    response.writeHead(200, { "content-type": type }).end(readFileSync(join(ROOT, path)));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
