/**
 * Messages that wait for their time, over HTTP: looked at by anybody with the right admin, taken back with DELETE.
 *
 *   GET    /api/delayed            ?queue= | ?topic= | ?message=ID  &namespace= &from=NUMBER &max=N
 *   GET    /api/delayed/NUMBER
 *   DELETE /api/delayed/NUMBER
 *   DELETE /api/delayed            ?queue= | ?topic= | ?message=ID  &namespace=
 */
import type { Context, Hono } from "hono";
import type { DelayedFilter } from "../broker/delayed.ts";
import { BrokerError } from "../model/errors.ts";
import type { AdminEnv } from "./app.ts";
import { numberOf } from "./query.ts";
import type { AdminSources } from "./sources.ts";

export function addDelayed(app: Hono<AdminEnv>, sources: AdminSources): void {
  const { delayed, logger } = sources;

  app.get("/api/delayed", (c) => {
    const from = numberOf(c.req.query("from"), "from");
    const max = numberOf(c.req.query("max"), "max");
    return c.json(delayed.list(filterOf(c), from, max));
  });

  app.get("/api/delayed/:number", (c) => {
    const number = numberOf(c.req.param("number"), "number")!;
    const found = delayed.find(number);
    return found === undefined ? c.json({ error: gone(number) }, 404) : c.json(found);
  });

  app.delete("/api/delayed/:number", async (c) => {
    const number = numberOf(c.req.param("number"), "number")!;
    if (!(await delayed.cancel(number))) return c.json({ error: gone(number) }, 404);
    logger.info("admin.cancelled", { user: c.get("user"), number });
    return c.json({ cancelled: 1 });
  });

  app.delete("/api/delayed", async (c) => {
    const filter = filterOf(c);
    const cancelled = await delayed.cancelAll(filter);
    logger.info("admin.cancelled", { user: c.get("user"), ...filter, cancelled });
    return c.json({ cancelled });
  });
}

const gone = (number: number): string =>
  `no message ${number} waits: it was delivered, taken back, or never there`;

function filterOf(c: Context<AdminEnv>): DelayedFilter {
  const { queue, topic, message, namespace = "/" } = c.req.query();
  if (queue !== undefined && topic !== undefined) {
    throw new BrokerError("invalid-argument", "name a queue or a topic, not both");
  }
  const name = queue ?? topic;
  return {
    ...(name === undefined
      ? {}
      : { namespace, name, kind: queue === undefined ? "topic" : "queue" }),
    ...(c.req.query("namespace") === undefined ? {} : { namespace }),
    ...(message === undefined ? {} : { messageId: message }),
  };
}
