/**
 * UTF-8 as MQTT wants it (MQTT 5 §1.5.4): well formed, no surrogates, no U+0000. Non-characters and U+FEFF are allowed
 * and kept. Works on bytes where they lie; nothing is allocated.
 */

/** True when `bytes[start, end)` is a valid MQTT string. */
export function isMqttUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start;
  while (at < end) {
    const first = bytes[at++]!;
    if (first < 0x80) {
      if (first === 0) return false;
      continue;
    }
    // 0x80..0xc1: a stray continuation byte or an overlong two-byte form.
    if (first < 0xc2 || first > 0xf4) return false;
    const second = bytes[at++]!;
    if (at > end || (second & 0xc0) !== 0x80) return false;
    if (first < 0xe0) continue;
    const third = bytes[at++]!;
    if (at > end || (third & 0xc0) !== 0x80) return false;
    if (first === 0xe0 && second < 0xa0) return false; // overlong
    if (first === 0xed && second >= 0xa0) return false; // surrogates D800..DFFF
    if (first < 0xf0) continue;
    const fourth = bytes[at++]!;
    if (at > end || (fourth & 0xc0) !== 0x80) return false;
    if (first === 0xf0 && second < 0x90) return false; // overlong
    if (first === 0xf4 && second >= 0x90) return false; // above U+10FFFF
  }
  return true;
}
