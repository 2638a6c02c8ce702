/**
 * What a stored record says about where its entries belong: everything that recovery needs to build ConsumeQueues,
 * light queues and the Index again, from the record alone; or, where it lies in many light queues, from it and the fan
 * records before it. One object is reused, and reads records in the order of the log.
 */
import type { RecordView } from "../model/record-view.ts";
import { FanReader } from "./fan-reader.ts";
import { javaHash, LIGHT_PREFIX, SYS_FLAG } from "./record.ts";

const NAME_END = 0x01;
const VALUE_END = 0x02;

export class RecordDispatch {
  tagHash = 0;
  /** KEYS and UNIQ_KEY, not split; "" for none. */
  keys = "";
  uniqueKey = "";
  /** Names of light queues, and the offset in each. */
  lightNames: string[] = [];
  lightOffsets: number[] = [];
  /** Physical offset of the first record of its atomic batch, -1 for none. */
  batchId = -1;
  batchIndex = 0;
  isBatchEnd = false;
  /** Half messages of RocketMQ transactions have no entry. */
  isDispatched = true;
  /** False: some of the light queues are not known, because what named them is damaged. */
  isWhole = true;
  /** Where a moved record lay at first; -1 when it was not moved. */
  movedFrom = -1;
  /** Moved: its home queue has its entry here too, and not only the light queues named. */
  keepsHome = false;
  /** Moved: the end of its home queue at that time. */
  homeEnd = 0;
  readonly #fan = new FanReader();

  read(record: RecordView): this {
    this.tagHash = 0;
    this.keys = "";
    this.uniqueKey = "";
    if (this.lightNames.length > 0) this.lightNames = [];
    if (this.lightOffsets.length > 0) this.lightOffsets = [];
    this.batchId = -1;
    this.movedFrom = -1;
    this.isDispatched = (record.sysFlag & SYS_FLAG.NOT_DISPATCHED) === 0;
    this.isWhole = true;
    const isMoved = (record.sysFlag & SYS_FLAG.MOVED) !== 0;
    const { buffer, propertiesEnd: end } = record;
    for (let at = record.propertiesStart; at < end; ) {
      let stop = buffer.indexOf(VALUE_END, at);
      if (stop < 0 || stop > end) stop = end;
      // Only names that begin like one of ours are looked at closer.
      switch (buffer[at]) {
        case 0x54: // T
        case 0x4b: // K
        case 0x55: // U
        case 0x49: // I
          this.#property(buffer, at, stop);
          break;
        case 0x78: // x, but mostly "x-enc"
          if (buffer[at + 2] === 0x62) this.#property(buffer, at, stop);
          break;
        case 0x5f: // _
          if (isMoved) this.#property(buffer, at, stop);
      }
      at = stop + 1;
    }
    if (this.lightNames.length !== this.lightOffsets.length) {
      this.lightNames = [];
      this.lightOffsets = [];
    }
    if (!this.isDispatched) this.#fan.note(record);
    else if ((record.sysFlag & SYS_FLAG.FANNED) !== 0) {
      this.isWhole = this.#fan.take(record, this.lightNames, this.lightOffsets);
    }
    return this;
  }

  #property(buffer: Buffer, at: number, stop: number): void {
    const middle = buffer.indexOf(NAME_END, at);
    if (middle < 0 || middle >= stop) return;
    const name = buffer.toString("latin1", at, middle);
    switch (name) {
      case "TAGS":
        this.tagHash = javaHash(buffer.toString("utf8", middle + 1, stop));
        break;
      case "KEYS":
        this.keys = buffer.toString("utf8", middle + 1, stop);
        break;
      case "UNIQ_KEY":
        this.uniqueKey = buffer.toString("utf8", middle + 1, stop);
        break;
      case "INNER_MULTI_DISPATCH":
        this.lightNames = buffer
          .toString("utf8", middle + 1, stop)
          .split(",")
          .map((light) =>
            light.startsWith(LIGHT_PREFIX) ? light.slice(LIGHT_PREFIX.length) : light,
          );
        break;
      case "INNER_MULTI_QUEUE_OFFSET":
        this.lightOffsets = buffer
          .toString("latin1", middle + 1, stop)
          .split(",")
          .map(Number);
        break;
      case "__MOVED": {
        const [from, home, end] = buffer.toString("latin1", middle + 1, stop).split(":");
        this.movedFrom = Number(from);
        this.keepsHome = home === "h";
        this.homeEnd = Number(end);
        break;
      }
      case "x-batch": {
        const [id, index, mark] = buffer.toString("latin1", middle + 1, stop).split(":");
        this.batchId = Number(id);
        this.batchIndex = Number(index);
        this.isBatchEnd = mark === ".";
        break;
      }
    }
  }
}
