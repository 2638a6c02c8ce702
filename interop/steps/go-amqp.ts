/** Azure's Go client: our program with it, and the integration tests that are inside its own module. */
import { runReported } from "../harness/reported.ts";
import type { Step } from "../harness/step.ts";
import { runGoSuite } from "../harness/suite.ts";
import { goProgram, goSuite } from "../harness/toolchain.ts";
import { GO_AMQP } from "../harness/versions.ts";

export const goAmqpProgram = goProgram("go-amqp", "interop/go-amqp");

export const goAmqp: Step = {
  name: "go-amqp",
  about: "Azure's Go client for AMQP 1.0",
  table: "AMQP 1.0",
  limitSeconds: 120,
  needs: [goAmqpProgram],
  async run(context) {
    const { host, port, user, password } = await context.broker();
    const only = (process.env["CHECKS"] ?? "").split(",").filter((key) => key !== "");
    await runReported(context, {
      client: `go-amqp ${GO_AMQP.slice(1)}`,
      command: goAmqpProgram.binary,
      args: ["cells", host, String(port), user, password, ...only],
      limitMs: 110_000,
    });
  },
};

const suite = goSuite("go-amqp-suite", "github.com/Azure/go-amqp", GO_AMQP);

/** The tests of the module that want a broker; the others test the client alone. */
const SUITE_TESTS = [
  "TestIntegration.*",
  "TestMultipleSessionsOpenClose",
  "TestDialWithCancelledContext",
  "TestNewSessionWithCancelledContext",
  "TestConcurrentSessionsOpenClose",
  "TestReceiverModeFirst",
  "TestSenderExactlyOnce",
  "TestReceivingLotsOfSettledMessages",
  "TestNewReceiverWithCancelledContext",
  "TestMultipleSendersSharedSession",
  "TestDrainingLink",
  "TestSenderNullValue",
];

export const goAmqpSuite: Step = {
  name: "go-amqp-suite",
  about: "the integration tests inside github.com/Azure/go-amqp",
  table: "Suites written by others",
  limitSeconds: 320,
  needs: [suite],
  async run(context) {
    const { host, port, user, password } = await context.broker();
    await runGoSuite(context, {
      suite: `go-amqp ${GO_AMQP.slice(1)}`,
      binary: suite.binary,
      tests: SUITE_TESTS,
      // TestIntegrationRoundTrip and its like are one row each.
      expected: 17,
      env: { AMQP_BROKER_ADDR: `amqp://${user}:${password}@${host}:${port}` },
      limitSeconds: 300,
    });
  },
};
