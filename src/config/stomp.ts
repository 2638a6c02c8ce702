/** The section `[stomp]`. */
import * as z from "zod";
import { choice, count, duration, flag, texts } from "./values.ts";

export const stompSection = z
  .strictObject({
    heartbeatSend: duration("10s", "Heart-beats this broker offers to send; 0 for none."),
    heartbeatReceive: duration("10s", "Heart-beats it wants from clients; 0 for none."),
    idleTimeout: duration(
      "0ms",
      "Clients without heart-beats are dropped after so long without a byte; 0 for never.",
    ),
    prefetch: count(
      1000,
      "Messages sent ahead of their ACK when SUBSCRIBE gives no number of its own.",
      { min: 1 },
    ),
    subscriptionsMax: count(1024, "Subscriptions of one connection.", { min: 1 }),
    transactionsMax: count(64, "Open transactions of one connection.", { min: 1 }),
    strictErrors: flag(
      true,
      "Every ERROR ends the connection, as STOMP 1.1 and 1.2 say. Otherwise a refused SEND or SUBSCRIBE only gets its ERROR.",
    ),
    redeliverOnAbort: flag(
      true,
      "ABORT gives acknowledged messages back for redelivery; otherwise they wait for another ACK.",
    ),
    virtualHosts: texts(
      [],
      "Values of the header `host` that are a namespace of their own. Host names and addresses mean the default one.",
    ),
    acceptAnyHost: flag(false, "Takes every other `host` for the default namespace."),
    compat: choice(
      ["activemq", "rabbitmq"],
      "activemq",
      "How a temporary queue of another client is spelled in `reply-to`: `/remote-temp-queue/…` or `/reply-queue/…`. Both are understood.",
    ),
    persistentQueues: flag(true, "What a missing `persistent` header means on a queue."),
    persistentTopics: flag(false, "What a missing `persistent` header means on a topic."),
    defaultKind: choice(
      ["queue", "topic"],
      "queue",
      "What a destination without prefix is, unless one of that name exists.",
    ),
  })
  .prefault({})
  .meta({ description: "STOMP 1.0, 1.1 and 1.2. See docs/stomp.md." });
