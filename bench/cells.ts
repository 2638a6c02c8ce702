/**
 * What is measured: one row per cell, for each protocol the same shape of load, so that figures compare across protocols
 * and brokers. The goals they are judged by are in docs and in the README of this folder.
 */
import type { LoadProtocol } from "../interop/harness/loadgen.ts";

export type Placement = "pinned" | "shared";

export interface BenchCell {
  readonly protocol: LoadProtocol;
  readonly row: string;
  readonly placement: Placement;
  readonly args: readonly string[];
  /** Whether the row is about latency (percentiles) or about throughput. */
  readonly shows: "rate" | "latency" | "backlog";
}

interface Load {
  readonly row: string;
  readonly args: string;
  readonly shows: BenchCell["shows"];
  readonly placements: readonly Placement[];
}

const STEADY = "--max-backlog 20000 --drain-timeout 5";
/** In messages: what waits is that times the subscribers, which a slow peer has to drain. */
const FANOUT = "--mode fanout --max-backlog 1000 --drain-timeout 5";
const BOTH: readonly Placement[] = ["pinned", "shared"];

const LOADS: readonly Load[] = [
  { row: "1:1, 1 KiB", args: `-b 1024 ${STEADY}`, shows: "rate", placements: BOTH },
  { row: "1:1, 100 B", args: `-b 100 ${STEADY}`, shows: "rate", placements: BOTH },
  {
    row: "4:4:4, 1 KiB",
    args: `-P 4 -C 4 -Q 4 -b 1024 ${STEADY}`,
    shows: "rate",
    placements: BOTH,
  },
  { row: "4:4:4, 100 B", args: `-P 4 -C 4 -Q 4 -b 100 ${STEADY}`, shows: "rate", placements: BOTH },
  {
    row: "1:1, 1 KiB, ack each",
    args: `-b 1024 --ack each ${STEADY}`,
    shows: "rate",
    placements: BOTH,
  },
  {
    row: "1:1, 100 B, ack each",
    args: `-b 100 --ack each ${STEADY}`,
    shows: "rate",
    placements: BOTH,
  },
  {
    row: "4:4:4, 1 KiB, ack each",
    args: `-P 4 -C 4 -Q 4 -b 1024 --ack each ${STEADY}`,
    shows: "rate",
    placements: ["shared"],
  },
  {
    row: "fan-out to 10, 1 KiB",
    args: `${FANOUT} -C 10 -b 1024`,
    shows: "rate",
    placements: ["shared"],
  },
  {
    row: "fan-out to 10, 100 B",
    args: `${FANOUT} -C 10 -b 100`,
    shows: "rate",
    placements: ["shared"],
  },
  {
    row: "fan-out to 100, 1 KiB",
    args: `${FANOUT} -C 100 -b 1024`,
    shows: "rate",
    placements: ["shared"],
  },
  {
    row: "fan-out to 100, 100 B",
    args: `${FANOUT} -C 100 -b 100`,
    shows: "rate",
    placements: ["shared"],
  },
  {
    row: "open loop 1,000/s, 1 KiB",
    args: "--mode latency --rate 1000 -b 1024 --drain-timeout 5",
    shows: "latency",
    placements: ["shared"],
  },
  {
    row: "open loop 10,000/s, 1 KiB",
    args: "--mode latency --rate 10000 -b 1024 --drain-timeout 5",
    shows: "latency",
    placements: ["shared"],
  },
  {
    row: "one unconfirmed at a time, 1 KiB",
    args: "--window 1 -b 1024",
    shows: "latency",
    placements: ["shared"],
  },
];

const withPlacement = (protocol: LoadProtocol, load: Load, placement: Placement): BenchCell => ({
  protocol,
  row: load.row,
  placement,
  args: load.args.split(" "),
  shows: load.shows,
});

export const cellsOf = (protocol: LoadProtocol): BenchCell[] =>
  LOADS.flatMap((load) =>
    load.placements.map((placement) => withPlacement(protocol, load, placement)),
  );

/** Filled and drained on a broker of its own, once; in and out are separate figures. */
export const backlogCell = (protocol: LoadProtocol, messages: number): BenchCell => ({
  protocol,
  row: `backlog of ${messages.toLocaleString("en-US")} × 1 KiB`,
  placement: "shared",
  args: ["--mode", "backlog", "-n", String(messages), "-b", "1024", "--drain-timeout", "20"],
  shows: "backlog",
});
