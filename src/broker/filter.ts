/**
 * What a consumer or group wants of a topic: decided by the ConsumeQueue entry's tag hash where that is enough, then by
 * the record. `byHash` never says "no" wrongly; a "maybe" is settled by `byRecord` (collisions, paths, selectors).
 */
import type { RecordView } from "../model/record-view.ts";

export const VERDICT = { NO: 0, MAYBE: 1, YES: 2 } as const;
export type Verdict = (typeof VERDICT)[keyof typeof VERDICT];

export interface MessageFilter {
  byHash(tagHash: number): Verdict;
  byRecord(record: RecordView): boolean;
}

/** Both have to agree; null stands for "everything". */
export function bothOf(a: MessageFilter | null, b: MessageFilter | null): MessageFilter | null {
  if (a === null) return b;
  if (b === null) return a;
  return {
    byHash(tagHash) {
      const one = a.byHash(tagHash);
      if (one === VERDICT.NO) return VERDICT.NO;
      const two = b.byHash(tagHash);
      if (two === VERDICT.NO) return VERDICT.NO;
      return one === VERDICT.YES && two === VERDICT.YES ? VERDICT.YES : VERDICT.MAYBE;
    },
    byRecord: (record) => a.byRecord(record) && b.byRecord(record),
  };
}
