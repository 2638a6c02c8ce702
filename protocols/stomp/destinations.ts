/**
 * What a destination header means on one connection. The spellings are model/address-dialects.ts; here is what depends on
 * the connection: its namespace, the default kind of a bare name, names of its own temporary destinations, and lists.
 *
 * `/temp-queue/x` and `/temp-topic/x` are names that only this connection knows; each stands for one temporary
 * destination of the broker, made when the name is first used. Everybody else sees the broker's name for it.
 */
import type { BrokerConnection } from "../../src/broker/facade.ts";
import type { Address } from "../../src/model/address.ts";
import { formatAddress, parseAddress, withKind } from "../../src/model/address-dialects.ts";
import { StompError } from "./errors.ts";
import type { StompOptions } from "./options.ts";

const TEMP_QUEUE = "/temp-queue/";
const TEMP_TOPIC = "/temp-topic/";
/** Temporary names one connection may use. */
const MAX_TEMPORARIES = 1024;
/** A comma separates destinations only where the next one begins like this; otherwise it belongs to the name. */
const SEPARATOR = /,\s*(?=\/|queue:\/\/|topic:\/\/)/;

export class Destinations {
  readonly #connection: BrokerConnection;
  readonly #options: StompOptions;
  readonly #temporaries = new Map<string, Address>();

  constructor(connection: BrokerConnection, options: StompOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  /** `type`: the header destination-type or subscription-type (Artemis), or undefined. Throws StompError, BrokerError. */
  resolve(text: string, type: string | undefined): Address {
    if (/^\/[a-z-]+\/$/.test(text)) {
      throw new StompError("Invalid destination", `"${text}" has no name after the last slash.`);
    }
    const temporary = this.#temporary(text);
    if (temporary !== undefined) return temporary;
    const kind = kindOf(type);
    const address = parseAddress(text, "stomp", {
      namespace: this.#connection.namespace,
      ...(kind === undefined ? {} : { kind }),
    });
    if (address.namespace !== this.#connection.namespace) {
      throw new StompError(
        "access refused",
        `"${text}" is not in the virtual host of this connection.`,
        { isFatal: false },
      );
    }
    return this.#options.defaultKind === "topic" ? withKind(address, "topic") : address;
  }

  /** The destinations of a SEND: several when the header is a list. */
  resolveAll(text: string, type: string | undefined): Address[] {
    return text.split(SEPARATOR).map((one) => this.resolve(one, type));
  }

  /** A `reply-to` as others may use it: an own temporary name becomes the broker's. */
  publicSpelling(text: string): string {
    const address = this.#temporary(text);
    return address === undefined ? text : this.spell(address);
  }

  /** The address as a subscriber of this connection would write it. */
  spell(address: Address): string {
    if (this.#options.compat === "rabbitmq" && address.kind === "temp-queue") {
      return `/reply-queue/${address.name}`;
    }
    return formatAddress(address, "stomp");
  }

  /** Two sessions of one style spell every address alike. */
  get style(): string {
    return this.#options.compat;
  }

  isOwnTemporary(text: string): boolean {
    return (
      (text.startsWith(TEMP_QUEUE) || text.startsWith(TEMP_TOPIC)) &&
      text.length > TEMP_QUEUE.length
    );
  }

  #temporary(text: string): Address | undefined {
    const isQueue = text.startsWith(TEMP_QUEUE);
    if (!isQueue && !text.startsWith(TEMP_TOPIC)) return undefined;
    let address = this.#temporaries.get(text);
    if (address === undefined) {
      if (this.#temporaries.size === MAX_TEMPORARIES) {
        throw new StompError(
          "limit exceeded",
          `A connection may have ${MAX_TEMPORARIES} temporary destinations.`,
        );
      }
      address = this.#connection.createTemporary(isQueue ? "queue" : "topic", "delete-on-close");
      this.#temporaries.set(text, address);
    }
    return address;
  }
}

function kindOf(type: string | undefined): "queue" | "topic" | undefined {
  if (type === undefined || type === "") return undefined;
  if (type === "ANYCAST") return "queue";
  if (type === "MULTICAST") return "topic";
  throw new StompError("Invalid destination-type", `"${type}" is neither ANYCAST nor MULTICAST.`);
}
