/** A client id proves nothing: who may not read what a durable subscription gets may not end it either. */
import test from "ava";
import type { Authorizer } from "../../src/security/authorizer.ts";
import { StompPeer } from "../support/stomp-peer.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, settle, topic } from "../support/test-client.ts";

const IDENTITY = { clientId: "c", name: "s", isShared: false, isDurable: true } as const;

/** What users may do with "news", by user; beside it everybody may do everything. */
function rules(rights: Readonly<Record<string, readonly string[]>>): Authorizer {
  return {
    permissionsFor: ({ name }) => ({
      generation: 1,
      allows: (action, address) => address.name !== "news" || (rights[name] ?? []).includes(action),
    }),
  };
}

const user = (name: string) => ({ principal: { name, isAnonymous: false } as never });

test("a durable subscription is seen and deleted by who may receive or delete on its topic, and by nobody else", async (t) => {
  const authorizer = rules({
    owner: ["create", "send", "receive"],
    tidy: ["delete"],
    stranger: ["send"],
  });
  const { broker, close } = await openTestBroker({ authorizer });
  const owner = connect(broker, "c", user("owner"));
  const open = () => consume(owner, topic("news"), { subscription: IDENTITY });
  open().consumer.close(1);
  owner.openTarget(topic("news")).publish(draft("kept"));
  const stranger = connect(broker, "c", user("stranger"));
  t.is(stranger.findSubscription(IDENTITY), undefined);
  t.throws(() => stranger.deleteSubscription(IDENTITY), { code: "unauthorized" });
  t.is(owner.findSubscription(IDENTITY)?.backlog, 1);
  const tidy = connect(broker, "c", user("tidy"));
  t.is(tidy.findSubscription(IDENTITY)?.backlog, 1);
  tidy.deleteSubscription(IDENTITY);
  t.is(owner.findSubscription(IDENTITY), undefined);
  open().consumer.close(1);
  await settle();
  owner.deleteSubscription(IDENTITY);
  t.throws(() => stranger.deleteSubscription(IDENTITY), { code: "not-found" });
  await close();
});

test("STOMP: UNSUBSCRIBE of a durable subscription that is away asks for the right, and says so", async (t) => {
  let may: readonly string[] = ["create", "receive"];
  const authorizer: Authorizer = {
    permissionsFor: () => ({
      get generation() {
        return may.length;
      },
      allows: (action, { name }) => name !== "news" || may.includes(action),
    }),
  };
  const test = await openTestBroker({ authorizer });
  const headers = "client-id:c\n";
  const first = await StompPeer.connect(test, 12, { headers });
  const id = "id:0\ndestination:/topic/news\ndurable-subscription-name:s\n";
  first.send(`SUBSCRIBE\n${id}receipt:r\n\n\0`);
  await first.take("RECEIPT");
  first.send("DISCONNECT\nreceipt:d\n\n\0");
  await first.take("RECEIPT");
  const count = () => test.broker.registry.find("topic", "/", "news")?.groups.size;
  t.is(count(), 1);
  may = [];
  const second = await StompPeer.connect(test, 12, { headers });
  second.send(`UNSUBSCRIBE\n${id}\n\0`);
  t.regex((await second.take("ERROR")).headers["message"] ?? "", /access refused/);
  t.is(count(), 1);
  may = ["delete"];
  second.send(`UNSUBSCRIBE\n${id}receipt:u\n\n\0`);
  await second.take("RECEIPT");
  t.is(count(), 0);
  await test.close();
});
