/** Entries of a queue as the store reads them: where each message lies, in arrays that are made once. */
export interface EntryBatch {
  readonly physicalOffset: Float64Array;
  readonly size: Int32Array;
  readonly tagHash: Int32Array;
}

export const entryBatch = (length = 1): EntryBatch => ({
  physicalOffset: new Float64Array(length),
  size: new Int32Array(length),
  tagHash: new Int32Array(length),
});
