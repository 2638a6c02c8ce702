/**
 * Records as MQTT messages: the property list of those that came over MQTT, and the conversion of all others.
 */
import type { RecordView } from "../../src/model/record-view.ts";
import { OutgoingProperties } from "./message-properties.ts";

export interface Converted {
  readonly body: Buffer;
  /** MQTT 5 property list without its length, empty for none. */
  readonly list: Buffer;
}

const NO_LIST = Buffer.alloc(0);

export class RecordReader {
  readonly #properties = new OutgoingProperties();

  listOf(record: RecordView, afterTag: number): Buffer {
    return this.#properties.of(record, afterTag);
  }

  convert(record: RecordView): Converted {
    const body = record.buffer.subarray(record.bodyStart, record.bodyEnd);
    return { body, list: NO_LIST };
  }
}
