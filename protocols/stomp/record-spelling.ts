/**
 * Stored records as this connection's peer sees them: the destination as its subscriber would write it, and records that
 * came in over other protocols, converted (neutral.ts).
 */
import { makeAddress } from "../../src/model/address.ts";
import { pathOfRecord } from "../../src/model/record-fields.ts";
import type { RecordView } from "../../src/model/record-view.ts";
import type { StompVersion } from "./codec/header-escape.ts";
import type { ConvertedMessage } from "./codec/message-writer.ts";
import type { Destinations } from "./destinations.ts";
import { convertRecord, type Spell } from "./neutral.ts";

const TOPIC_URL = "topic://";
const TOPIC_PATH = "/topic/";

export class RecordSpelling {
  readonly #style: string;
  readonly #spell: Spell;

  constructor(destinations: Destinations) {
    this.#style = destinations.style;
    this.#spell = (address) => destinations.spell(address);
  }

  /** The topic of a record that came through a subscription with wildcards, in the style of that subscription. */
  topicOf(record: RecordView, subscribed: string): string {
    const spelled = this.#spell(makeAddress("topic", pathOfRecord(record)));
    return subscribed.startsWith(TOPIC_URL)
      ? TOPIC_URL + spelled.slice(TOPIC_PATH.length)
      : spelled;
  }

  convert(record: RecordView, version: StompVersion): ConvertedMessage {
    return convertRecord(record, version, this.#style, this.#spell);
  }
}
