/** What all MQTT connections of a broker share. */
import type { ProtocolServices } from "../../src/broker/protocol-services.ts";
import type { SessionHost } from "../../src/broker/session-facade.ts";
import type { Counters } from "./counters.ts";
import type { MqttSettings } from "./settings.ts";
import type { SharedPackets } from "./shared-packets.ts";
import type { SysTree } from "./sys-tree.ts";

export interface MqttServer {
  readonly services: ProtocolServices;
  readonly sessions: SessionHost;
  /** Of connections that come from now on. */
  settings: MqttSettings;
  readonly counters: Counters;
  readonly sysTree: SysTree;
  readonly packets: SharedPackets;
}
