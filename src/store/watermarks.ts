/** How far the log is, at each level of safety. */
import type { StoreWatermarks } from "./message-store.ts";

export class Watermarks implements StoreWatermarks {
  appended = 0;
  written = 0;
  durable = 0;
}
