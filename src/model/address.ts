/**
 * The canonical address of an entity, whatever protocol spelled it (spec protocols.md §3).
 *
 *   address = [ "//" namespace "/" ] kind ":" name [ "?" params ] [ "#" group ]
 */

export type AddressKind =
  | "queue"
  | "topic"
  | "exchange"
  | "sub"
  | "group"
  | "temp-queue"
  | "temp-topic"
  | "dlq"
  | "retry"
  | "reply";

export interface Address {
  /** "/" is the default namespace. */
  readonly namespace: string;
  /** "any": a bare name, still to be resolved by the broker (existing queue, existing topic, the listener's default). */
  readonly kind: AddressKind | "any";
  /** Canonical name: topic levels are separated by "/"; queue names are never converted. */
  readonly name: string;
  /** RocketMQ tag expression, "" for none. */
  readonly tags: string;
  /** Consumer group, "" for none. */
  readonly group: string;
  /** Other known parameters: selector, shard, from, key. */
  readonly params: Readonly<Record<string, string>>;
}
