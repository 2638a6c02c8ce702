/** What the MQTT listeners have done since the start: plain numbers, read by metrics and by the `$SYS` tree. */
export class Counters {
  connections = 0;
  connectionsTotal = 0;
  connectionsMax = 0;
  packetsIn = 0;
  publishesIn = 0;
  publishesOut = 0;
  /** Payload bytes. */
  bytesIn = 0;
  bytesOut = 0;
  /** QoS 0 messages that a slow reader did not get. */
  dropped = 0;
  /** Messages not sent because the client takes no packets of their size. */
  tooLarge = 0;
  /** Messages of other protocols that could not be converted. */
  unreadable = 0;
  /** QoS 0 and MQTT 3 messages that were refused and could not be answered. */
  refused = 0;
  protocolErrors = 0;
}
