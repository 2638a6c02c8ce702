/**
 * What an operator may do over HTTP: purge, delete, move dead letters back, close connections. Every request has to be
 * JSON, which no page of another origin can send, and every one is in the log with who asked.
 */
import type { Hono } from "hono";
import { BrokerError } from "../model/errors.ts";
import { StartError } from "../start-error.ts";
import type { AdminEnv } from "./app.ts";
import type { AdminSources } from "./sources.ts";

const MOVE_MAX = 1_000_000;

export function addChanges(app: Hono<AdminEnv>, sources: AdminSources): void {
  const { operations, logger } = sources;

  app.use(async (c, next) => {
    const type = c.req.header("content-type")?.split(";")[0]?.trim().toLowerCase();
    if (c.req.method !== "GET" && type !== "application/json") {
      return c.json({ error: "expected Content-Type: application/json" }, 415);
    }
    return next();
  });

  for (const [path, kind] of [
    ["queues", "queue"],
    ["topics", "topic"],
  ] as const) {
    app.delete(`/api/${path}/:name`, (c) => {
      const { name } = c.req.param();
      const namespace = c.req.query("namespace") ?? "/";
      operations.delete(
        { kind, namespace, name },
        {
          ifUnused: c.req.query("ifUnused") === "true",
          ifEmpty: c.req.query("ifEmpty") === "true",
        },
      );
      logger.info("admin.deleted", { user: c.get("user"), kind, namespace, name });
      return c.json({ deleted: name });
    });
    app.post(`/api/${path}/:name/purge`, (c) => {
      const { name } = c.req.param();
      const namespace = c.req.query("namespace") ?? "/";
      const group = c.req.query("group") ?? "";
      const purged = operations.purge({ kind, namespace, name }, group);
      logger.info("admin.purged", { user: c.get("user"), kind, namespace, name, group, purged });
      return c.json({ purged });
    });
  }

  app.post("/api/reload", async (c) => {
    if (sources.reload === undefined) return c.json({ error: "nothing to read again" }, 404);
    try {
      const report = await sources.reload();
      logger.info("admin.reloaded", { user: c.get("user") });
      return c.json(report);
    } catch (error) {
      if (error instanceof StartError) return c.json({ error: error.message }, 400);
      throw error;
    }
  });

  app.post("/api/queues/:name/move", async (c) => {
    const { name } = c.req.param();
    const namespace = c.req.query("namespace") ?? "/";
    const to = c.req.query("to");
    const max = c.req.query("max");
    if (max !== undefined && !/^\d{1,9}$/.test(max)) {
      throw new BrokerError("invalid-argument", `max=${max}: expected a number`);
    }
    const moved = await operations.move(name, to, namespace, Number(max ?? MOVE_MAX));
    logger.info("admin.moved", { user: c.get("user"), namespace, name, to, moved });
    return c.json({ moved });
  });

  app.delete("/api/connections/:id", (c) => {
    const { id } = c.req.param();
    const user = c.get("user");
    if (!operations.closeConnection(Number(id), "closed by an operator")) {
      return c.json({ error: `no connection ${id}` }, 404);
    }
    logger.info("admin.disconnected", { user, connection: id });
    return c.json({ closed: Number(id) });
  });
}
