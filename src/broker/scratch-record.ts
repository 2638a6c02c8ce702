/**
 * A record that is not stored: laid out like one in a buffer of its own, for readers that get a message at once (QoS 0)
 * while nobody needs it in the log. Valid until the next one is made.
 */
import { RecordView } from "../model/record-view.ts";
import type { RecordFields } from "../store/message-store.ts";
import { copyBytes, fastBuffer } from "../util/copy-memory.ts";

/** Everything up to the body, with IPv4 hosts. */
const HEAD = 88;
const MAGIC_V2 = 0xdaa320ab | 0;
const TWO_POW_32 = 2 ** 32;
/** Messages up to about this size lie where copies are fast. */
const FAST_BYTES = 64 * 1024;
/** A larger buffer is given back after use. */
const KEPT_BYTES = 1024 * 1024;

export class ScratchRecord {
  readonly view = new RecordView();
  /** Made with the first message. */
  #fast: Buffer | null = null;
  #large: Buffer = Buffer.alloc(0);
  #number = 0;

  make(topic: string, fields: RecordFields, now: number): RecordView {
    const bodyLength = fields.bodyEnd - fields.bodyStart;
    const size = HEAD + bodyLength + 2 + topic.length + 2 + fields.propertiesLength;
    const out = size <= FAST_BYTES ? this.#small() : this.#roomFor(size);
    out.writeInt32BE(size, 0);
    out.writeInt32BE(MAGIC_V2, 4);
    out.writeInt32BE(fields.flag, 16);
    // No place in the log: a negative offset, another one each time, so that nobody takes it for a record seen before.
    putTime(out, 20, -1);
    putTime(out, 28, --this.#number);
    out.writeInt32BE(0, 36);
    putTime(out, 40, fields.bornTimestamp);
    putTime(out, 56, now);
    out.writeInt32BE(fields.reconsumeTimes, 72);
    out.writeInt32BE(bodyLength, 84);
    let at = HEAD;
    at = copyBytes(fields.body, fields.bodyStart, fields.bodyEnd, out, at);
    out.writeUInt16BE(topic.length, at);
    at += 2;
    at += out.write(topic, at, "latin1");
    out.writeUInt16BE(fields.propertiesLength, at);
    fields.properties.copy(out, at + 2, 0, fields.propertiesLength);
    return this.view.open(out, 0);
  }

  #small(): Buffer {
    if (this.#large.length > KEPT_BYTES) this.#large = Buffer.alloc(0);
    this.#fast ??= fastBuffer(FAST_BYTES);
    return this.#fast;
  }

  #roomFor(size: number): Buffer {
    const isWasteful = this.#large.length > KEPT_BYTES && size <= KEPT_BYTES;
    if (size > this.#large.length || isWasteful) this.#large = Buffer.alloc(size * 2);
    return this.#large;
  }
}

function putTime(out: Buffer, at: number, ms: number): void {
  out.writeInt32BE(Math.floor(ms / TWO_POW_32), at);
  out.writeUInt32BE(ms >>> 0, at + 4);
}
