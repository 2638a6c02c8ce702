/**
 * Long lists in pages: `?max=N&after=NUMBER`, of queues and topics also `?prefix=NAME&active=true`; a `Link` header with rel="next" names the page behind.
 */
import type { Context } from "hono";
import type { Page } from "../broker/inspect.ts";
import type { PageRequest } from "../broker/node-pages.ts";
import { numberOf } from "./query.ts";

const PAGE_MAX = 10_000;
const PAGE_DEFAULT = 1000;

export function pageOf(c: Context): PageRequest {
  const after = numberOf(c.req.query("after"), "after");
  const max = numberOf(c.req.query("max"), "max");
  const name = c.req.query("prefix");
  const namespace = c.req.query("namespace") ?? "/";
  return {
    ...(name === undefined ? {} : { prefix: { namespace, name } }),
    ...(c.req.query("active") === "true" ? { isAwake: true } : {}),
    ...(after === undefined ? {} : { after }),
    ...(max === undefined ? {} : { max: Math.min(Math.max(max, 1), PAGE_MAX) }),
  };
}

/** The page of a list that is ordered by number. */
export function numbered<T extends { readonly id: number }>(
  items: readonly T[],
  { after = 0, max = PAGE_DEFAULT }: PageRequest,
): Page<T> {
  const from = items.findIndex(({ id }) => id > after);
  const page = from < 0 ? [] : items.slice(from, from + max);
  const isLast = from < 0 || from + max >= items.length;
  return { items: page, next: isLast ? null : page.at(-1)!.id };
}

export function paged<T>(c: Context, { items, next }: Page<T>): Response {
  if (next !== null) {
    const url = new URL(c.req.url);
    url.searchParams.set("after", String(next));
    c.header("Link", `<${url.pathname}${url.search}>; rel="next"`);
  }
  return c.json(items);
}
