/** The section `[amqp]`. */
import * as z from "zod";
import { duration } from "./values.ts";

export const amqpSection = z
  .strictObject({
    idleTimeout: duration(
      "60s",
      "A client of which nothing comes for so long is dropped, and its messages go to others. It is asked to be heard of twice as often; clients send empty frames for that by themselves. 0 for never.",
      { max: 24 * 3600 * 1000 },
    ),
  })
  .prefault({})
  .meta({ description: "AMQP 1.0." });
