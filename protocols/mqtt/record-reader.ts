/**
 * Records as MQTT messages: the property list of those that came over MQTT, and the conversion of all others.
 */
import { BrokerError } from "../../src/model/errors.ts";
import type { RecordView } from "../../src/model/record-view.ts";
import { OutgoingProperties } from "./message-properties.ts";
import { type ConvertedMessage, encodeMqtt } from "./neutral.ts";

export class RecordReader {
  readonly #properties = new OutgoingProperties();

  listOf(record: RecordView, afterTag: number): Buffer {
    return this.#properties.of(record, afterTag);
  }

  /** Null when the stored bytes cannot be read as what they should be. */
  convert(record: RecordView): ConvertedMessage | null {
    try {
      return encodeMqtt(record);
    } catch (error) {
      if (error instanceof BrokerError) return null;
      throw error;
    }
  }
}
