/** A stored record as a Draft again: what dead letters and due delayed messages are published from. */
import { toNeutral } from "../model/conversion.ts";
import type { Draft } from "../model/draft.ts";
import { propertyText, RECORD_PROPERTY } from "../model/properties.ts";
import { ENCODING, FLAG, type RecordView } from "../model/record-view.ts";

/** Properties that belong to one stay in one queue, or that the Draft has fields for. */
const OWN = new Set([
  "x-enc",
  "x-exp",
  "INNER_MULTI_DISPATCH",
  "INNER_MULTI_QUEUE_OFFSET",
  "x-batch",
  "__MOVED",
]);

/**
 * Fills `draft` from `view`, bytes copied. `keep` decides for each remaining property whether it goes along and may take
 * note of its value. The expiry is left out: whoever needs it takes it from the view.
 */
export function redraft(
  view: RecordView,
  draft: Draft,
  keep: (name: string, value: string) => boolean,
): void {
  draft.reset();
  // A record of RocketMQ's has its user's own flags, and a body that may be compressed: the copy is one of ours.
  const foreign = view.encoding === ENCODING.FOREIGN ? toNeutral(view) : null;
  // The copy may be appended while the original still lies in the same buffer: take the bytes out first.
  draft.bytes = Buffer.from(foreign?.bytes ?? view.buffer.subarray(view.bodyStart, view.bodyEnd));
  draft.start = 0;
  draft.end = draft.bytes.length;
  draft.encoding = foreign === null ? view.encoding : ENCODING.RAW;
  draft.isDurable = view.isDurable;
  draft.priority = view.hasPriority ? view.priority : -1;
  draft.bornAt = view.bornTimestamp;
  draft.isRetained = foreign === null && (view.flag & FLAG.RETAIN) !== 0;
  draft.isExactlyOnce = foreign === null && (view.flag & FLAG.EXACTLY_ONCE) !== 0;
  let properties = "";
  // Only a body that could not be inflated has got one.
  if (foreign !== null && foreign.contentEncoding !== "") {
    properties = propertyText(RECORD_PROPERTY.CONTENT_ENCODING, foreign.contentEncoding);
  }
  for (const [name, value] of view.properties()) {
    if (name === "TAGS") draft.tag = value;
    else if (name === "KEYS") draft.keys = value;
    else if (name === "__SHARDINGKEY") draft.group = value;
    else if (!OWN.has(name) && keep(name, value)) properties += `${name}\x01${value}\x02`;
  }
  draft.properties = properties;
}
