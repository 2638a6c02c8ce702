/**
 * The HTTP side: health, metrics and a JSON API. GET never changes anything; what does is in changes.ts.
 *
 *   /healthz                    200 while the process serves                  no login
 *   /readyz                     200 while messages are taken                  no login
 *   /metrics                    Prometheus text
 *   /api/overview  /api/config  /api/quotas /api/queues[/NAME]  /api/topics[/NAME]  /api/groups  /api/consumers  /api/connections
 *   /api/delayed[/NUMBER]       messages that wait for their time: delayed.ts
 *   /api/queues/NAME/messages   ?from=OFFSET&max=N&shard=N&settled=true | ?offset=N | ?key=TEXT
 *
 * Queues, topics and groups come in pages (pages.ts). `?namespace=` where names are given; the default namespace is `/`.
 */
import { getRequestListener } from "@hono/node-server";
import { Hono } from "hono";
import { BrokerError } from "../model/errors.ts";
import type { RequestHandler } from "../transport/http-gateway.ts";
import type { WireInfo } from "../transport/wire.ts";
import { checkAccess } from "./access.ts";
import { addChanges } from "./changes.ts";
import { addDelayed } from "./delayed.ts";
import { createMetrics } from "./metrics.ts";
import { numbered, paged, pageOf } from "./pages.ts";
import { numberOf } from "./query.ts";
import type { AdminSources } from "./sources.ts";

export type AdminEnv = { Bindings: { readonly peer: WireInfo }; Variables: { user: string } };

const MAX_DEFAULT = 100;

export function createAdminApp(sources: AdminSources): Hono<AdminEnv> {
  const { inspection, config } = sources;
  const metrics = createMetrics(sources, config.metrics.destinationsMax);
  const app = new Hono<AdminEnv>();

  app.get("/healthz", (c) => c.text("ok\n"));
  app.get("/readyz", (c) => {
    const { blocked, store } = inspection.overview();
    if (!sources.isReady()) return c.text("stopping\n", 503);
    if (store !== "ok" || blocked !== null) return c.text(`${blocked ?? `store ${store}`}\n`, 503);
    return c.text("ready\n");
  });

  app.use(async (c, next) => {
    const access = await checkAccess(
      sources,
      c.env.peer,
      c.req.header("authorization"),
      c.req.header("host"),
    );
    if (access.kind === "denied") {
      if (access.status === 401) c.header("WWW-Authenticate", 'Basic realm="sluice"');
      return c.json({ error: access.reason }, access.status);
    }
    c.set("user", access.user);
    c.header("Cache-Control", "no-store");
    c.header("X-Content-Type-Options", "nosniff");
    return next();
  });

  app.get("/metrics", async (c) =>
    c.body(await metrics.text(), 200, { "Content-Type": metrics.contentType }),
  );
  app.get("/api/overview", (c) => c.json(inspection.overview()));
  app.get("/api/config", (c) => c.json(sources.config));
  app.get("/api/quotas", (c) => c.json([...sources.quotas.views()]));
  app.get("/api/groups", (c) => paged(c, inspection.groups(pageOf(c))));
  app.get("/api/consumers", (c) => paged(c, numbered(inspection.consumers(), pageOf(c))));
  app.get("/api/connections", (c) => paged(c, numbered(inspection.connections(), pageOf(c))));

  /** Messages of `orders/eu` are in the topic `orders`, whoever looks for the whole name. */
  const absent = (kind: "queue" | "topic", namespace: string, name: string): string => {
    const [first = ""] = name.split(/[./]/);
    const isLevel = kind === "topic" && first !== name && first !== "";
    const hint =
      isLevel && inspection.node("topic", namespace, first) !== undefined
        ? `: its messages are in the topic of its first level, "${first}"`
        : "";
    return `no ${kind} "${name}"${hint}`;
  };

  for (const [path, kind] of [
    ["queues", "queue"],
    ["topics", "topic"],
  ] as const) {
    app.get(`/api/${path}`, (c) => paged(c, inspection.nodes(kind, pageOf(c))));
    app.get(`/api/${path}/:name`, (c) => {
      const { name } = c.req.param();
      const namespace = c.req.query("namespace") ?? "/";
      const node = inspection.node(kind, namespace, name);
      if (node === undefined) return c.json({ error: absent(kind, namespace, name) }, 404);
      const groups = inspection.groupsOf(kind, namespace, name);
      return c.json({ ...node, groups });
    });
    app.get(`/api/${path}/:name/messages`, (c) => {
      const { name } = c.req.param();
      const namespace = c.req.query("namespace") ?? "/";
      if (inspection.node(kind, namespace, name) === undefined) {
        return c.json({ error: absent(kind, namespace, name) }, 404);
      }
      const key = c.req.query("key") ?? c.req.query("id");
      if (key !== undefined) {
        return c.json(inspection.messagesByKey(kind, namespace, name, key));
      }
      const shard = numberOf(c.req.query("shard"), "shard");
      const offset = numberOf(c.req.query("offset"), "offset");
      if (offset !== undefined) {
        const message = inspection.messageAt(kind, namespace, name, shard ?? 0, offset);
        return message === undefined
          ? c.json({ error: `no message at offset ${offset}` }, 404)
          : c.json([message]);
      }
      const from = numberOf(c.req.query("from"), "from");
      return c.json(
        inspection.browse(
          { kind, namespace, name },
          {
            max: numberOf(c.req.query("max"), "max") ?? MAX_DEFAULT,
            withSettled: c.req.query("settled") === "true",
            ...(from === undefined ? {} : { from }),
            ...(shard === undefined ? {} : { queueId: shard }),
          },
        ),
      );
    });
  }

  addChanges(app, sources);
  addDelayed(app, sources);

  app.notFound((c) => c.json({ error: `nothing at ${c.req.path}` }, 404));
  app.onError((error, c) => {
    if (error instanceof BrokerError) {
      const status = statusOf(error);
      return c.json({ error: error.message, code: error.code }, status);
    }
    sources.logger.error("admin.failed", { path: c.req.path, error });
    return c.json({ error: "internal error; see the log" }, 500);
  });
  return app;
}

function statusOf({ code, isRetriable }: BrokerError): 400 | 403 | 404 | 503 {
  if (code === "not-found") return 404;
  if (code === "unauthorized") return 403;
  return isRetriable ? 503 : 400;
}

/** The app as the listener's handler. */
export function createAdminHandler(sources: AdminSources): RequestHandler {
  const app = createAdminApp(sources);
  const peers = new WeakMap<object, WireInfo>();
  const listener = getRequestListener((request, env) =>
    app.fetch(request, { peer: peers.get(env.incoming)! }),
  );
  return (request, response, peer) => {
    peers.set(request, peer);
    void listener(request, response);
  };
}
