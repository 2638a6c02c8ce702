/**
 * The part of a broker's simulated life that is about sessions: clients connect, go away and come back, and what a session is
 * promised after its connection's end is kept to the millisecond. A crash may forget when a connection ended: such a
 * session begins its time anew, and never has less of it.
 */
import type { Broker } from "../../src/broker/broker.ts";
import type { Session } from "../../src/broker/session-facade.ts";
import { SESSION_SINK } from "../support/session-sink.ts";
import { connect, draft, topic } from "../support/test-client.ts";
import type { Story, StoryWorld } from "./story.ts";

const LIVES = { brief: 1, usual: 3, patient: 20 } as const;
type Client = keyof typeof LIVES;
const CLIENTS = Object.keys(LIVES) as Client[];
const TOPIC = "told";
const NEVER = Number.POSITIVE_INFINITY;

interface Known {
  session: Session | null;
  /** It is to be found before this time, and must not be from that on. */
  mustBeUntil: number;
  mayBeUntil: number;
  /** On the scale of `settledTo`: where the session is safe. */
  journaledAt: number;
  isSafe: boolean;
  /** When the connection ended, once that is known for good. */
  endedAt: number;
}

export class SessionStory implements Story {
  readonly policies = [];
  readonly #world: StoryWorld;
  readonly #clients = new Map<Client, Known>();
  #broker!: Broker;
  #isOrderly = false;

  constructor(world: StoryWorld) {
    this.#world = world;
  }

  owns(): boolean {
    return false;
  }

  opened(broker: Broker): void {
    this.#broker = broker;
    const now = this.#world.clock.time;
    for (const [name, known] of this.#clients) {
      const life = LIVES[name] * 1000;
      const wasConnected = known.session !== null;
      known.session = null;
      if (wasConnected) known.endedAt = -1;
      const isEndKnown = known.endedAt >= 0 && this.#isOrderly;
      const latest = now + life;
      if (wasConnected) known.mustBeUntil = known.isSafe ? latest : -1;
      else if (!known.isSafe) known.mustBeUntil = -1;
      known.mayBeUntil = isEndKnown ? known.endedAt + life : latest;
    }
    this.#isOrderly = false;
    this.#check();
  }

  step(): void {
    const { random, clock } = this.#world;
    const name = random.pick(CLIENTS);
    const session = this.#clients.get(name)?.session ?? null;
    const roll = random.below(10);
    if (roll < 5) this.#come(name);
    else if (roll < 8 && session !== null) this.#leave(name);
    else if (roll < 9) clock.advance(random.pick([100, 1000, 2999, 3000]));
    else this.#publish();
    this.#check();
  }

  turn(): void {
    const to = this.#broker.settledTo();
    for (const known of this.#clients.values()) {
      if (known.journaledAt <= to) known.isSafe = true;
    }
  }

  crashed(): void {
    this.#isOrderly = false;
  }

  stopped(): void {
    this.#isOrderly = true;
    for (const known of this.#clients.values()) known.isSafe = true;
  }

  finish(turn: () => void): void {
    for (const name of CLIENTS) this.#leave(name);
    this.#world.clock.advance(LIVES.patient * 1000);
    turn();
    const left = [...this.#broker.sessions.sessions()].map(({ clientId }) => clientId);
    if (left.length > 0) throw new Error(`session: ${left} did not end`);
  }

  #come(name: Client): void {
    const { random, clock, note } = this.#world;
    const known = this.#clients.get(name);
    const now = clock.time;
    const isCleanStart = random.chance(25);
    const session = this.#broker.sessions.open(
      connect(this.#broker, name),
      { clientId: name, isCleanStart, expirySeconds: LIVES[name], will: null },
      SESSION_SINK,
    );
    note(`session ${name}${isCleanStart ? " anew" : ""}: ${session.isPresent}`);
    const mustBe = known !== undefined && now < known.mustBeUntil && !isCleanStart;
    const mayBe = known !== undefined && now < known.mayBeUntil && !isCleanStart;
    if (mustBe && !session.isPresent) throw new Error(`lost: session ${name}`);
    if (session.isPresent && !mayBe) throw new Error(`session: ${name} was over`);
    session.attach();
    if (session.subscriptionCount === 0 && random.chance(70)) {
      const options = { qos: 1, isNoLocal: false, isRetainAsPublished: false, identifier: 0 };
      session.subscribe(TOPIC, "", options as Parameters<Session["subscribe"]>[2]);
    }
    this.#clients.set(name, {
      session,
      mustBeUntil: NEVER,
      mayBeUntil: NEVER,
      // Nothing is promised to who comes back while there is no space.
      journaledAt: session.journaledAt > 0 ? session.journaledAt : NEVER,
      isSafe: false,
      endedAt: -1,
    });
  }

  #leave(name: Client): void {
    const known = this.#clients.get(name);
    if (known === undefined || known.session === null) return;
    this.#world.note(`session ${name} goes`);
    known.session.detach(true, []);
    known.session = null;
    known.endedAt = this.#broker.turn.now;
    known.mustBeUntil = known.endedAt + LIVES[name] * 1000;
    known.mayBeUntil = known.mustBeUntil;
  }

  #publish(): void {
    if (!this.#broker.hasRoom(4096)) return;
    const target = connect(this.#broker, "teller").openTarget(topic(TOPIC));
    target.publish(draft("told"));
    target.close();
  }

  #check(): void {
    const now = this.#world.clock.time;
    const found = new Set([...this.#broker.sessions.sessions()].map(({ clientId }) => clientId));
    for (const [name, { mustBeUntil }] of this.#clients) {
      if (now < mustBeUntil && !found.has(name)) throw new Error(`lost: session ${name}`);
    }
  }
}
