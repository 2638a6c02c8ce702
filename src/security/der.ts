/** Reading DER, as far as certificates and revocation lists need it: one element after the other, every length checked. */

export interface Element {
  readonly tag: number;
  /** The whole element, and what is in it. */
  readonly bytes: Buffer;
  readonly content: Buffer;
}

class DerError extends Error {}

export const TAG = { INTEGER: 0x02, SEQUENCE: 0x30, CONTEXT_0: 0xa0 } as const;

const LENGTH_BYTES_MAX = 4;

/** The elements that lie side by side in `bytes`. Throws DerError. */
export function elementsOf(bytes: Buffer): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at < bytes.length; ) {
    const element = elementAt(bytes, at);
    elements.push(element);
    at += element.bytes.length;
  }
  return elements;
}

/** The elements of the one sequence that `bytes` is. Throws DerError. */
export function sequenceOf(bytes: Buffer): Element[] {
  const element = elementAt(bytes, 0);
  if (element.tag !== TAG.SEQUENCE) throw new DerError("expected a sequence");
  return elementsOf(element.content);
}

function elementAt(bytes: Buffer, start: number): Element {
  if (start + 2 > bytes.length) throw new DerError("cut off");
  let at = start + 1;
  let length = bytes[at++]!;
  if (length >= 0x80) {
    const count = length & 0x7f;
    if (count === 0 || count > LENGTH_BYTES_MAX || at + count > bytes.length) {
      throw new DerError("a length that is none");
    }
    length = bytes.readUIntBE(at, count);
    at += count;
  }
  if (at + length > bytes.length) throw new DerError("cut off");
  return {
    tag: bytes[start]!,
    bytes: bytes.subarray(start, at + length),
    content: bytes.subarray(at, at + length),
  };
}
