/**
 * Rules for topic names and filters (§4.7) and for shared subscriptions (§4.8.2).
 */
import { isMqttUtf8 } from "./utf8.ts";

const PLUS = 0x2b;
const HASH = 0x23;

/** May a message be published under this name? Checks characters only; "" is for the caller, who knows about aliases. */
export function isTopicName(bytes: Uint8Array, start: number, end: number): boolean {
  if (end === start) return false;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte === PLUS || byte === HASH) return false;
    // Control characters: §1.5.4 lets a receiver refuse them, and log records use some as separators.
    if (byte < 0x20 || byte === 0x7f) return false;
    if (byte === 0xc2 && bytes[at + 1]! < 0xa0) return false;
  }
  return isMqttUtf8(bytes, start, end);
}

const hasControlCharacter = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
  }
  return false;
};

/** The same rules for a name that is a string already. */
export const isTopicNameText = (name: string): boolean =>
  name.length > 0 && !name.includes("+") && !name.includes("#") && !hasControlCharacter(name);

/** Is this a filter: wildcards take whole levels, "#" only the last? */
export function isTopicFilter(filter: string): boolean {
  if (filter.length === 0 || hasControlCharacter(filter)) return false;
  for (let at = 0; at < filter.length; at++) {
    const char = filter.charCodeAt(at);
    if (char !== PLUS && char !== HASH) continue;
    if (at > 0 && filter[at - 1] !== "/") return false;
    if (char === HASH ? at + 1 < filter.length : at + 1 < filter.length && filter[at + 1] !== "/")
      return false;
  }
  return true;
}

export interface SharedFilter {
  readonly share: string;
  readonly filter: string;
}

const SHARE = "$share/";
const QUEUE = "$queue/";

/** Is the filter spelled as a shared subscription, valid or not? */
export const isShared = (filter: string): boolean =>
  filter.startsWith(SHARE) || filter.startsWith(QUEUE);

/**
 * Takes `$share/name/filter` apart; null when it is not valid. `$queue/filter`, as EMQX spells it, is the share named
 * "$queue".
 */
export function parseShared(text: string): SharedFilter | null {
  if (text.startsWith(QUEUE)) {
    const filter = text.slice(QUEUE.length);
    return isTopicFilter(filter) ? { share: "$queue", filter } : null;
  }
  const slash = text.indexOf("/", SHARE.length);
  if (slash < 0) return null;
  const share = text.slice(SHARE.length, slash);
  const filter = text.slice(slash + 1);
  // MQTT-4.8.2-1 and -2: at least one character, no "/", "+" or "#".
  if (share === "" || share.includes("+") || share.includes("#")) return null;
  return isTopicFilter(filter) ? { share, filter } : null;
}

/** Does `filter` match `topic`? The trie answers this for many; this is for one and for tests. */
export function matches(filter: string, topic: string): boolean {
  // MQTT-4.7.2-1: wildcards at the first level do not reach topics that begin with "$".
  if (topic.startsWith("$") && (filter.startsWith("+") || filter.startsWith("#"))) return false;
  const want = filter.split("/");
  const have = topic.split("/");
  for (let i = 0; i < want.length; i++) {
    if (want[i] === "#") return true;
    if (i >= have.length) return false;
    if (want[i] !== "+" && want[i] !== have[i]) return false;
  }
  return want.length === have.length;
}
