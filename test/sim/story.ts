/** A part of a broker's simulated life that is about one thing, beside the queues that every story has. */
import type { Broker } from "../../src/broker/broker.ts";
import type { Policy } from "../../src/broker/policy.ts";
import type { Random } from "../support/random.ts";
import type { SimulatedClock } from "./simulated-clock.ts";

export interface StoryWorld {
  readonly random: Random;
  readonly clock: SimulatedClock;
  note(line: string): void;
}

export interface Story {
  readonly policies: readonly Policy[];
  /** Does it look after this queue alone? */
  owns(queue: string): boolean;
  /** After a start: says what does not hold of what was found, then takes it over. */
  opened(broker: Broker): void;
  step(): void;
  /** A turn is over: who was confirmed. */
  turn(): void;
  crashed(): void;
  /** A stop in order: everything is safe. */
  stopped(): void;
  /** In the end everything that is owed comes out. */
  finish(turn: () => void): void;
}
