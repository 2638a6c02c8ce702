/**
 * What we want to reach, row by row, and how far the figures of a run are from it: CPU per message, ratios to the peers of the
 * same run, WebSocket beside TCP, latency, memory, start. Only what was measured is judged.
 */
import type { LoadProtocol } from "../interop/harness/loadgen.ts";
import type { Placement } from "./cells.ts";
import { type BenchReport, figureOf, type Measured } from "./report.ts";

export interface Goal {
  readonly what: string;
  readonly wanted: string;
  readonly measured: string;
  readonly isReached: boolean;
}

interface Row {
  readonly protocol: LoadProtocol;
  readonly row: string;
  readonly placement: Placement;
}

const at = (protocol: LoadProtocol, row: string, placement: Placement = "pinned"): Row => ({
  protocol,
  row,
  placement,
});

/** µs of our CPU per message in and out. */
const CPU: readonly (readonly [Row, number])[] = [
  [at("amqp10", "1:1, 1 KiB"), 3],
  [at("amqp10", "1:1, 100 B"), 1.2],
  [at("mqtt", "1:1, 1 KiB"), 3.5],
  [at("mqtt", "1:1, 100 B"), 1.5],
  [at("stomp", "1:1, 1 KiB, ack each"), 4],
  [at("stomp", "1:1, 100 B, ack each"), 2],
  [at("amqp10", "open loop 10,000/s, 1 KiB", "shared"), 15],
];

/** The same per delivery, over those who want it besides the first: fan-out to 100. */
const FANOUT: readonly (readonly [string, number])[] = [
  ["fan-out to 100, 1 KiB", 0.7],
  ["fan-out to 100, 100 B", 0.3],
];

/** Our rate over a peer's. */
const RATIOS: readonly (readonly [Row, peer: string, times: number])[] = [
  [at("amqp10", "1:1, 1 KiB"), "artemis", 4],
  [at("amqp10", "4:4:4, 1 KiB"), "artemis", 4],
  [at("mqtt", "1:1, 1 KiB"), "rumqttd", 1],
  [at("mqtt", "1:1, 100 B"), "rumqttd", 1],
  [at("mqtt", "4:4:4, 1 KiB"), "rumqttd", 1],
  [at("mqtt", "fan-out to 10, 1 KiB", "shared"), "rumqttd", 1],
  [at("mqtt", "fan-out to 100, 100 B", "shared"), "rumqttd", 1],
  [at("mqtt", "1:1, 1 KiB"), "mosquitto", 1],
  [at("stomp", "1:1, 1 KiB"), "rabbitmq", 20],
  [at("stomp", "1:1, 1 KiB, ack each"), "rabbitmq", 20],
  [at("stomp", "4:4:4, 1 KiB"), "rabbitmq", 20],
];

/** CPU over WebSocket against CPU over TCP. */
const WEBSOCKET_TIMES = 1.5;
const DRAIN_RATE = 600_000;
const IDLE_MIB = 80;
const START_MS = 500;
const LOOP_P99_MS = 2;
const SINGLE_P50_MS = 0.15;

const short = (value: number): string => String(Number(value.toPrecision(3)));

function goalsOf(report: BenchReport): Goal[] {
  const [ours] = report.brokers;
  if (ours === undefined) return [];
  const find = ({ protocol, row, placement }: Row, broker = ours.name): Measured | undefined =>
    report.measured.find(
      ({ cell, broker: name, runs }) =>
        name === broker &&
        runs.length > 0 &&
        cell.protocol === protocol &&
        cell.row === row &&
        cell.placement === placement,
    );
  const goals: Goal[] = [];
  const atMost = (what: string, value: number | undefined, limit: number, unit: string): void => {
    if (value === undefined || Number.isNaN(value)) return;
    const isReached = value <= limit;
    goals.push({
      what,
      wanted: `≤ ${limit} ${unit}`,
      measured: `${short(value)} ${unit}`,
      isReached,
    });
  };
  const atLeast = (what: string, value: number | undefined, limit: number, unit: string): void => {
    if (value === undefined || Number.isNaN(value)) return;
    const isReached = value >= limit;
    goals.push({
      what,
      wanted: `≥ ${limit}${unit}`,
      measured: `${short(value)}${unit}`,
      isReached,
    });
  };
  const cpu = (measured: Measured | undefined): number | undefined =>
    measured === undefined ? undefined : figureOf(measured, "broker_cpu_us_per_msg");

  for (const [row, limit] of CPU) {
    atMost(
      `${row.protocol} ${row.row}, ${row.placement}: CPU a message`,
      cpu(find(row)),
      limit,
      "µs",
    );
  }
  for (const protocol of ["amqp10", "stomp", "stomp-ws", "mqtt", "mqtt-ws"] as const) {
    for (const [row, limit] of FANOUT) {
      atMost(
        `${protocol} ${row}: CPU a delivery`,
        cpu(find(at(protocol, row, "shared"))),
        limit,
        "µs",
      );
    }
    const loop = find(at(protocol, "open loop 10,000/s, 1 KiB", "shared"));
    if (loop !== undefined) {
      atMost(
        `${protocol} open loop 10,000/s: p99`,
        figureOf(loop, "lat_p99_us") / 1000,
        LOOP_P99_MS,
        "ms",
      );
    }
    const single = find(at(protocol, "one unconfirmed at a time, 1 KiB", "shared"));
    if (single !== undefined) {
      atMost(
        `${protocol} one unconfirmed: p50`,
        figureOf(single, "lat_p50_us") / 1000,
        SINGLE_P50_MS,
        "ms",
      );
    }
  }
  for (const [row, peer, times] of RATIOS) {
    const [mine, theirs] = [find(row), find(row, peer)];
    if (mine === undefined || theirs === undefined) continue;
    const key = row.row.startsWith("fan-out") ? "con_rate" : "both_rate";
    const value = figureOf(mine, key) / figureOf(theirs, key);
    atLeast(
      `${row.protocol} ${row.row}, ${row.placement}: rate against ${peer}`,
      value,
      times,
      "×",
    );
  }
  for (const { cell, broker, runs } of report.measured) {
    if (broker !== ours.name || runs.length === 0) continue;
    if (cell.shows === "backlog" && cell.row.includes("1,000,000")) {
      const measured = find(at(cell.protocol, cell.row, cell.placement));
      if (measured === undefined) continue;
      atLeast(
        `${cell.protocol} ${cell.row}: drained`,
        figureOf(measured, "con_rate"),
        DRAIN_RATE,
        "/s",
      );
    }
    const plain = cell.protocol === "mqtt-ws" ? "mqtt" : "stomp";
    if (cell.protocol !== `${plain}-ws` || cell.shows !== "rate") continue;
    const overTcp = cpu(find(at(plain, cell.row, cell.placement)));
    const over = cpu(find(at(cell.protocol, cell.row, cell.placement)));
    if (overTcp === undefined || over === undefined) continue;
    const what = `${cell.protocol} ${cell.row}, ${cell.placement}: CPU against TCP`;
    atMost(what, over / overTcp, WEBSOCKET_TIMES, "×");
  }
  atMost("resident, idle", ours.idleMiB, IDLE_MIB, "MiB");
  atMost("start to the first answer, empty", ours.startMs, START_MS, "ms");
  return goals;
}

export function goalsTable(report: BenchReport): string {
  const goals = goalsOf(report);
  if (goals.length === 0) return "";
  const lines = goals.map(
    ({ what, wanted, measured, isReached }) =>
      `| ${what} | ${wanted} | ${measured} | ${isReached ? "✔" : "✘"} |`,
  );
  return ["", "| goal | wanted | measured | |", "|---|---|---|:-:|", ...lines, ""].join("\n");
}
