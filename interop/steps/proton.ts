/** Qpid Proton for Python, with its blocking API. */
import { join } from "node:path";
import { ROOT } from "../harness/paths.ts";
import { runReported } from "../harness/reported.ts";
import type { Step } from "../harness/step.ts";
import { pythonEnvironment } from "../harness/toolchain.ts";
import { PYTHON_PACKAGES } from "../harness/versions.ts";

export const protonPython = pythonEnvironment("proton", PYTHON_PACKAGES.proton);
export const PROTON_CLIENT = join(ROOT, "interop/proton/client.py");

export const proton: Step = {
  name: "proton",
  about: "Qpid Proton (Python)",
  table: "AMQP 1.0",
  limitSeconds: 120,
  needs: [protonPython],
  async run(context) {
    const { host, port, user, password } = await context.broker();
    const only = (process.env["CHECKS"] ?? "").split(",").filter((key) => key !== "");
    await runReported(context, {
      client: "Proton 0.40 (Python)",
      command: protonPython.python,
      args: [PROTON_CLIENT, "cells", host, String(port), user, password, ...only],
      limitMs: 110_000,
    });
  },
};
