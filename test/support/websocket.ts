/** WebSocket frames as clients send them, made byte by byte. */

export function clientFrame(
  firstByte: number,
  payload: Buffer,
  { isFinal = true, key = 0x5a17c3e9 }: { isFinal?: boolean; key?: number } = {},
): Buffer {
  const { length } = payload;
  const head = [(isFinal ? 0x80 : 0) | firstByte];
  if (length < 126) head.push(0x80 | length);
  else if (length < 65_536) head.push(0x80 | 126, length >> 8, length & 0xff);
  else
    head.push(
      0x80 | 127,
      0,
      0,
      0,
      0,
      length >>> 24,
      (length >> 16) & 0xff,
      (length >> 8) & 0xff,
      length & 0xff,
    );
  const mask = [key >>> 24, (key >> 16) & 0xff, (key >> 8) & 0xff, key & 0xff];
  const masked = Buffer.from(payload.map((byte, at) => byte ^ mask[at & 3]!));
  return Buffer.concat([Buffer.from([...head, ...mask]), masked]);
}
