import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { startBroker } from "../src/index.ts";
import { temporaryFolder } from "./support/temporary-folder.ts";
import { until } from "./support/wait.ts";

/** The first fenced block after a marker of the README. */
function block(readme: string, name: string): string {
  const match = new RegExp(`<!-- transcript: ${name} -->\n\`\`\`\\w+\n([^]*?)\`\`\``).exec(readme);
  if (match === null) throw new Error(`README.md has no transcript "${name}"`);
  return match[1]!;
}

test("README.md: what is sent over AMQP 1.0 appears at the MQTT client, by these very lines", async (t) => {
  const readme = readFileSync("README.md", "utf8");
  const broker = await startBroker({ data: temporaryFolder(t), port: "0" });
  t.teardown(() => broker.stop());
  const onOurPort = (text: string) => text.replaceAll("5672", String(broker.ports["main"]));
  const [command = "", ...expected] = onOurPort(block(readme, "subscriber")).trim().split("\n");
  const output = { subscriber: "", sender: "" };
  const run = (name: keyof typeof output, program: string, args: string[]): ChildProcess => {
    const child = spawn(program, args, { cwd: process.cwd() });
    t.teardown(() => child.kill());
    child.stdout.on("data", (chunk) => (output[name] += chunk));
    child.stderr.on("data", (chunk) => (output[name] += chunk));
    return child;
  };
  const mqtt = join("node_modules", "mqtt", "build", "bin", "mqtt.js");
  const words = command
    .replace(/^\$ npx mqtt /, "")
    .split(" ")
    .map((word) => word.replace(/^'|'$/g, ""));
  t.regex(command, /^\$ npx mqtt sub /);
  run("subscriber", process.execPath, [mqtt, ...words]);
  // The client says nothing when it has subscribed: send until it got one.
  await until(
    `the subscriber has its line; it said ${output.subscriber}`,
    (() => {
      let sender: ChildProcess | undefined;
      return () => {
        if (output.subscriber.includes(expected.join("\n"))) return true;
        if (sender === undefined || sender.exitCode !== null) {
          sender = run("sender", process.execPath, ["-e", onOurPort(block(readme, "sender"))]);
        }
        return false;
      };
    })(),
    30_000,
  );
  t.is(output.sender, "");
  t.is(output.subscriber.split("\n")[0], expected[0]);
});
