/** RocketMQ's own store library, as a program: interop/rocketmq-store/src. */
import type { FixtureMessage } from "../../test/support/store-fixture.ts";
import { workDir } from "../harness/paths.ts";
import { lastLines, run } from "../harness/process.ts";
import { javaProgram } from "../harness/toolchain.ts";

export const rocketmqStore = javaProgram({
  name: "rocketmq-store",
  sources: ["interop/rocketmq-store/src"],
  pom: "interop/rocketmq-store/pom.xml",
});

export interface ReadResult {
  readonly messages: FixtureMessage[];
  readonly queues: Array<{ topic: string; queueId: number; min: number; max: number }>;
  /** What RocketMQ could not read or found wrong, one sentence each. */
  readonly problems: string[];
  readonly minPhysicalOffset: number;
  readonly maxPhysicalOffset: number;
}

export interface PutLine {
  readonly topic: string;
  readonly queueId: number;
  readonly queueOffset: number;
  readonly physicalOffset: number;
  readonly size: number;
  readonly bodyCrc: number;
}

/** Segments that `writeStore` makes. */
export const SEGMENT_BYTES = 65_536;

async function runProgram(args: readonly string[]): Promise<Array<Record<string, unknown>>> {
  // It logs below the home folder.
  const home = `-Duser.home=${workDir("toolchain", "rocketmq-store", "home")}`;
  const result = await run("java", [home, "-cp", rocketmqStore.classPath, "Main", ...args], {
    limitMs: 120_000,
  });
  if (result.status !== 0) {
    throw new Error(`rocketmq-store ${args[0]}: ${lastLines(result.stderr || result.stdout, 5)}`);
  }
  return result.stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
}

/** Fills a directory with RocketMQ; `hasRecordCrc` turns its whole-record checksum on. */
export async function writeStore(directory: string, hasRecordCrc: boolean): Promise<PutLine[]> {
  const lines = await runProgram(["write", directory, ...(hasRecordCrc ? ["crc"] : [])]);
  return lines.filter((line) => line["kind"] === "put") as unknown as PutLine[];
}

/**
 * Opens a directory with RocketMQ (which changes it) and reads all of it. `hasRecordCrc`: every record must have a right
 * whole-record checksum.
 */
export async function readStore(directory: string, hasRecordCrc: boolean): Promise<ReadResult> {
  const lines = await runProgram(["read", directory, ...(hasRecordCrc ? ["crc"] : [])]);
  const end = lines.find((line) => line["kind"] === "end");
  if (end === undefined) throw new Error("rocketmq-store read: ended early");
  const of = (kind: string): unknown[] =>
    lines.filter((line) => line["kind"] === kind).map(({ kind: _, ...rest }) => rest);
  return {
    messages: of("message") as FixtureMessage[],
    queues: of("queue") as ReadResult["queues"],
    problems: (of("problem") as Array<Record<string, unknown>>).map(
      (line) => `${line["topic"]}/${line["queueId"]}@${line["queueOffset"]}: ${line["text"]}`,
    ),
    minPhysicalOffset: Number(end["minPhysicalOffset"]),
    maxPhysicalOffset: Number(end["maxPhysicalOffset"]),
  };
}

/** What RocketMQ's Index finds by each key of a topic. */
export async function findByKey(
  directory: string,
  topic: string,
  keys: readonly string[],
): Promise<Array<{ key: string; queueOffset: number; bodyLength: number }>> {
  const lines = await runProgram(["find", directory, topic, ...keys]);
  return lines.filter((line) => line["kind"] === "found") as never;
}
