/**
 * A dropped queue leaves a record in the log, so that reading the log again from any point gives the same queues: what
 * came before it under this name is gone, what comes after is another queue that begins at 0.
 *
 *   topic `rmq_sys_sluice_dropped`, sysFlag 12 (rolled back: no queue gets an entry), body:
 *   "T" or "L" (light), " ", queueId, " ", name
 */
import type { RecordFields } from "./message-store.ts";
import { ownRecordFields } from "./own-record.ts";

export const DROP_TOPIC = "rmq_sys_sluice_dropped";

export interface DroppedQueue {
  readonly topic: string;
  readonly queueId: number;
  readonly isLight: boolean;
}

export function dropFields(queue: DroppedQueue): RecordFields {
  const body = Buffer.from(`${queue.isLight ? "L" : "T"} ${queue.queueId} ${queue.topic}`);
  return ownRecordFields(body);
}

export function parseDrop(body: string): DroppedQueue | null {
  const match = /^([TL]) (\d+) (.+)$/s.exec(body);
  if (match === null) return null;
  return { isLight: match[1] === "L", queueId: Number(match[2]), topic: match[3]! };
}
