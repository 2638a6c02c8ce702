/** Long lists in pages: `?max=N&after=NUMBER`; a `Link` header with rel="next" names the page behind. */
import type { Context } from "hono";
import type { Page } from "../broker/inspect.ts";
import type { PageRequest } from "../broker/node-pages.ts";
import { numberOf } from "./query.ts";

const PAGE_MAX = 10_000;

export function pageOf(c: Context): PageRequest {
  const after = numberOf(c.req.query("after"), "after");
  const max = numberOf(c.req.query("max"), "max");
  return {
    ...(after === undefined ? {} : { after }),
    ...(max === undefined ? {} : { max: Math.min(Math.max(max, 1), PAGE_MAX) }),
  };
}

export function paged<T>(c: Context, { items, next }: Page<T>): Response {
  if (next !== null) {
    const url = new URL(c.req.url);
    url.searchParams.set("after", String(next));
    c.header("Link", `<${url.pathname}${url.search}>; rel="next"`);
  }
  return c.json(items);
}
