/** What README.md shows is true: its transcripts run as they stand (but for the port) against the real server. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { BrokerProcess, sleep } from "../interop/harness/broker-process.ts";
import { MqttPeer } from "../interop/harness/mqtt-peer.ts";
import { ROOT } from "../interop/harness/paths.ts";
import { killGroup, lineSplitter, run, spawnTracked } from "../interop/harness/process.ts";

const SHOWN_PORT = /\b5672\b/g;
const LIMIT_MS = 30_000;

/** The fenced block behind `<!-- transcript: NAME -->`. */
function transcript(name: string): string {
  const readme = readFileSync(join(ROOT, "README.md"), "utf8");
  const block = new RegExp(`<!-- transcript: ${name} -->\\n+\`\`\`\\w+\\n([^]*?)\`\`\``).exec(
    readme,
  );
  if (block === null) throw new Error(`README.md has no transcript "${name}"`);
  return block[1]!;
}

test("the first message of the README goes from its AMQP sender to its MQTT subscriber", async (t) => {
  t.timeout(LIMIT_MS * 2);
  const [command, ...expected] = transcript("subscriber").trimEnd().split("\n");
  t.true(command?.startsWith("$ "), "the first line is the command");
  t.true(expected.length > 0, "and what it prints follows");
  const broker = await BrokerProcess.start();
  const atPort = (text: string): string => text.replace(SHOWN_PORT, String(broker.port));

  const printed: string[] = [];
  const subscriber = spawnTracked("sh", ["-c", atPort(command!.slice(2))], { cwd: ROOT });
  const onLine = lineSplitter((line) => printed.push(line));
  subscriber.stdout?.setEncoding("utf8").on("data", onLine);
  t.teardown(async () => {
    killGroup(subscriber, "SIGKILL");
    await broker.dispose();
  });
  const until = async (what: string, holds: () => boolean): Promise<void> => {
    for (let waited = 0; !holds(); waited += 50) {
      if (waited > LIMIT_MS)
        throw new Error(`${what}: the subscriber printed ${printed.join(" | ")}`);
      await sleep(50);
    }
  };

  // The command says nothing when it is subscribed, so it is asked until it answers.
  const asker = await MqttPeer.connect(broker);
  await until("subscribed", () => {
    void asker.publish("orders/ready", "?").catch(() => undefined);
    return printed.length > 0;
  });
  await asker.end();

  const script = join(broker.dataDir, "sender.cjs");
  writeFileSync(script, atPort(transcript("sender")));
  const sent = await run(process.execPath, [script], {
    cwd: ROOT,
    env: { NODE_PATH: join(ROOT, "node_modules") },
    limitMs: LIMIT_MS,
  });
  t.is(sent.status, 0, `the sender ends by itself: ${sent.stderr}`);
  const answers = (): string[] => printed.filter((line) => !line.includes("orders/ready"));
  await until("the documented lines", () => answers().length >= expected.length);
  t.deepEqual(answers(), expected);
});
