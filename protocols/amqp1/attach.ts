/**
 * What an attach asks for and what it gets (spec protocols.md §6.5): resolves the terminus, opens the target or
 * consumer, echoes the attach as honoured. Throws LinkError or BrokerError to refuse.
 */
import { type ConsumerRequest, OUTCOME, type Outcome } from "../../src/broker/facade.ts";
import type { Address, AddressKind } from "../../src/model/address.ts";
import { formatAddress, parseAddress } from "../../src/model/address-dialects.ts";
import { TERMINUS } from "./codec/codes.ts";
import { type Attach, answerTo, attachFrame, SND_SETTLE } from "./codec/performatives.ts";
import {
  composite,
  mapGet,
  NULL,
  string,
  symbol,
  symbols,
  uint,
  type Value,
} from "./codec/value.ts";
import { CoordinatorLink } from "./coordinator-link.ts";
import { AnonymousDestination, FixedDestination } from "./destinations.ts";
import { CONDITION, LinkError } from "./errors.ts";
import { Filters, startPosition } from "./filters.ts";
import { outcomeOf } from "./outcomes.ts";
import type { Receipts } from "./receipts.ts";
import { type Destination, ReceiverLink } from "./receiver-link.ts";
import { SenderLink } from "./sender-link.ts";
import { refuseService } from "./service-nodes.ts";
import type { Session } from "./session.ts";
import { lookedUp, subscriptionOf } from "./subscription-name.ts";
import {
  amendSource,
  amendTarget,
  invalid,
  isCoordinator,
  lifetimeOf,
  readSource,
  readTarget,
  type Source,
  type Target,
} from "./terminus.ts";

const CAPABILITY_KINDS: ReadonlyMap<string, AddressKind> = new Map([
  ["queue", "queue"],
  ["topic", "topic"],
  ["temporary-queue", "temp-queue"],
  ["temporary-topic", "temp-topic"],
] as const);

export function attachLink(session: Session, attach: Attach): void {
  if (attach.isReceiver) {
    if (attach.source === undefined) lookUpSubscription(session, attach);
    else attachConsumer(session, attach, readSource(attach.source));
    return;
  }
  if (attach.target === undefined) {
    throw invalid("attach.target is missing: a sender must say where to.");
  }
  if (isCoordinator(attach.target)) attachCoordinator(session, attach, attach.target);
  else attachProducer(session, attach, readTarget(attach.target));
}

// ── the peer sends ────────────────────────────────────────────────────────────────────────────────────────────────

function attachProducer(session: Session, attach: Attach, target: Target): void {
  const { connection } = session;
  const { broker } = connection;
  let answer: Value = target.value;
  let destination: Destination;
  const grant = (): void => link.grantCredit();
  if (target.isDynamic) {
    const address = createTemporary(session, target);
    destination = new FixedDestination(broker.openTarget(address), grant, () =>
      deleteTemporary(session, address, target),
    );
    answer = amendTarget(target, formatAddress(address, "amqp1"));
  } else if (target.address === undefined) {
    destination = new AnonymousDestination(connection, grant);
  } else {
    const opened = broker.openTarget(addressOf(session, target.address, target.capabilities));
    destination = new FixedDestination(opened, grant, () => {});
  }
  const outcomes = attach.source === undefined ? [] : readSource(attach.source).outcomes;
  const mayReject = outcomes.length === 0 || outcomes.includes("amqp:rejected:list");
  const receipts = receiptsFor(session, attach, target);
  const link: ReceiverLink = new ReceiverLink(session, attach, destination, mayReject, receipts);
  session.links.addIncoming(link);
  answerAttach(session, attach, {
    source: attach.source ?? NULL,
    target: answer,
    offered: ["DELAYED_DELIVERY", "ANONYMOUS-RELAY"],
    ...inDoubt(session, attach, receipts),
  });
  link.grantCredit();
}

/** What is known of the link's deliveries of before, for a target that is to outlive the connection; null for others. */
function receiptsFor(session: Session, attach: Attach, target: Target): Receipts | null {
  const { connection } = session;
  const { namespace, principal } = connection.broker;
  const isLasting = target.durable > 0 && !target.isDynamic && connection.containerId !== "";
  if (!isLasting || attach.sndSettleMode === SND_SETTLE.SETTLED) return null;
  const key = [namespace, principal.name, connection.containerId, attach.name].join("\0");
  const receipts = connection.shared.receipts.of(key, connection.services.broker.turn.now);
  // One that is attached somewhere is another client's, or its end has not come to us: nothing is taken for granted.
  if (attach.unsettled === undefined || receipts.owner !== null) receipts.clear();
  else receipts.retain(attach.unsettled, attach.isIncompleteUnsettled);
  return receipts;
}

function inDoubt(session: Session, attach: Attach, receipts: Receipts | null) {
  if (receipts === null || receipts.size === 0 || attach.unsettled === undefined) return {};
  const { connection } = session;
  const durableTo = connection.services.broker.confirmedTo("fsync");
  const { unsettled, isIncomplete } = receipts.answer(durableTo, connection.maxOutgoingFrame);
  return { unsettled, isIncompleteUnsettled: isIncomplete };
}

function attachCoordinator(session: Session, attach: Attach, target: Value): void {
  const link = new CoordinatorLink(session, attach);
  session.links.addIncoming(link);
  answerAttach(session, attach, {
    source: attach.source ?? NULL,
    target: coordinatorAnswer(target),
    offered: [],
  });
  link.grantCredit();
}

const coordinatorAnswer = (_asked: Value): Value =>
  composite(TERMINUS.COORDINATOR, [
    symbols(["amqp:local-transactions", "amqp:multi-txns-per-ssn", "amqp:multi-ssns-per-txn"]),
  ]);

// ── the peer receives ─────────────────────────────────────────────────────────────────────────────────────────────

function attachConsumer(session: Session, attach: Attach, source: Source): void {
  const { connection } = session;
  const { broker } = connection;
  const filters = new Filters(source.filter, connection.services.broker.turn.now);
  let address: Address;
  let temporary: Address | null = null;
  if (source.isDynamic) {
    address = temporary = createTemporary(session, source);
  } else if (source.address === undefined) {
    throw invalid(
      "source.address is missing: say what to receive from, or ask for a dynamic node.",
    );
  } else {
    address = addressOf(session, source.address, source.capabilities);
  }
  const isPreSettled = attach.sndSettleMode === SND_SETTLE.SETTLED;
  const defaultOutcome =
    source.defaultOutcome === undefined ? OUTCOME.RELEASE : outcomeOf(source.defaultOutcome);
  const request = consumerRequest(session, attach, source, address, filters, defaultOutcome);
  const { subscription } = request;
  const link = new SenderLink(session, attach, {
    isPreSettled: isPreSettled || request.mode === "browse",
    defaultOutcome,
    onClosed: (isClosed) => {
      if (temporary !== null) deleteTemporary(session, temporary, source);
      // A durable subscription is deleted by closing its link, kept by detaching it, or while others share it.
      if (!isClosed || !subscription?.isDurable || !connection.isOpen) return;
      const left = broker.findSubscription(subscription);
      if (left !== undefined && left.consumerCount === 0) broker.deleteSubscription(subscription);
    },
  });
  const consumer = broker.openConsumer(request, link);
  link.consumer = consumer;
  session.links.addOutgoing(link);
  const { kind, isShared } = consumer.info;
  const capabilities = [
    ...source.capabilities.filter((name) => name !== "shared" || isShared),
    ...filters.announced(kind),
  ];
  const answer = (): void =>
    answerAttach(session, attach, {
      source: amendSource(source, {
        ...(temporary === null ? {} : { address: formatAddress(temporary, "amqp1") }),
        filter: filters.honoured(kind),
        capabilities,
      }),
      target: attach.target ?? NULL,
      offered: ["SHARED-SUBS"],
    });
  if (consumer.info.durableAt === 0) answer();
  else link.answerAt(consumer.info.durableAt, answer);
}

function consumerRequest(
  session: Session,
  attach: Attach,
  source: Source,
  address: Address,
  filters: Filters,
  onLost: Outcome,
): ConsumerRequest {
  const { connection } = session;
  const now = connection.services.broker.turn.now;
  const isTopic = address.kind === "topic" || address.kind === "temp-topic";
  const subscription = subscriptionOf(attach.name, connection.containerId, source);
  const group = textProperty(attach.properties, "group");
  const groupMode = textProperty(attach.properties, "group-mode");
  const { params } = address;
  const from = params["from"] === undefined ? filters.from : startPosition(params["from"], now);
  const selector = filters.selector || params["selector"] || "";
  const priority = priorityOf(attach.properties) ?? numberOf(params["consumer-priority"]);
  const isExclusive =
    source.capabilities.includes("exclusive-consumer") ||
    attach.desiredCapabilities.includes("exclusive-consumer") ||
    mapGet(attach.properties, "exclusive-consumer")?.value === true;
  return {
    address,
    // Topic subscribers of JMS ask for copies too: for them that is what they get anyway.
    mode: source.isCopy && !isTopic && subscription === undefined ? "browse" : "consume",
    preSettled: attach.sndSettleMode === SND_SETTLE.SETTLED,
    onLost,
    noLocal: filters.noLocal,
    isExclusive,
    ...(subscription === undefined ? {} : { subscription }),
    ...(group === undefined
      ? {}
      : {
          group: {
            name: group,
            mode: groupMode === "broadcast" ? "broadcast" : "clustering",
          } as const,
        }),
    ...(from === undefined ? {} : { from }),
    ...(filters.tags === "" ? {} : { tags: filters.tags }),
    ...(selector === "" ? {} : { selector }),
    ...(priority === undefined ? {} : { priority }),
  };
}

/** A receiver without a source asks whether its durable subscription exists; closing the link then deletes it. */
function lookUpSubscription(session: Session, attach: Attach): void {
  const { connection } = session;
  const { broker } = connection;
  const wanted = lookedUp(attach.name, connection.containerId, attach.desiredCapabilities);
  const found = broker.findSubscription(wanted);
  if (found === undefined) {
    throw new LinkError(
      CONDITION.NOT_FOUND,
      `There is no durable subscription "${wanted.name.slice(0, 100)}" of "${wanted.clientId.slice(0, 100)}".`,
    );
  }
  const link = new SenderLink(session, attach, {
    isPreSettled: false,
    defaultOutcome: OUTCOME.RELEASE,
    onClosed: (isClosed) => {
      if (isClosed && connection.isOpen) broker.deleteSubscription(found.identity);
    },
  });
  session.links.addOutgoing(link);
  const capabilities = [
    "topic",
    ...(found.identity.isShared ? ["shared"] : []),
    ...(found.identity.clientId === "" ? ["global"] : []),
  ];
  answerAttach(session, attach, {
    source: composite(TERMINUS.SOURCE, [
      string(formatAddress(found.address, "amqp1")),
      uint(2),
      symbol("never"),
      NULL,
      NULL,
      NULL,
      symbol("copy"),
      NULL,
      NULL,
      NULL,
      symbols(capabilities),
    ]),
    target: attach.target ?? NULL,
    offered: ["SHARED-SUBS"],
  });
}

// ── both ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function answerAttach(
  session: Session,
  attach: Attach,
  answer: {
    source: Value;
    target: Value;
    offered: readonly string[];
    unsettled?: Value;
    isIncompleteUnsettled?: boolean;
  },
): void {
  session.sendFrame(
    attachFrame({
      ...answerTo(attach),
      source: answer.source,
      target: answer.target,
      ...(answer.unsettled === undefined ? {} : { unsettled: answer.unsettled }),
      isIncompleteUnsettled: answer.isIncompleteUnsettled ?? false,
      maxMessageSize: session.connection.services.broker.limits.maxMessageBytes,
      offeredCapabilities: answer.offered.filter((name) =>
        attach.desiredCapabilities.includes(name),
      ),
    }),
  );
}

function addressOf(session: Session, text: string, capabilities: readonly string[]): Address {
  const { namespace } = session.connection.broker;
  let kind: AddressKind | undefined;
  for (const name of capabilities) kind ??= CAPABILITY_KINDS.get(name);
  if (kind === undefined) refuseService(text);
  return parseAddress(text, "amqp1", { namespace, ...(kind === undefined ? {} : { kind }) });
}

function createTemporary(session: Session, terminus: Target): Address {
  const isTopic = terminus.capabilities.some(
    (name) => name === "topic" || name === "temporary-topic",
  );
  return session.connection.broker.createTemporary(
    isTopic ? "topic" : "queue",
    lifetimeOf(terminus.dynamicProperties),
  );
}

/** With lifetime delete-on-close; the others are the broker's business. */
function deleteTemporary(session: Session, address: Address, terminus: Target): void {
  const { connection } = session;
  if (!connection.isOpen || lifetimeOf(terminus.dynamicProperties) !== "delete-on-close") return;
  connection.broker.deleteTemporary(address);
}

function textProperty(properties: Value | undefined, name: string): string | undefined {
  const value = mapGet(properties, name);
  return value?.type === "string" || value?.type === "symbol" ? value.value : undefined;
}

function priorityOf(properties: Value | undefined): number | undefined {
  for (const name of ["priority", "rabbitmq:consumer-priority", "x-priority"]) {
    const value = mapGet(properties, name)?.value;
    if (typeof value === "number" && Number.isInteger(value)) return value;
  }
  return undefined;
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^-?\d{1,9}$/.test(text) ? Number(text) : undefined;
}
