import test from "ava";
import { retryDelayMs, settingsFor } from "../src/broker/policy.ts";
import { ConfigError, loadConfig } from "../src/config/load.ts";
import { destinationSettings } from "../src/destination-settings.ts";
import { temporaryFile } from "./support/temporary-folder.ts";

test("retries: none, fixed, doubling, RocketMQ's table, one's own; a policy's word counts", (t) => {
  const file = temporaryFile(
    t,
    "sluice.toml",
    `[queues]
retryTable = "rocketmq"
[[policies]]
match = "fixed"
retryDelay = "3s"
[[policies]]
match = "double"
retryDelay = "1s"
retryDelayMax = "5s"
[[policies]]
match = "own"
retryTable = "100ms 1m"
[[policies]]
match = "none"
retryDelay = 0
`,
  );
  const { queueDefaults, policies } = destinationSettings(loadConfig({ file }));
  const waits = (name: string, ...failures: number[]): number[] => {
    const { retry } = settingsFor("queue", name, queueDefaults, policies);
    return failures.map((count) => retryDelayMs(retry, count) / 1000);
  };
  t.deepEqual(waits("any", 1, 2, 3, 12, 13, 16, 17), [10, 30, 60, 600, 1200, 7200, 7200]);
  t.deepEqual(waits("fixed", 1, 9), [3, 3]);
  t.deepEqual(waits("double", 1, 2, 3, 4), [1, 2, 4, 5]);
  t.deepEqual(waits("own", 1, 2, 3), [0.1, 60, 60]);
  t.deepEqual(waits("none", 1), [0]);
  t.is(destinationSettings(loadConfig()).queueDefaults.retry.kind, "none");
});

test("shards of topics: for all, or by a policy; between 1 and 64", (t) => {
  const file = temporaryFile(
    t,
    "sluice.toml",
    `[topics]
shards = 2
[[policies]]
match = "orders"
kind = "topic"
shards = 8
`,
  );
  const { topicDefaults, queueDefaults, policies } = destinationSettings(loadConfig({ file }));
  t.is(settingsFor("topic", "any", topicDefaults, policies).shards, 2);
  t.is(settingsFor("topic", "orders", topicDefaults, policies).shards, 8);
  t.is(queueDefaults.shards, 1);
  for (const wrong of [0, 65]) {
    t.throws(() => loadConfig({ settings: [`topics.shards=${wrong}`] }), {
      instanceOf: ConfigError,
    });
  }
});

test("a table that is none, and a dead-letter queue that is the broker's own, are said where they stand", (t) => {
  for (const [key, value, expected] of [
    ["retryTable", "rocket", /queues\.retryTable: expected "rocketmq" or durations such as/],
    ["retryTable", "10s soon", /not "10s soon"/],
    ["deadLetterTo", "~delayed", /queues\.deadLetterTo: .*begin with ~/],
  ] as const) {
    const error = t.throws(() => loadConfig({ settings: [`queues.${key}=${value}`] }), {
      instanceOf: ConfigError,
    });
    t.regex(error!.message, expected);
  }
});
