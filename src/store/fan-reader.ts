/**
 * Reads lists of light queues back (fan-record.ts), from the records of a log in their order: each fan record is noted,
 * and the record with the body takes what was noted for it. Begins anywhere where an epoch begins.
 */
import type { RecordView } from "../model/record-view.ts";
import { VarintReader } from "../util/varint.ts";
import { FAN_FLAG, FAN_HEADER, FAN_TOPIC, type FanHeader, readFanHeader } from "./fan-record.ts";
import { SYS_FLAG } from "./record.ts";

const TOPIC = Buffer.from(FAN_TOPIC);

/** Told each name and each run that a fan record has. */
export interface FanHandler {
  name(number: number, name: string, base: number): void;
  run(first: number, count: number, distance: number): void;
}

export function isFanRecord(view: RecordView): boolean {
  if ((view.sysFlag & SYS_FLAG.NOT_DISPATCHED) === 0) return false;
  const { buffer, topicStart, topicEnd } = view;
  return (
    topicEnd - topicStart === TOPIC.length &&
    buffer.compare(TOPIC, 0, TOPIC.length, topicStart, topicEnd) === 0
  );
}

/** Tells what is in a fan record's body. False when it is broken somewhere; what was told before that counts. */
export function readFan(view: RecordView, header: FanHeader, handler: FanHandler): boolean {
  const { buffer, bodyStart, bodyEnd } = view;
  const reader = new VarintReader(buffer, bodyStart + FAN_HEADER, bodyEnd);
  for (let i = 0; i < header.nameCount; i++) {
    const length = reader.next();
    const start = reader.at;
    if (reader.isBroken || start + length > bodyEnd) return false;
    reader.at += length;
    const base = reader.next();
    if (reader.isBroken) return false;
    handler.name(header.firstNumber + i, buffer.toString("utf8", start, start + length), base);
  }
  let end = 0;
  let distance = 0;
  for (let i = 0; i < header.runCount; i++) {
    const first = end + reader.nextSigned();
    const count = reader.next();
    distance += reader.nextSigned();
    if (reader.isBroken || first < 0) return false;
    end = first + count;
    handler.run(first, count, distance);
  }
  return true;
}

export class FanReader implements FanHandler {
  /** Where the epoch began that the numbers belong to. */
  #epoch = -1;
  #names: string[] = [];
  #bases: number[] = [];
  /** The list that is being gathered: where it began, its next record, and whether its last was seen. */
  #first = -1;
  #next = 0;
  #isComplete = false;
  #isWhole = false;
  #lights: string[] = [];
  #offsets: number[] = [];

  /** Takes a fan record; one of another kind is left alone, and false. */
  note(view: RecordView): boolean {
    if (!isFanRecord(view)) return false;
    const { physicalOffset } = view;
    const header = readFanHeader(view.buffer, view.bodyStart, view.bodyEnd, physicalOffset);
    if (header === null) {
      this.#first = -1;
      return true;
    }
    if (header.epoch !== this.#epoch) {
      this.#epoch = header.epoch;
      this.#names = [];
      this.#bases = [];
    }
    if (header.index === 0) {
      this.#first = physicalOffset;
      this.#next = 0;
      this.#isWhole = true;
      this.#lights = [];
      this.#offsets = [];
    }
    if (header.index !== this.#next++) this.#isWhole = false;
    this.#isComplete = (header.flags & FAN_FLAG.LAST) !== 0;
    if (!readFan(view, header, this)) this.#isWhole = false;
    return true;
  }

  name(number: number, name: string, base: number): void {
    // A gap is a record that was damaged.
    while (this.#names.length < number) {
      this.#names.push("");
      this.#bases.push(0);
    }
    this.#names[number] = name;
    this.#bases[number] = base;
  }

  run(first: number, count: number, distance: number): void {
    const end = Math.min(first + count, this.#names.length);
    if (end !== first + count) this.#isWhole = false;
    for (let number = first; number < end; number++) {
      const name = this.#names[number]!;
      if (name === "") this.#isWhole = false;
      else {
        this.#lights.push(name);
        this.#offsets.push(this.#bases[number]! + distance);
      }
    }
  }

  /** Adds the list of the record with the body to these. False when something of it is missing. */
  take(view: RecordView, lights: string[], offsets: number[]): boolean {
    const isIts = this.#first >= 0 && this.#first === view.preparedTransactionOffset;
    this.#first = -1;
    if (!isIts) return false;
    for (let i = 0; i < this.#lights.length; i++) {
      lights.push(this.#lights[i]!);
      offsets.push(this.#offsets[i]!);
    }
    return this.#isWhole && this.#isComplete;
  }
}
