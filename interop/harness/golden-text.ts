/** Golden case 2 (docs/protocol-mapping.md) as a STOMP client sees it: a text with type, correlation, priority and expiry. */
import { equal, truly } from "./expect.ts";

export function expectGoldenText(
  { headers, body }: { readonly headers: Readonly<Record<string, unknown>>; readonly body: Buffer },
  destination: string,
): void {
  equal(body.toString(), "hé");
  equal(headers["destination"], destination);
  equal(headers["a"], "1");
  equal(headers["b"], "true");
  equal(headers["type"], "T");
  equal(headers["correlation-id"], "c1");
  equal(headers["priority"], "7");
  equal(headers["persistent"], "true");
  equal(Number(headers["content-length"]), 3);
  const left = Number(headers["expires"]) - Date.now();
  truly(left > 0 && left <= 5000, `expires within 5 s: ${left}`);
}
