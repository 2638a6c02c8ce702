/**
 * How long one publish takes to find its subscribers among 100,000 subscriptions: matching alone, CPU time, for several
 * mixes of filters, with 20,000 topics in an order that no cache likes.
 * Run: node --import tsx bench/micro/topic-trie.ts
 */
import { TopicTrie } from "../../src/model/topic-trie.ts";

const SUBSCRIPTIONS = 100_000;
const SITES = 500;
const DEVICES = 20_000;
const PUBLISHES = 500_000;
const ROUNDS = 3;

const exact = (site: number, device: number): string => `site/${site}/device/${device}/temp`;

/** Filters by their number: exact ones, `a/+/c`, `a/#`, `+/b/#`, and all of them together. */
const MIXES: Record<string, (i: number) => string> = {
  "exact filters": (i) => exact(i % SITES, i % DEVICES),
  "a/+/c": (i) =>
    i % 2 === 0 ? `site/+/device/${i % DEVICES}/temp` : `site/${i % SITES}/+/${i % DEVICES}/temp`,
  "a/#": (i) =>
    i % 1000 === 0 ? `site/${(i / 1000) % SITES}/#` : `site/${i % SITES}/device/${i % DEVICES}/#`,
  "+/b/#": (i) =>
    i % 1000 === 0 ? `+/${(i / 1000) % SITES}/#` : `+/${i % SITES}/+/${i % DEVICES}/#`,
  "all of these": (i) => {
    const names = ["exact filters", "a/+/c", "a/#", "+/b/#"];
    return MIXES[names[i % 4]!]!(i);
  },
  "as in bench/scale": (i) => {
    const site = i % SITES;
    const device = i % DEVICES;
    if (i % 4 === 0) return `site/${site}/device/${device}/+`;
    if (i % 4 === 1) return `site/+/device/${device}/temp`;
    return i % 4 === 2 ? `site/${site}/device/${device}/#` : `+/${site}/+/${device}/temp`;
  },
};

const cpuNanos = (since?: NodeJS.CpuUsage): number => {
  const { user, system } = process.cpuUsage(since);
  return (user + system) * 1000;
};

for (const [name, filterOf] of Object.entries(MIXES)) {
  const trie = new TopicTrie<number>();
  for (let i = 0; i < SUBSCRIPTIONS; i++) trie.add(filterOf(i), i);
  // Of the same sites and devices as the filters, but for the last mix.
  const siteOf = (i: number): number => (name === "as in bench/scale" ? i * 7 : i * 31) % SITES;
  const paths = Array.from({ length: DEVICES }, (_, i) => exact(siteOf(i), (i * 31) % DEVICES));
  let found = 0;
  const count = (): void => {
    found++;
  };
  for (const path of paths) trie.match(path, count);
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    found = 0;
    const began = process.cpuUsage();
    for (let i = 0, at = 0; i < PUBLISHES; i++) {
      at = (at + 7919) % DEVICES;
      trie.match(paths[at]!, count);
    }
    best = Math.min(best, cpuNanos(began) / PUBLISHES);
  }
  process.stdout.write(
    `${name.padEnd(18)} ${SUBSCRIPTIONS} subscriptions: ${(best / 1000).toFixed(2)} µs CPU per publish, ` +
      `${(found / PUBLISHES).toFixed(2)} matches each\n`,
  );
}
