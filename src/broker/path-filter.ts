/**
 * Filters of a topic's reader: by the rest of its path below the root, by tag expression, by origin. A record's path is
 * its root alone unless its tag is part of the path (spec protocols.md §3.2).
 */
import { escapeValue } from "../model/properties.ts";
import { FLAG, type RecordView } from "../model/record-view.ts";
import { javaHash } from "../model/tag.ts";
import { levelsMatch } from "../model/topic-path.ts";
import { type MessageFilter, VERDICT } from "./filter.ts";

/** Exactly the root: records without a path tag, whatever their label. */
const ROOT_ONLY: MessageFilter = {
  byHash: (tagHash) => (tagHash === 0 ? VERDICT.YES : VERDICT.MAYBE),
  byRecord: (record) => (record.flag & FLAG.TAG_IN_PATH) === 0,
};

/** `rest`: levels below the root, "" for the root itself; may hold `+` and `#`. Null when everything matches. */
export function pathFilter(rest: string): MessageFilter | null {
  if (rest === "#") return null;
  if (rest === "") return ROOT_ONLY;
  const levels = rest.split("/");
  if (!levels.includes("+") && !levels.includes("#")) {
    const hash = javaHash(rest);
    const property = Buffer.from(`TAGS\x01${rest}\x02`);
    return {
      byHash: (tagHash) => (tagHash === hash ? VERDICT.MAYBE : VERDICT.NO),
      byRecord: (record) => hasPathTag(record, property),
    };
  }
  const matchesRoot = levelsMatch(levels, []);
  return {
    // Never "no" by 0 alone: there are tags with that hash.
    byHash: (tagHash) => (tagHash === 0 && matchesRoot ? VERDICT.YES : VERDICT.MAYBE),
    byRecord(record) {
      const tag = pathTagOf(record);
      return tag === "" ? matchesRoot : levelsMatch(levels, tag.split("/"));
    },
  };
}

/**
 * Is this the record's path tag? The composer writes it right behind `x-enc` and `x-exp`, so the bytes are compared in
 * their place: a reader of one path costs each message some 20 ns, not a text.
 */
function hasPathTag(record: RecordView, property: Buffer): boolean {
  if ((record.flag & FLAG.TAG_IN_PATH) === 0) return false;
  const { buffer } = record;
  const end = record.propertiesEnd - property.length;
  let at = record.propertiesStart;
  for (let skip = (record.flag & FLAG.HAS_EXPIRY) === 0 ? 1 : 2; skip > 0; skip--) {
    while (at <= end && buffer[at] !== 0x02) at++;
    at++;
  }
  if (at > end) return false;
  for (let i = 0; i < property.length; i++) if (buffer[at + i] !== property[i]) return false;
  return true;
}

function pathTagOf(record: RecordView): string {
  return (record.flag & FLAG.TAG_IN_PATH) === 0 ? "" : (record.property("TAGS") ?? "");
}

/** RocketMQ tag expression `a || b`: by hash, then by text. Null for everything. */
export function tagFilter(expression: string): MessageFilter | null {
  const tags = new Set(
    expression
      .split("||")
      .map((tag) => tag.trim())
      .filter((tag) => tag !== ""),
  );
  if (tags.size === 0 || tags.has("*")) return null;
  const hashes = new Set([...tags].map(javaHash));
  return {
    byHash: (tagHash) => (hashes.has(tagHash) ? VERDICT.MAYBE : VERDICT.NO),
    byRecord: (record) => tags.has(record.property("TAGS") ?? ""),
  };
}

/** Property that names the publishing client, written only where somebody asked for no-local. */
export const ORIGIN_PROPERTY = "x-origin";

export function noLocalFilter(clientId: string): MessageFilter {
  const own = escapeValue(clientId);
  return {
    byHash: () => VERDICT.MAYBE,
    byRecord: (record) => record.property(ORIGIN_PROPERTY) !== own,
  };
}
