/**
 * Every publishing client × every consuming client, for one way to address a message at a time. The consumer subscribes first,
 * the producer sends three texts, and exactly those must come, in order. Each pair has a destination of its own.
 */
import { equal } from "./expect.ts";
import type { Intake, Participant, Protocol, ReceiveFrom, SendTo } from "./participant.ts";
import type { StepContext } from "./step.ts";

const TAKE_LIMIT_MS = 8000;
const QUIET_MS = 150;

/** How a destination is spelled by a protocol; undefined where it has no such thing. */
export interface Route {
  readonly title: string;
  /** `pair` is unique within the run and made of letters, digits and `-`. */
  send(protocol: Protocol, pair: string): SendTo | undefined;
  receive(protocol: Protocol, pair: string): ReceiveFrom | undefined;
  /** True when texts may come in any order and to either of two members. */
  readonly isShared?: boolean;
}

export async function runMatrix(
  context: StepContext,
  route: Route,
  participants: readonly Participant[],
): Promise<void> {
  for (const [row, producer] of participants.entries()) {
    for (const [column, consumer] of participants.entries()) {
      const pair = `p${row}-${column}`;
      const to = route.send(producer.protocol, pair);
      const from = route.receive(consumer.protocol, pair);
      if (to === undefined || from === undefined) continue;
      await context.check(`→ ${consumer.name}`, producer.name, () =>
        route.isShared === true
          ? sharedPair(producer, consumer, to, from)
          : onePair(producer, consumer, to, from),
      );
    }
  }
}

const textsOf = (producer: Participant, consumer: Participant, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${producer.name} → ${consumer.name} ✓ ${index}`);

async function onePair(
  producer: Participant,
  consumer: Participant,
  to: SendTo,
  from: ReceiveFrom,
): Promise<void> {
  const intake = await consumer.open(from);
  try {
    const texts = textsOf(producer, consumer, 3);
    await producer.send(to, texts);
    equal((await intake.take(3, TAKE_LIMIT_MS)).join("\n"), texts.join("\n"), "texts");
  } finally {
    await intake.close();
  }
}

/** Two members of one group divide what is sent: together they get every text once. */
async function sharedPair(
  producer: Participant,
  consumer: Participant,
  to: SendTo,
  from: ReceiveFrom,
): Promise<void> {
  const members: Intake[] = [await consumer.open(from), await consumer.open(from)];
  try {
    const texts = textsOf(producer, consumer, 6);
    await producer.send(to, texts);
    const got: string[] = [];
    for (let quiet = 0; got.length < texts.length && quiet < 40; ) {
      for (const member of members) {
        const some = await member.take(1, QUIET_MS);
        got.push(...some);
        if (some.length === 0) quiet++;
      }
    }
    equal(got.sort().join("\n"), texts.sort().join("\n"), "texts over both members");
  } finally {
    for (const member of members) await member.close();
  }
}
