/** `[[quotas]]`: what one user, or one namespace, may have and how fast it may publish. */
import * as z from "zod";
import { bytes, count } from "./values.ts";

const EVERYBODY = "`*` stands for each that no other quota names.";
/** What only a namespace can be full of. */
const OF_NAMESPACES = ["destinations", "messages", "bytes"] as const;

export const quota = z
  .strictObject({
    user: z
      .string()
      .min(1)
      .optional()
      .meta({ description: `A user's name. ${EVERYBODY}` }),
    namespace: z
      .string()
      .min(1)
      .optional()
      .meta({ description: `Or a namespace; \`/\` is the default one. ${EVERYBODY}` }),
    connections: count(0, "Most connections at once; 0 for no limit, here and below."),
    messageRate: count(0, "Messages published per second, all its connections together."),
    byteRate: bytes("0", "Bytes of them per second."),
    destinations: count(0, "Most queues and topics, temporary ones included. Namespaces only."),
    messages: count(0, "Most messages owed to somebody. Namespaces only."),
    bytes: bytes("0", "Most stored bytes. Namespaces only."),
  })
  .superRefine((value, context) => {
    if ((value.user === undefined) === (value.namespace === undefined)) {
      context.addIssue({ code: "custom", message: "expected either user or namespace" });
    }
    for (const key of OF_NAMESPACES) {
      if (value.user === undefined || value[key] === 0) continue;
      context.addIssue({
        code: "custom",
        path: [key],
        message: "a namespace has such a quota, a user has not",
      });
    }
  })
  .meta({ description: "" });
