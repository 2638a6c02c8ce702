/** The section `[mqtt]`. */
import * as z from "zod";
import { bytes, choice, count, duration, flag } from "./values.ts";

const YEAR_MS = 365 * 24 * 3600 * 1000;

export const mqttSection = z
  .strictObject({
    v3SessionExpiry: duration(
      "7d",
      "How long a MQTT 3 session with clean session 0 is kept after its connection.",
      { max: 100 * YEAR_MS },
    ),
    sessionExpiryMax: duration(
      "0ms",
      "Longest time any session is kept after its connection; a MQTT 5 client is told. 0 for no limit.",
      { max: 100 * YEAR_MS },
    ),
    sharedExpiry: duration(
      "1h",
      "How long a shared subscription goes on collecting messages after its last member left.",
      { max: YEAR_MS },
    ),
    keepAliveMax: duration(
      "1h",
      "A longer keep-alive of a MQTT 5 client is cut to this, and it is told. 0 (none) stays allowed.",
      { min: 1000, max: 65_535_000 },
    ),
    inflightMax: count(
      1000,
      "QoS 1 and 2 messages on their way to a client that names no Receive Maximum.",
      { min: 1, max: 65_535 },
    ),
    receiveMaximum: count(1024, "QoS 1 and 2 messages a MQTT 5 client may have open towards us.", {
      min: 1,
      max: 65_535,
    }),
    topicAliasMax: count(64, "Topic aliases a client may define on its connection; 0 for none.", {
      max: 65_535,
    }),
    queuedMax: count(
      0,
      "Messages that may wait for one session or shared subscription, those on their way not counted; 0 for no limit.",
    ),
    queuedInMemoryMax: count(
      1_000_000,
      "The same for sessions that end with their connection: their lists are in memory, 16 bytes for each message. Topic subscribers of AMQP and STOMP that end with their link may fall behind as far.",
      { min: 1 },
    ),
    queueOverflow: choice(
      ["drop-oldest", "drop-newest", "reject"],
      "drop-oldest",
      "When that many wait: drop the oldest, drop the newest, or refuse the publisher (0x97; MQTT 3 is disconnected).",
    ),
    directBytesMax: bytes(
      "1MiB",
      "QoS 0 messages are dropped for a connection that has more than this waiting to be sent.",
    ),
    checkPayloadFormat: flag(
      true,
      "A payload that claims to be UTF-8 (Payload Format Indicator 1) is checked.",
    ),
    closeOnDeny: flag(
      false,
      "MQTT 3 has no word for a publish that is not allowed: close the connection, rather than acknowledge and drop it.",
    ),
    sysInterval: duration("10s", "How often `$SYS` values are sent; 0 turns the tree off.", {
      max: 3_600_000,
    }),
  })
  .prefault({})
  .meta({ description: "MQTT 3.1, 3.1.1 and 5.0. See docs/mqtt.md." });
