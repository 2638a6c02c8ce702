/** Is this the record that an entry speaks of? Keeps a wrong entry from doing harm. */
import { int32At } from "../model/record-view.ts";
import { MAGIC_V1, MAGIC_V2 } from "./record.ts";

const TWO_POW_32 = 2 ** 32;

export function isRecordAt(
  buffer: Buffer,
  at: number,
  size: number,
  physicalOffset: number,
): boolean {
  const magic = int32At(buffer, at + 4);
  return (
    int32At(buffer, at) === size &&
    (magic === MAGIC_V1 || magic === MAGIC_V2) &&
    int32At(buffer, at + 32) === (physicalOffset | 0) &&
    int32At(buffer, at + 28) === Math.floor(physicalOffset / TWO_POW_32)
  );
}

/** Where the record that begins here says that it lies; -1 when none begins here. */
export function recordPlace(buffer: Buffer, at: number): number {
  const magic = int32At(buffer, at + 4);
  if (magic !== MAGIC_V1 && magic !== MAGIC_V2) return -1;
  return int32At(buffer, at + 28) * TWO_POW_32 + (int32At(buffer, at + 32) >>> 0);
}
