/**
 * A message for more light queues than its own properties name well: the record holds the body once, and fan records
 * right before it hold the list. What is in a fan record belongs to the next record that says so (sysFlag bit 25,
 * SYS_FLAG.FANNED; its preparedTransactionOffset is where the first of its fan records lies). The record with the body
 * comes last and is what makes the list count: fan records that no such record follows mean nothing. So a log that was
 * cut anywhere in between has all of the publish, or none.
 *
 * Names are said once and have numbers from then on. An epoch of numbers begins with each segment, each checkpoint and
 * each start: whoever reads a segment from its beginning, or the log from a checkpoint, knows every number.
 *
 *   topic `rmq_sys_sluice_fanned`, sysFlag 12 (rolled back: no queue gets an entry), body, big-endian:
 *
 *   at  size
 *    0     1  version: 1
 *    1     1  bit 0: the last one of its list; bit 1: an epoch begins here
 *    2     2  its place in the list, from 0
 *    4     8  physical offset of the fan record that began the epoch; where bit 1 is set, 0
 *   12     4  number of the first name below: names are numbered as they come, from 0 in each epoch
 *   16     4  how many names
 *   20     4  how many runs
 *   24     -  names: length, UTF-8, base offset
 *    -     -  runs: first number less the number after the last run, count, distance less that of the last run
 *
 * Numbers from 24 on are varints; differences in zigzag (util/varint.ts). A run stands for `count`
 * queues with consecutive numbers; the message lies in each of them at its base offset plus the run's distance. To the same
 * ten thousand queues, each time the same, that is one run: four bytes.
 *
 * Valid: as any record. A list of which something is missing makes its message count for nothing, as in a batch. The list
 * that comes after one with names repeats them: one damaged record costs no other message than its own.
 */
export const FAN_TOPIC = "rmq_sys_sluice_fanned";
export const FAN_HEADER = 24;
export const FAN_FLAG = { LAST: 1, BEGINS_EPOCH: 2 } as const;
const VERSION = 1;

export interface FanHeader {
  readonly flags: number;
  readonly index: number;
  readonly epoch: number;
  readonly firstNumber: number;
  readonly nameCount: number;
  readonly runCount: number;
}

export function writeFanHeader(bytes: Buffer, header: FanHeader): void {
  bytes[0] = VERSION;
  bytes[1] = header.flags;
  bytes.writeUInt16BE(header.index, 2);
  bytes.writeBigInt64BE(BigInt(header.epoch), 4);
  bytes.writeUInt32BE(header.firstNumber, 12);
  bytes.writeUInt32BE(header.nameCount, 16);
  bytes.writeUInt32BE(header.runCount, 20);
}

/** Null when this is no fan record's body. `ownOffset`: where the record lies. */
export function readFanHeader(
  bytes: Buffer,
  start: number,
  end: number,
  ownOffset: number,
): FanHeader | null {
  if (end - start < FAN_HEADER || bytes[start] !== VERSION) return null;
  const flags = bytes[start + 1]!;
  return {
    flags,
    index: bytes.readUInt16BE(start + 2),
    epoch: flags & FAN_FLAG.BEGINS_EPOCH ? ownOffset : Number(bytes.readBigInt64BE(start + 4)),
    firstNumber: bytes.readUInt32BE(start + 12),
    nameCount: bytes.readUInt32BE(start + 16),
    runCount: bytes.readUInt32BE(start + 20),
  };
}
