/**
 * How long one publish takes to find its subscribers among 100,000 wildcard subscriptions.
 * Run: node --import tsx bench/micro/topic-trie.ts
 */
import { TopicTrie } from "../../src/model/topic-trie.ts";

const SUBSCRIPTIONS = 100_000;
const PUBLISHES = 1_000_000;

const trie = new TopicTrie<number>();
for (let i = 0; i < SUBSCRIPTIONS; i++) {
  const site = i % 500;
  const device = i % 20_000;
  switch (i % 5) {
    case 0:
      trie.add(`site/${site}/device/${device}/+`, i);
      break;
    case 1:
      trie.add(`site/+/device/${device}/temp`, i);
      break;
    case 2:
      trie.add(`site/${site}/device/${device}/#`, i);
      break;
    case 3:
      trie.add(`+/${site}/+/${device}/temp`, i);
      break;
    default:
      trie.add(`site/#/d${device}`, i);
  }
}
const paths = Array.from(
  { length: 1024 },
  (_, i) => `site/${(i * 7) % 500}/device/${(i * 31) % 20_000}/temp`,
);
let found = 0;
const count = (): void => {
  found += 1;
};
for (let i = 0; i < 50_000; i++) trie.match(paths[i & 1023]!, count);
found = 0;
const heapBefore = process.memoryUsage().heapUsed;
const started = process.hrtime.bigint();
for (let i = 0; i < PUBLISHES; i++) trie.match(paths[i & 1023]!, count);
const ns = Number(process.hrtime.bigint() - started) / PUBLISHES;
const heapGrowth = process.memoryUsage().heapUsed - heapBefore;
process.stdout.write(
  `${SUBSCRIPTIONS} subscriptions: ${ns.toFixed(0)} ns per publish, ${(found / PUBLISHES).toFixed(2)} matches each, ` +
    `heap ${(heapGrowth / PUBLISHES).toFixed(2)} bytes per publish\n`,
);
