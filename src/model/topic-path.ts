/**
 * Topic paths and filters: levels joined by a separator, as each family of protocols spells them.
 *
 * Canonical (and MQTT): separator "/", wildcards `+` (one level) and `#` (any number, anywhere in a filter).
 * Dotted (AMQP 1.0, JMS, STOMP, AMQP 0-9-1 keys): separator ".", wildcards `*` and `#`, and `>` last for one or more levels.
 *
 * The two spellings of a path are a bijection on strings, so nothing is lost and nothing collides:
 *
 *   canonical   dotted        canonical    dotted             in a whole level only
 *   /           .             %2F          /                  canonical   path (literal)   filter
 *   .           %2E           %252F        %2F                +           –                *
 *   %2E         %252E         …            …                  #           –                #
 *   …           …             a%           a%                 *           *                %2A
 *                                                             %2B         +                +
 *                                                             %23         #                %23
 *
 * One more "25" after the "%" is one more degree of escaping. MQTT strings are canonical as they are, so a topic that
 * enters and leaves over MQTT is never touched. Queue, exchange, group and subscription names are never converted.
 */

const CANONICAL_ESCAPES = /\.|%(?:25)*2E|%(?:25)*2F/g;
const DOTTED_ESCAPES = /\/|%(?:25)*2F|%(?:25)*2E/g;
const MAYBE_SPECIAL = /[.%+#*>]/;

/** `%2F` → `%252F`. */
const escapeMore = (code: string): string => `%25${code.slice(1)}`;
/** `%252F` → `%2F`. */
const escapeLess = (code: string): string => `%${code.slice(3)}`;

function levelToDotted(level: string): string {
  if (!MAYBE_SPECIAL.test(level)) return level;
  return level.replace(CANONICAL_ESCAPES, (code) => {
    if (code === ".") return "%2E";
    if (code.endsWith("E")) return escapeMore(code);
    return code === "%2F" ? "/" : escapeLess(code);
  });
}

function levelFromDotted(level: string): string {
  return level.replace(DOTTED_ESCAPES, (code) => {
    if (code === "/") return "%2F";
    if (code.endsWith("F")) return escapeMore(code);
    return code === "%2E" ? "." : escapeLess(code);
  });
}

/** Is `level` the character with hex code `hex`, escaped at least once? */
const isEscaped = (level: string, hex: string): boolean =>
  level.length >= 3 &&
  level.charCodeAt(0) === 0x25 &&
  level.endsWith(hex) &&
  /^%(?:25)*$/.test(level.slice(0, -2));

/** A whole level that is a wildcard in the target spelling, or an escaped one, gets one degree of escaping. */
const guardLevel = (level: string, character: string, hex: string): string =>
  level === character ? `%${hex}` : isEscaped(level, hex) ? escapeMore(level) : level;

const unguardLevel = (level: string, character: string, hex: string): string =>
  isEscaped(level, hex) ? (level === `%${hex}` ? character : escapeLess(level)) : level;

/** A dotted name without wildcards (a routing key) → canonical path. */
export function pathFromDotted(text: string): string {
  if (!/[/%+#]/.test(text)) return text.replaceAll(".", "/");
  return text.split(".").map(literalFromDotted).join("/");
}

function literalFromDotted(level: string): string {
  return guardLevel(guardLevel(levelFromDotted(level), "+", "2B"), "#", "23");
}

/** A canonical path → dotted name without wildcards (a routing key). */
export function pathToDotted(path: string): string {
  if (!/[.%]/.test(path)) return path.replaceAll("/", ".");
  return path
    .split("/")
    .map((level) => levelToDotted(unguardLevel(unguardLevel(level, "#", "23"), "+", "2B")))
    .join(".");
}

/** A dotted name where `*`, `#` and a last `>` are wildcards → canonical filter. */
export function filterFromDotted(text: string): string {
  if (!/[/%+*>]/.test(text)) return text.replaceAll(".", "/");
  const levels = text.split(".");
  const last = levels.length - 1;
  return levels
    .map((level, i) => {
      if (level === "*") return "+";
      if (level === "#") return "#";
      if (i === last && level === ">") return "+/#";
      let out = guardLevel(levelFromDotted(level), "+", "2B");
      out = unguardLevel(out, "*", "2A");
      return i === last ? unguardLevel(out, ">", "3E") : out;
    })
    .join("/");
}

/** A canonical filter → dotted name where `*` and `#` are wildcards. */
export function filterToDotted(filter: string): string {
  if (!/[.%+*>]/.test(filter)) return filter.replaceAll("/", ".");
  const levels = filter.split("/");
  const last = levels.length - 1;
  return levels
    .map((level, i) => {
      if (level === "+") return "*";
      if (level === "#") return "#";
      let out = guardLevel(level, "*", "2A");
      if (i === last) out = guardLevel(out, ">", "3E");
      return levelToDotted(unguardLevel(out, "+", "2B"));
    })
    .join(".");
}

/** Does the canonical name hold a wildcard level? */
export function hasWildcard(name: string): boolean {
  for (let at = 0; at < name.length; at++) {
    const code = name.charCodeAt(at);
    if (code !== 0x2b && code !== 0x23) continue;
    const startsLevel = at === 0 || name.charCodeAt(at - 1) === 0x2f;
    const endsLevel = at === name.length - 1 || name.charCodeAt(at + 1) === 0x2f;
    if (startsLevel && endsLevel) return true;
  }
  return false;
}

/** Does a canonical filter match a canonical path? The plain rule; topic-trie.ts is the fast way for many filters. */
export function filterMatches(filter: string, path: string): boolean {
  const levels = filter.split("/");
  if ((levels[0] === "+" || levels[0] === "#") && path.charCodeAt(0) === 0x24) return false;
  return levelsMatch(levels, path.split("/"));
}

/**
 * Do the levels of a filter match those of a path? Without the rule for "$". At most levels × levels steps, whatever the
 * filter: only the last `#` ever takes one level more, because an earlier one could gain nothing by it.
 */
export function levelsMatch(filter: readonly string[], path: readonly string[]): boolean {
  let f = 0;
  let p = 0;
  let lastAny = -1;
  let takenTo = 0;
  while (p < path.length) {
    const level = filter[f];
    if (f < filter.length && level === "#") {
      lastAny = f++;
      takenTo = p;
    } else if (f < filter.length && (level === "+" || level === path[p])) {
      f++;
      p++;
    } else if (lastAny >= 0) {
      f = lastAny + 1;
      p = ++takenTo;
    } else return false;
  }
  while (filter[f] === "#") f++;
  return f === filter.length;
}
