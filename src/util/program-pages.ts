/**
 * The program's own file as this process's memory. Of 46 MiB that are mapped of it after the start, hardly half is ever
 * looked at again: the rest parsed, compiled and set up what is running now. Letting go of it costs nothing that
 * counts: the pages stay in the system's cache, and those that are wanted again are mapped again without being read, sixteen
 * at a time.
 *
 * Only what nobody can have written to is let go of: mappings of the executable without write permission in which, says the
 * system, no page is the process's own. These never go away or change while it runs. Linux, through koffi; without it
 * nothing is done.
 */
import { readFile, realpath } from "node:fs/promises";
import type { Libc } from "./libc.ts";

export interface AddressRange {
  readonly start: number;
  readonly length: number;
}

const DONT_NEED = 4;
const HEAD = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p [0-9a-f]+ \S+ \d+ +(.+)$/;
const FIELD = /^(\w+): +(\d+) kB$/;

/** What of `program` is clean, by /proc/PID/smaps. */
export function cleanRanges(smaps: string, program: string): AddressRange[] {
  const ranges: AddressRange[] = [];
  const mark = ` ${program}\n`;
  for (let at = smaps.indexOf(mark); at >= 0; at = smaps.indexOf(mark, at + 1)) {
    const head = HEAD.exec(smaps.slice(smaps.lastIndexOf("\n", at) + 1, at + mark.length - 1));
    if (head === null || head[3] !== program) continue;
    const fields = fieldsAfter(smaps, at + mark.length);
    // Not said: not known.
    if (fields.get("Anonymous") !== 0 || fields.get("Private_Dirty") !== 0) continue;
    const start = Number.parseInt(head[1]!, 16);
    ranges.push({ start, length: Number.parseInt(head[2]!, 16) - start });
  }
  return ranges;
}

function fieldsAfter(smaps: string, from: number): Map<string, number> {
  const fields = new Map<string, number>();
  for (let at = from; at < smaps.length; ) {
    const end = smaps.indexOf("\n", at);
    const field = FIELD.exec(smaps.slice(at, end < 0 ? smaps.length : end));
    if (field === null) break;
    fields.set(field[1]!, Number(field[2]));
    at = end < 0 ? smaps.length : end + 1;
  }
  return fields;
}

/** What lets go of the program's pages. It looks for them once: that takes the system some milliseconds, on another thread. */
export async function programPages(libc: Libc): Promise<() => void> {
  const [smaps, program] = await Promise.all([
    readFile("/proc/self/smaps", "latin1"),
    realpath("/proc/self/exe"),
  ]);
  const ranges = cleanRanges(smaps, program);
  const madvise = libc.func("int madvise(uintptr_t start, size_t length, int advice)") as (
    start: number,
    length: number,
    advice: number,
  ) => number;
  return () => {
    for (const { start, length } of ranges) madvise(start, length, DONT_NEED);
  };
}
