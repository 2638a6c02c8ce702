/** What an offline check says about a store: one report per file, and sentences about what is wrong. */

export type FileKind =
  | "commitlog"
  | "consumequeue"
  | "arena"
  | "index"
  | "checkpoint"
  | "catalog"
  | "journal"
  | "quarantine"
  | "other";

export type FileState =
  /** Everything is what it should be. */
  | "sound"
  /** Its end was being written when the process or the machine stopped, or it is not written yet: the next start completes it. */
  | "unfinished"
  /** Something is lost or wrong. Of a derived file: `repair` makes it again. */
  | "damaged"
  /** Not ours; left alone. */
  | "unknown";

export interface FileReport {
  /** Relative to the store's folder. */
  readonly path: string;
  readonly kind: FileKind;
  readonly state: FileState;
  /** Can it be made again from the log? */
  readonly isDerived: boolean;
  readonly bytes: number;
  /** Records, entries or frames that are good. */
  readonly items: number;
  /** The first findings, each a sentence; `findingCount` counts all. */
  readonly findings: readonly string[];
  readonly findingCount: number;
}

export interface StoreReport {
  readonly directory: string;
  /** The worst of the files: `sound`, `unfinished` or `damaged`. */
  readonly state: Exclude<FileState, "unknown">;
  readonly files: readonly FileReport[];
  /** First and last byte of the log. */
  readonly logStart: number;
  readonly logEnd: number;
  readonly records: number;
  readonly queues: number;
  readonly lightQueues: number;
  readonly journalEntries: number;
  /** Ranges of the log that were set aside by earlier starts. */
  readonly quarantined: number;
  readonly durationMs: number;
}

export interface CheckProgress {
  /** Relative to the store's folder. */
  readonly path: string;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

const MAX_FINDINGS = 20;
const SEVERITY: Record<FileState, number> = { unknown: 0, sound: 0, unfinished: 1, damaged: 2 };

/** A file's report in the making. */
export class FileCheck {
  readonly path: string;
  readonly kind: FileKind;
  readonly isDerived: boolean;
  state: FileState = "sound";
  bytes = 0;
  items = 0;
  readonly findings: string[] = [];
  findingCount = 0;

  constructor(path: string, kind: FileKind, bytes: number) {
    this.path = path;
    this.kind = kind;
    this.bytes = bytes;
    this.isDerived = kind !== "commitlog" && kind !== "journal" && kind !== "quarantine";
  }

  unfinished(finding: string): void {
    this.#note("unfinished", finding);
  }

  damaged(finding: string): void {
    this.#note("damaged", finding);
  }

  /** Worth knowing, and no fault of the file as it is now. */
  note(finding: string): void {
    this.#note("sound", finding);
  }

  #note(state: FileState, finding: string): void {
    if (SEVERITY[state] > SEVERITY[this.state]) this.state = state;
    this.findingCount++;
    if (this.findings.length < MAX_FINDINGS) this.findings.push(finding);
  }
}

/** The worst of these. */
export function worstState(files: readonly FileReport[]): StoreReport["state"] {
  let worst: StoreReport["state"] = "sound";
  for (const { state } of files) {
    if (state !== "unknown" && SEVERITY[state] > SEVERITY[worst]) worst = state;
  }
  return worst;
}
