/**
 * LIKE patterns: `_` is one character, `%` any run of them, both literal behind the escape character. Matched piece by
 * piece between the `%`, each at its first possible place: no backtracking.
 */

/** One character of a piece: itself, or null for `_`. */
type Piece = ReadonlyArray<string | null>;

export function compileLike(pattern: string, escapeCharacter: string): (text: string) => boolean {
  const pieces = split(pattern, escapeCharacter);
  const first = pieces[0]!;
  if (pieces.length === 1) {
    const literal = literalOf(first);
    if (literal !== undefined) return (text) => text === literal;
    return (text) => {
      const characters = charactersOf(text);
      return characters.length === first.length && matchesAt(first, characters, 0);
    };
  }
  const last = pieces[pieces.length - 1]!;
  const middle = pieces.slice(1, -1).filter((piece) => piece.length > 0);
  const prefix = literalOf(first);
  const suffix = literalOf(last);
  if (prefix !== undefined && suffix !== undefined && middle.length === 0) {
    const least = prefix.length + suffix.length;
    return (text) => text.length >= least && text.startsWith(prefix) && text.endsWith(suffix);
  }
  return (text) => {
    const characters = charactersOf(text);
    const end = characters.length - last.length;
    if (end < first.length) return false;
    if (!matchesAt(first, characters, 0) || !matchesAt(last, characters, end)) return false;
    let at = first.length;
    for (const piece of middle) {
      while (at + piece.length <= end && !matchesAt(piece, characters, at)) at += 1;
      if (at + piece.length > end) return false;
      at += piece.length;
    }
    return true;
  };
}

function split(pattern: string, escapeCharacter: string): Piece[] {
  let piece: Array<string | null> = [];
  const pieces: Piece[] = [piece];
  let isEscaped = false;
  for (const character of pattern) {
    if (isEscaped) {
      piece.push(character);
      isEscaped = false;
    } else if (escapeCharacter !== "" && character === escapeCharacter) isEscaped = true;
    else if (character === "_") piece.push(null);
    else if (character === "%") {
      piece = [];
      pieces.push(piece);
    } else piece.push(character);
  }
  return pieces;
}

const literalOf = (piece: Piece): string | undefined =>
  piece.includes(null) ? undefined : piece.join("");

/** Characters beyond the basic plane are two units of a string but one character. */
const charactersOf = (text: string): ArrayLike<string> =>
  /[\ud800-\udbff]/.test(text) ? Array.from(text) : text;

function matchesAt(piece: Piece, text: ArrayLike<string>, at: number): boolean {
  for (let i = 0; i < piece.length; i++) {
    const expected = piece[i];
    if (expected !== null && expected !== text[at + i]) return false;
  }
  return true;
}
