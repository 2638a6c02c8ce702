/**
 * Stored records as STOMP messages: the destination as the subscriber would write it, and records that came in over other
 * protocols, converted once per message and version.
 */
import { isUtf8 } from "node:buffer";
import { makeAddress } from "../../src/model/address.ts";
import { FLAG, type RecordView } from "../../src/model/record-view.ts";
import type { StompVersion } from "./codec/header-escape.ts";
import type { ConvertedMessage } from "./codec/message-writer.ts";
import type { Destinations } from "./destinations.ts";

export class RecordSpelling {
  readonly #destinations: Destinations;

  constructor(destinations: Destinations) {
    this.#destinations = destinations;
  }

  /** The topic of a record that came through a subscription with wildcards, in the style of that subscription. */
  topicOf(record: RecordView, subscribed: string): string {
    const root = record.topic;
    const tag = (record.flag & FLAG.TAG_IN_PATH) !== 0 ? record.property("TAGS") : undefined;
    const path = tag === undefined ? root : `${root}/${tag}`;
    const spelled = this.#destinations.spell(makeAddress("topic", path));
    return subscribed.startsWith("topic://")
      ? `topic://${spelled.slice("/topic/".length)}`
      : spelled;
  }

  /** May the whole frame go into a WebSocket text message? Headers always may. */
  isText(record: RecordView): boolean {
    return isUtf8(record.buffer.subarray(record.bodyStart, record.bodyEnd));
  }

  convert(record: RecordView, _version: StompVersion): ConvertedMessage {
    return {
      headers: Buffer.alloc(0),
      body: record.buffer,
      bodyStart: record.bodyStart,
      bodyEnd: record.bodyEnd,
      isText: false,
    };
  }
}
