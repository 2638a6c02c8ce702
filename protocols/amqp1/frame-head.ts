/** The head of a frame (AMQP 1.0 part 2, 2.3), and the descriptor of the performative in it. */
import { CODE } from "./codec/codes.ts";
import { Decoder, descriptorNumber } from "./codec/decode.ts";
import { CONDITION, ConnectionError } from "./errors.ts";

/** Throws ConnectionError. */
export function checkFrameSize(size: number, doff: number, limit: number): void {
  if (size > limit) {
    throw new ConnectionError(
      CONDITION.FRAMING_ERROR,
      `A frame of ${size} bytes came, max-frame-size is ${limit}.`,
    );
  }
  if (size < 8 || doff < 2 || doff * 4 > size) {
    throw new ConnectionError(
      CONDITION.FRAMING_ERROR,
      `A frame has size ${size} and doff ${doff}: the data offset must be 2 or more and within the frame.`,
    );
  }
}

/** The performative of a frame's body: its code, and where its fields begin. One object, used again. */
export class PerformativeHead {
  code = -1;
  at = 0;

  read(bytes: Buffer, at: number, end: number): void {
    if (bytes[at] === CODE.DESCRIBED && bytes[at + 1] === CODE.SMALL_ULONG && at + 3 <= end) {
      this.code = bytes[at + 2]!;
      this.at = at + 3;
      return;
    }
    const decoder = new Decoder(bytes, at + 1, end);
    this.code = bytes[at] === CODE.DESCRIBED ? descriptorNumber(decoder.value()) : -1;
    this.at = decoder.at;
  }
}

export const wrongType = (type: number): ConnectionError =>
  new ConnectionError(CONDITION.FRAMING_ERROR, `A frame of type ${type} came out of its place.`);

export const unknownPerformative = (): ConnectionError =>
  new ConnectionError(
    CONDITION.DECODE_ERROR,
    "A frame's descriptor is none of the performatives of AMQP 1.0.",
  );
