/** A client of a session that takes everything and says nothing. */
import type { SessionSink } from "../../src/broker/session-facade.ts";
import { Collector } from "./test-client.ts";

export const SESSION_SINK: SessionSink = {
  openSource: () => new Collector(),
  closeSource: () => {},
  deliverNow: () => true,
  onTakenOver: () => [],
  onEnded: () => {},
};
