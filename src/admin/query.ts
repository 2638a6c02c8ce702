/** What a request's query says, checked. */
import { BrokerError } from "../model/errors.ts";

const NUMBER = /^\d{1,15}$/;

export function numberOf(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  if (!NUMBER.test(text)) {
    throw new BrokerError("invalid-argument", `${name}=${text}: expected a number`);
  }
  return Number(text);
}
