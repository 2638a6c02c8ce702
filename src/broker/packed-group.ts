/**
 * A durable group at rest as bytes: what its entries in the journal say, for groups that have settled everything below a
 * mark and nothing above it. The key is the group's name; the filter is made anew from what spells it.
 *
 *   at  size  value, little-endian
 *    0     1  flags
 *    1     1  shards
 *    2     8  2 each: length of tags, selector, path, client id
 *   10     -  for each shard 4 progress number, 8 low
 *    -     -  tags, selector, path, client id
 */
import type { ConsumerGroup, GroupSettings } from "./consumer-group.ts";
import type { SubscriptionIdentity } from "./facade.ts";
import { groupNameOf } from "./group-settings.ts";

const FLAG = { ORDERED: 1, IDENTITY: 2, SHARED: 4 } as const;
const LENGTHS = 2;
const SHARDS = 10;
const SHARD_BYTES = 12;
const LOW = 4;
const MAX_SHARDS = 255;
/** Of all texts together. */
const MAX_TEXT = 16_000;

/** Where the low-water mark of a shard stands in a value. */
export const lowAt = (shard: number): number => SHARDS + shard * SHARD_BYTES + LOW;

export interface UnpackedGroup {
  readonly settings: Omit<GroupSettings, "filter">;
  /** By shard. */
  readonly progress: readonly number[];
  readonly lows: readonly number[];
}

/** Writes groups into one buffer, which the next one overwrites. */
export class GroupPacker {
  readonly bytes = Buffer.alloc(SHARDS + MAX_SHARDS * SHARD_BYTES + MAX_TEXT);

  /** The length, or 0 where a few bytes do not tell all of it. The caller knows that it is not in use. */
  pack(group: ConsumerGroup): number {
    if (!isSimple(group)) return 0;
    const { bytes } = this;
    const { shards } = group;
    const { isOrdered, identity, tags, selector, path } = group.settings;
    bytes[0] =
      (isOrdered ? FLAG.ORDERED : 0) |
      (identity !== null ? FLAG.IDENTITY : 0) |
      (identity?.isShared === true ? FLAG.SHARED : 0);
    bytes[1] = shards.length;
    let at = SHARDS;
    for (const { journalId, state } of shards) {
      bytes.writeUInt32LE(journalId, at);
      bytes.writeDoubleLE(state.low, at + LOW);
      at += SHARD_BYTES;
    }
    const texts = [tags, selector, path, identity?.clientId ?? ""];
    for (const [index, text] of texts.entries()) {
      const length = bytes.write(text, at, "utf8");
      bytes.writeUInt16LE(length, LENGTHS + index * 2);
      at += length;
    }
    return at;
  }
}

export function unpackGroup(name: string, value: Buffer): UnpackedGroup {
  const flags = value[0]!;
  const shards = value[1]!;
  let at = SHARDS;
  const progress: number[] = [];
  const lows: number[] = [];
  for (let shard = 0; shard < shards; shard++) {
    progress.push(value.readUInt32LE(at));
    lows.push(value.readDoubleLE(at + LOW));
    at += SHARD_BYTES;
  }
  const texts: string[] = [];
  for (let index = 0; index < 4; index++) {
    const end = at + value.readUInt16LE(LENGTHS + index * 2);
    texts.push(value.toString("utf8", at, end));
    at = end;
  }
  const [tags, selector, path, clientId] = texts as [string, string, string, string];
  const identity = (flags & FLAG.IDENTITY) === 0 ? null : identityOf(name, clientId, flags);
  return {
    settings: {
      name,
      isDurable: true,
      isOrdered: (flags & FLAG.ORDERED) !== 0,
      isVolatile: false,
      identity,
      tags,
      selector,
      noLocal: false,
      path,
    },
    progress,
    lows,
  };
}

/** A subscription's group is named for it. */
function identityOf(group: string, clientId: string, flags: number): SubscriptionIdentity {
  const before = groupNameOf({ clientId, name: "", isDurable: true, isShared: false }).length;
  const isShared = (flags & FLAG.SHARED) !== 0;
  return { clientId, name: group.slice(before), isDurable: true, isShared };
}

function isSimple({ settings, shards, journalId }: ConsumerGroup): boolean {
  const { name, identity, tags, selector, path, noLocal } = settings;
  // Who it is that does not get its own messages is known to the filter alone.
  if (noLocal || settings.isVolatile || !settings.isDurable) return false;
  if (identity !== null && (!identity.isDurable || groupNameOf(identity) !== name)) return false;
  const length = tags.length + selector.length + path.length + (identity?.clientId.length ?? 0);
  if (length * 3 > MAX_TEXT || shards.length === 0 || shards.length > MAX_SHARDS) return false;
  if (journalId < 0 || journalId !== shards[0]!.journalId) return false;
  for (const { journalId: number, state, attempts, outdated } of shards) {
    if (number < 0 || attempts.size > 0 || outdated !== null) return false;
    if (state.frontier !== state.low) return false;
  }
  return true;
}
