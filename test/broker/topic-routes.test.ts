/** Who gets a message, and how: filters of a reader taken together, and the answer remembered until something changes. */
import test from "ava";
import type { SubscriptionOptions } from "../../src/broker/session-facade.ts";
import { Binding, Route, type RouteReader, TopicRoutes } from "../../src/broker/topic-routes.ts";

const NS = "/";

function reader(isShared = false): RouteReader {
  return { index: null, volatileIndex: null, progress: null, isShared, deliverNow: () => false };
}

const options = (qos: 0 | 1 | 2, more: Partial<SubscriptionOptions> = {}): SubscriptionOptions => ({
  qos,
  isNoLocal: false,
  isRetainAsPublished: false,
  identifier: 0,
  ...more,
});

function refreshed(routes: TopicRoutes, path: string, publisher: RouteReader | null = null): Route {
  const route = new Route(NS, path);
  route.publisher = publisher;
  routes.refresh(route);
  return route;
}

test("filters of one reader are one grant, those of a shared subscription are not taken together", (t) => {
  for (const others of [0, 20]) {
    const routes = new TopicRoutes();
    const [one, shared] = [reader(), reader(true)];
    routes.add(NS, "a/+", new Binding(one, options(1, { identifier: 7 })));
    routes.add(NS, "a/b", new Binding(one, options(2, { identifier: 8 })));
    routes.add(NS, "#", new Binding(one, options(0, { isRetainAsPublished: true })));
    routes.add(NS, "a/#", new Binding(shared, options(1)));
    routes.add(NS, "+/b", new Binding(shared, options(2)));
    for (let i = 0; i < others; i++) routes.add(NS, "a/b", new Binding(reader(), options(0)));
    const route = refreshed(routes, "a/b");
    t.is(route.direct.length, 2 + others);
    const grant = route.grantOf(one)!;
    t.is(grant.qos, 2);
    t.true(grant.isRetainAsPublished);
    t.deepEqual([...grant.identifiers].sort(), [7, 8]);
    t.true([1, 2].includes(route.grantOf(shared)!.qos));
    // What one filter grants alone is not touched by what others add.
    t.is(refreshed(routes, "a/c").grantOf(one)!.qos, 1);
  }
});

test("a grant that was remembered holds until any subscription changes", (t) => {
  const routes = new TopicRoutes();
  const one = reader();
  const binding = new Binding(one, options(1));
  routes.add(NS, "a/+", binding);
  refreshed(routes, "a/b");
  t.is(routes.recentGrant(NS, "a/b", one)?.qos, 1);
  t.is(routes.recentGrant("other", "a/b", one), undefined);
  t.is(routes.recentGrant(NS, "a/c", one), undefined);
  t.is(routes.recentGrant(NS, "a/b", reader()), undefined);
  binding.options = options(2);
  routes.changed();
  t.is(routes.recentGrant(NS, "a/b", one), undefined);
  refreshed(routes, "a/b");
  t.is(routes.recentGrant(NS, "a/b", one)?.qos, 2);
  routes.remove(NS, "a/+", binding);
  t.is(routes.recentGrant(NS, "a/b", one), undefined);
});

test("what a publisher does not get of its own is not taken for what it gets of others", (t) => {
  const routes = new TopicRoutes();
  const [one, two] = [reader(), reader()];
  routes.add(NS, "a/b", new Binding(one, options(2, { isNoLocal: true })));
  routes.add(NS, "a/#", new Binding(one, options(1)));
  routes.add(NS, "a/b", new Binding(two, options(1)));
  const route = refreshed(routes, "a/b", one);
  t.is(route.grantOf(one)?.qos, 1);
  t.is(routes.recentGrant(NS, "a/b", one), undefined);
  t.is(routes.recentGrant(NS, "a/b", two)?.qos, 1);
});
